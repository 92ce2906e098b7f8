"""What a model is held against: the champion, the first of the champion's chain of refreshes, a plain scorecard.

Belongs here: finding these and the comparison before, and scoring them on the same rows. Does not belong here: the
measures (`credit_assets.ml.reports.selection`) and what follows from them (`credit_assets.ml.rules.comparison_rules`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from credit_assets.assets.earlier_tests import as_found_first, earlier_tests, moved_since
from credit_assets.assets.model_inputs import MissingInputsError, ModelInputs
from credit_assets.assets.policies import policy_of
from credit_assets.failures import PermanentError, error_text
from credit_assets.ledger.registry import Registry, Version
from credit_assets.ml.data.left_columns import way_out
from credit_assets.ml.rules.chains import first_of_chain
from credit_assets.ml.rules.comparison_rules import days_to_spend
from credit_assets.ml.rules.levels import YEAR, saved_after
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
    """The model and a version on the out-of-time rows since a day, and their difference on the `validation` rows since
    then, None where those have one outcome only; or why they cannot be compared. Where the version reads columns that
    have left the portfolio, `left` names them with what they are now.
    """
    from credit_assets.ml.data.customers import groups_of
    from credit_assets.ml.data.extensions import ExtensionError
    from credit_assets.ml.learners.scorer import CreditScorer
    from credit_assets.ml.reports.selection import comparable, comparison, difference, unseen_rows

    date_column, threads = settings.portfolio_contract.date_column, settings.training_threads
    rows = unseen_rows(training_set, date_column, since)
    chosen_on = unseen_rows(training_set, date_column, since, "validation")
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

    def both(of: Table) -> tuple[Any, Any, Any]:
        theirs_on = theirs.pd(inputs.beside(of, theirs), threads=threads)
        return scorer.pd(of, threads=threads), theirs_on, groups_of(of, settings.portfolio_contract)

    try:
        found = comparison(rows, *both(rows))
        before = difference(chosen_on, *both(chosen_on)) if comparable(chosen_on) else None
    except MissingInputsError as error:
        return {**record, "comparable": False, "why": f"{error}; {way_out(left)}"}
    return {**record, **found, "validation": before}


def comparison_record(
    selected: Mapping[str, Any],
    training_set: Table,
    settings: Settings,
    scorer: CreditScorer,
    registry: Registry,
    store: Store,
) -> dict[str, Any]:
    """What the rules read beside the comparison with the champion that is in the record of the selected model.

    `previous` and `saved`: the training before, and the days of the level that are saved since; `days`: how many of
    them this one spends. `judged`: whether it spends any, so that it can be promoted. `scorecard` where no champion is
    in force, or one that reads columns which have left; `first` where the champion came by refreshes. `earlier` tests
    beside the same champion, and whether its applicants have `moved` (`earlier_tests`).
    """
    from credit_assets.ml.reports.selection import beside_scorecard

    as_of, champion = date.fromisoformat(selected["as_of"]), selected["champion"]
    # A new calibration is not promoted for what it ranks.
    savings = savings_of(store, as_of, champion is not None)
    judging = policy_of(settings).comparison
    days = 0.0 if "recalibrates" in selected else days_to_spend(selected, savings["saved"], judging)
    record: dict[str, Any] = {
        **savings,
        "days": days,
        "judged": days > 0,
        "scorecard": None,
        "first": None,
        "earlier": None,
        "moved": None,
    }
    if champion is None or champion.get("left"):
        portfolio, threads = settings.portfolio_contract, settings.training_threads
        record["scorecard"] = beside_scorecard(training_set, portfolio, lambda rows: scorer.pd(rows, threads=threads))
    if champion is not None:
        record["first"] = compare_with_first(champion["version"], training_set, settings, scorer, registry)
        _add_days_before(record, selected, settings, registry, store)
    return record


def _add_days_before(
    record: dict[str, Any], selected: Mapping[str, Any], settings: Settings, registry: Registry, store: Store
) -> None:
    """`moved`, and the `earlier` tests beside the champion and beside the first of its chain."""
    champion, as_of = selected["champion"], date.fromisoformat(selected["as_of"])
    versions = {version.version: version for version in registry.versions()}
    before = as_found_first(store, selected) or {}

    def tests(compared: Mapping[str, Any] | None, own: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        if not compared or not compared["comparable"]:
            return None
        version = versions[compared["version"]]
        return (own or {}).get("earlier") or earlier_tests(store, selected, version, settings.window_days)

    kept = "moved" in before
    record["moved"] = before["moved"] if kept else moved_since(store, settings, as_of, versions[champion["version"]])
    record["earlier"] = tests(champion, before)
    if first := record["first"]:
        first["earlier"] = tests(first, before.get("first"))


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
        return {"version": number, "as_of": first.as_of.isoformat(), "comparable": False, "why": error_text(error)}


def savings_of(store: Store, as_of: date, beside_champion: bool) -> dict[str, Any]:
    """`previous` and `saved` of an as-of date: as found when it was run first, whatever older days came later.

    What is saved for comparisons with a champion is saved since there is one: what first models left, or spent, while
    none was in force has no part in it.
    """
    day = as_of.isoformat()
    if day in store.days("trained_model"):
        own = store.read_record(store.path("trained_model", f"{day}.json")).get("comparison")
        if own:
            return {"previous": own["previous"], "saved": own.get("saved", own["days"])}
    for before in reversed(store.days("trained_model")):
        if before >= day:
            continue
        passed = (as_of - date.fromisoformat(before)).days
        if passed >= YEAR:
            break
        left = days_left(store.read_record(store.path("trained_model", f"{before}.json")), beside_champion)
        if left is not None:
            return {"previous": before, "saved": saved_after(left, passed)}
    return {"previous": None, "saved": YEAR}


def days_left(record: Mapping[str, Any], beside_champion: bool) -> float | None:
    """Days of the level that remain after the comparison of a record; None where it says nothing of them."""
    if "evaluation" not in record:
        return None
    if beside_champion and record.get("champion") is None:
        return 0.0
    found = record.get("comparison")
    if found and "saved" in found:
        return float(found["saved"] - found["days"])
    # Of before it was recorded: a model that could be promoted spent all, and any other nothing that is known.
    judged = found["judged"] if found else (record.get("champion") or {}).get("comparable", True)
    return 0.0 if judged else None
