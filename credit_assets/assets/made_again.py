"""The model of a version made again from what was kept of it, in memory.

Belongs here: training with the recorded parameters, seed and threads, recalibrating, and why that is not the same here.
Does not belong here: comparing what came (`reproduction`), and what a version has kept (`recorded_version`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from credit_assets.aside import temporary_folder
from credit_assets.assets.cutoffs import with_cut_off
from credit_assets.assets.policies import policy_of
from credit_assets.assets.recorded_version import RecordedVersion
from credit_assets.assets.references import of_everyone
from credit_assets.failures import PermanentError, error_text
from credit_assets.ledger.registry import RECALIBRATES
from credit_assets.ml.data.extensions import why_other
from credit_assets.tracking.evidence import save_model

if TYPE_CHECKING:
    from credit_assets.ml.learners.candidates import Candidate
    from credit_assets.ml.learners.training import TrainingConfig

_NO_PARAMETERS = ("max_rounds", "early_stopping_rounds", "library", "device")
"""Of the resolved parameters those that are none of the learner's own."""


@dataclass(frozen=True)
class MadeAgain:
    """The model, None where none can be made, with what of the candidate's record comes with it; and why it is not made
    in the way that it was, empty where it is.
    """

    candidate: Candidate | None
    why: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)


def model_again(of: RecordedVersion) -> MadeAgain:
    """Train or recalibrate once more, and finish the model as a candidate is finished."""
    if why := why_other(of.made.get("extensions") or of.evidence.get("extensions") or ()):
        return MadeAgain(None, f"an extension made it: {why}")
    try:
        trained, why = (_recalibrated(of), "") if of.recalibrated else _trained(of)
        trained = of_everyone(of.then, of.store, trained, of.training_set)
        trained, record = with_cut_off(of.then, of.store, trained, of.training_set)
    except (ValueError, PermanentError) as error:
        return MadeAgain(None, f"cannot be made here: {error_text(error)}")
    metrics = {name: evaluation.to_record() for name, evaluation in trained.metrics.items()}
    if choice := trained.calibration_choice:
        record = {**record, "calibration_choice": choice}
    return MadeAgain(trained, why, {"metrics": metrics, **record})


def saved_files(of: RecordedVersion, candidate: Candidate) -> dict[str, str]:
    """The hashes that the files of a model would have, were it logged."""
    with temporary_folder("reproduce") as folder:
        return save_model(candidate, of.portfolio, folder)


def _trained(of: RecordedVersion) -> tuple[Candidate, str]:
    from credit_assets.ml.learners.candidates import train_candidate
    from credit_assets.ml.learners.devices import visible_gpus

    (engine, device), why = of.trained_on, ""
    config = config_of(of, (of.made.get("search") or {}).get("params", {}))
    if device != "cpu" and visible_gpus():
        config = replace(config, device="cuda")
    elif device != "cpu":
        why = "it was trained on a GPU and none is here: made on the CPU, whose sums and bins are others"
    if engine != "one node":
        why = f"it was trained on {engine}, whose shares of the rows decide its sums: made on one node instead"
    assert of.training_set is not None
    return train_candidate(of.training_set, of.version.variant, of.portfolio, config), why


def config_of(of: RecordedVersion, found: Mapping[str, Any]) -> TrainingConfig:
    """How it was trained, as it was recorded, whatever the settings of today are; with what a search has found."""
    from credit_assets.ml.learners.calibration_choice import AUTO
    from credit_assets.ml.learners.scorer import ScoreScale
    from credit_assets.ml.learners.training import TrainingConfig

    identity = of.made["identity"]
    base, odds, pdo = identity["scale"]
    params = {name: value for name, value in identity["params"].items() if name not in _NO_PARAMETERS}
    return TrainingConfig(
        params={**params, **found},
        seed=identity["seed"],
        threads=of.made.get("threads") or of.settings.training_threads,
        max_rounds=identity["params"]["max_rounds"],
        early_stopping_rounds=identity["params"]["early_stopping_rounds"],
        scale=ScoreScale(base=base, odds=odds, pdo=pdo),
        calibration=identity.get("calibration", AUTO),
    )


def _recalibrated(of: RecordedVersion) -> Candidate:
    """The version that it recalibrates with a new calibration; that one is made again by its own number."""
    from credit_assets.ml.data.customers import groups_of
    from credit_assets.ml.learners.recalibration import parts_of, recalibrate, with_evidence
    from credit_assets.ml.learners.scorer import CreditScorer

    assert of.training_set is not None
    base = of.registry.version(of.version.tags[RECALIBRATES])
    policy, threads = policy_of(of.then).calibration, of.made.get("threads") or of.settings.training_threads
    since = date.fromisoformat(base.tags["test_from"])
    parts = parts_of(of.training_set, of.portfolio.date_column, since, policy.recalibration_bads)
    scorer = CreditScorer.load(of.registry.download(base))
    groups = groups_of(parts.fit, of.portfolio)
    found = recalibrate(scorer, parts, policy, groups=groups, threads=threads)
    return with_evidence(found.scorer, of.training_set, parts, of.made, threads)
