"""The monitoring plan: what is looked at how often, from where on something happens, and what."""

from __future__ import annotations

from collections.abc import Sequence

from credit_assets.ml.reports.dossier.blocks import Block, Cell, Paragraph, Section, Table, shown, text
from credit_assets.ml.reports.dossier.material import Material, Settled

PLAN: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    (
        "Data of each day",
        "Every day, before anything is scored: the column contract, volume, quarantined and missing shares. A day that "
        "a gate rejects is not used. Days that the warehouse changes later are found and made again.",
        "daily",
        ("recheck_days", "restated"),
    ),
    (
        "Drift of features and score",
        "Every day, the applications against the training data of the champion: PSI with a test for chance, missing "
        "values, new levels. Days that have shifted start a retraining.",
        "daily",
        (
            "drift_window_days",
            "drift_min_rows",
            "drift_watch",
            "drift_shifted",
            "drift_alpha",
            "drift_trigger_days",
            "drift_trigger_window",
        ),
    ),
    (
        "Performance",
        "Every day, on the cohorts whose window has closed: AUC and observed over expected defaults with intervals, "
        "against what was registered; before that an estimate from the PDs. A fall beyond chance starts a retraining, "
        "a level that is off a new calibration.",
        "daily",
        (
            "performance_cohort_days",
            "performance.margin",
            "performance.floor",
            "performance.max_level_ratio",
            "performance.min_bads",
            "performance.false_alarms",
        ),
    ),
    (
        "Retraining",
        "By triggers, by the calendar, or asked for by a person; none within the cooldown. A model that is refreshed "
        "has to be shown not to be worse, any other to be better.",
        "as triggered",
        (
            "retraining",
            "refresh",
            "volume_trigger_share",
            "cooldown_days",
            "repeat_days",
            "comparison.min_improvement",
            "comparison.alpha",
            "comparison.non_inferiority_margin",
        ),
    ),
    (
        "Taking over",
        "How a registered model comes into force, and its trial beside the champion. A rollback by hand takes effect "
        "at once, and no automatic promotion undoes it.",
        "as registered",
        (
            "promotion",
            "challenger_share",
            "trials.days",
            "trials.min_loans",
            "first_days.max_pd_ratio",
            "first_days.max_psi",
            "first_days.max_auc_loss",
        ),
    ),
)
"""What is watched: a title, what is done, how often, and the settings and keys of the policy that say from where on."""


def section(material: Material) -> Section:
    settings, policy = material.settings, material.policy
    blocks: list[Block] = [
        Paragraph(
            "By the settings and the policy where this dossier was made; what a decision was made by is recorded with "
            "the decision. Alerts go to the receivers of the deployment whenever a gate fails, a model is registered, "
            "promoted or rolled back, or a run is lost."
        )
    ]
    for title, description, often, names in PLAN:
        rows = tuple(row for name in names for row in _row(settings, policy, name))
        blocks.append(Paragraph(f"{title} ({often}). {description}"))
        if rows:
            caption = f"{title}: limits"
            columns = ("setting or key", "value", "unit", "what it means")
            blocks.append(Table(caption, columns, rows, (settings.source, policy.source)))
    return Section("monitoring", "Monitoring plan", tuple(blocks))


def _row(settings: Settled, policy: Settled, name: str) -> Sequence[tuple[Cell, ...]]:
    for of in (settings, policy):
        for one in of.items:
            if one.name == name:
                return [(text(name), shown(one.value), text(one.unit), text(one.meaning))]
    return []
