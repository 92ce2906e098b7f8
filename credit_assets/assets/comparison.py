"""What a model is held against: the champion, the first of the champion's chain of refreshes, a plain scorecard.

Belongs here: finding these and the comparison before, and scoring them on the same rows. Does not belong here: the
measures (`credit_assets.ml.reports.selection`) and what follows from them (`credit_assets.ml.rules.comparison_rules`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from credit_assets.assets.model_inputs import MissingInputsError, ModelInputs
from credit_assets.assets.policies import policy_of
from credit_assets.failures import PermanentError
from credit_assets.ledger.registry import Registry, Version
from credit_assets.ml.data.left_columns import way_out
from credit_assets.ml.rules.chains import first_of_chain
from credit_assets.ml.rules.comparison_rules import could_decide
from credit_assets.ml.rules.levels import YEAR
from credit_assets.settings import Settings
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    from credit_assets.assets.conventions import Table
    from credit_assets.ml.learners.scorer import CreditScorer


def compare_with_champion(
    training_set: Table, settings: Settings, best: Mapping[str, Any], scorer: CreditScorer, registry: Registry
) -> dict[str, Any] | None:
    """Both models on the out-of-time rows that neither has used; None while no champion is in force.

    The champion is the one in force on the as-of date itself: a replay of an old day meets the champion of that day,
    and a second run of the day does not compare the model with itself.
    """
    champion = registry.champion_at(date.fromisoformat(best["as_of"]))
    return compare_with(champion, tested_from(champion), training_set, settings, scorer, registry) if champion else None


def tested_from(version: Version) -> date:
    """The first day of its test: no later row has been used for it."""
    return date.fromisoformat(version.tags["test_from"])


def compare_with(
    version: Version, since: date, training_set: Table, settings: Settings, scorer: CreditScorer, registry: Registry
) -> dict[str, Any]:
    """The model and a version on the out-of-time rows since a day, or why they cannot be compared. Where the version
    reads columns that have left the portfolio, `left` names them with what they are now.
    """
    from credit_assets.ml.data.customers import groups_of
    from credit_assets.ml.data.extensions import ExtensionError
    from credit_assets.ml.learners.scorer import CreditScorer
    from credit_assets.ml.reports.selection import comparable, comparison, unseen_rows

    date_column, threads = settings.portfolio_contract.date_column, settings.training_threads
    rows = unseen_rows(training_set, date_column, since)
    record: dict[str, Any] = {"version": version.version, "as_of": version.as_of.isoformat(), "rows": rows.num_rows}
    try:
        theirs = CreditScorer.load(registry.download(version))
    except ExtensionError as error:
        keep = "install both, the new one under another name, so that the champion scores until it is beaten"
        return {**record, "comparable": False, "why": f"{error}; {keep}"}
    inputs = ModelInputs(Store(settings.store), settings.portfolio_contract)
    if left := inputs.left(theirs):
        record["left"] = left
    if not comparable(rows):
        return {**record, "comparable": False, "why": "no rows with both outcomes that neither model has seen"}
    try:
        pds = theirs.pd(inputs.beside(rows, theirs), threads=threads)
    except MissingInputsError as error:
        return {**record, "comparable": False, "why": f"{error}; {way_out(left)}"}
    groups = groups_of(rows, settings.portfolio_contract)
    return {**record, **comparison(rows, scorer.pd(rows, threads=threads), pds, groups)}


def comparison_record(
    selected: Mapping[str, Any],
    training_set: Table,
    settings: Settings,
    scorer: CreditScorer,
    registry: Registry,
    store: Store,
) -> dict[str, Any]:
    """What the rules read beside the comparison with the champion that is in the record of the selected model.

    `previous` and `days`: the as-of date on which a model was last judged, and how long ago, a year at most. `judged`:
    whether this one can be. `scorecard` where no champion is in force, or one that reads columns which have left;
    `first` where the champion came by refreshes.
    """
    from credit_assets.ml.reports.selection import beside_scorecard

    as_of, champion = date.fromisoformat(selected["as_of"]), selected["champion"]
    record: dict[str, Any] = {
        **spent_since(store, as_of),
        # A new calibration is not promoted for what it ranks.
        "judged": "recalibrates" not in selected and could_decide(selected, policy_of(settings).comparison),
        "scorecard": None,
        "first": None,
    }
    if champion is None or champion.get("left"):
        portfolio, threads = settings.portfolio_contract, settings.training_threads
        record["scorecard"] = beside_scorecard(training_set, portfolio, lambda rows: scorer.pd(rows, threads=threads))
    if champion is not None:
        record["first"] = compare_with_first(champion["version"], training_set, settings, scorer, registry)
    return record


def compare_with_first(
    champion: str, training_set: Table, settings: Settings, scorer: CreditScorer, registry: Registry
) -> dict[str, Any] | None:
    """The model and the first of the champion's chain of refreshes, on rows that none of the three has used; None where
    the champion itself is the first.
    """
    versions = {version.version: version for version in registry.versions()}
    number = first_of_chain(champion, {known: version.tags for known, version in versions.items()})
    if number == champion:
        return None
    first = versions[number]
    since = max(tested_from(first), tested_from(versions[champion]))
    try:
        return compare_with(first, since, training_set, settings, scorer, registry)
    # Years old: its files may be gone, or columns that it reads.
    except (PermanentError, ValueError) as error:
        return {"version": number, "as_of": first.as_of.isoformat(), "comparable": False, "why": f"{error}"}


def spent_since(store: Store, as_of: date) -> dict[str, Any]:
    """`previous` and `days` of an as-of date: as found when it was run first, whatever older days are trained since."""
    day = as_of.isoformat()
    if day in store.days("trained_model"):
        own = store.read_record(store.path("trained_model", f"{day}.json")).get("comparison")
        if own:
            return {"previous": own["previous"], "days": own["days"]}
    before = previous_judged(store, as_of)
    return {"previous": before.isoformat() if before else None, "days": (as_of - before).days if before else YEAR}


def previous_judged(store: Store, as_of: date) -> date | None:
    """The newest as-of date before this one whose model could have been promoted, whatever came of it; None of none
    within a year.

    By the records of the days alone, so that a day that is run again finds the same.
    """
    for day in reversed(store.days("trained_model")):
        before = date.fromisoformat(day)
        if before >= as_of:
            continue
        if (as_of - before).days >= YEAR:
            break
        if was_judged(store.read_record(store.path("trained_model", f"{day}.json"))):
            return before
    return None


def was_judged(record: Mapping[str, Any]) -> bool:
    """Whether a model could have been promoted by the record of its selection."""
    if "evaluation" not in record:
        return False
    if "comparison" in record:
        return bool(record["comparison"]["judged"])
    # Of before it was recorded.
    return bool((record.get("champion") or {}).get("comparable", True))
