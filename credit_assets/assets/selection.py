"""The best candidate of the as-of date, and how it stands against the champion on the same rows."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import dagster as dg

from credit_assets.assets.conventions import Table, asset_options, inputs, retry_transient_only
from credit_assets.failures import PermanentError
from credit_assets.ledger.registry import Registry
from credit_assets.settings import Settings
from credit_assets.tracking.runs import Tracking


def assets(settings: Settings, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    @dg.asset(
        ins=inputs("trained_model", settings),
        description="The candidate with the best out-of-time AUC, its evaluation, and its difference from the champion "
        "in force, on rows that neither has seen, with a paired DeLong interval.",
        **asset_options("trained_model", settings, partitions, "mlflow"),
    )
    @retry_transient_only
    def trained_model(
        context: dg.AssetExecutionContext,
        training_set: Table,
        tracking: dg.ResourceParam[Tracking],
        registry: dg.ResourceParam[Registry],
        **records: dict[str, Any],
    ) -> dg.MaterializeResult[Any]:
        from credit_assets.ml.data.fingerprints import frame_hash

        as_of = date.fromisoformat(context.partition_key)
        trained = [record for record in records.values() if record["status"] == "trained"]
        if not trained:
            raise PermanentError(f"no candidate was trained for {as_of}: every variant of CREDIT_VARIANTS failed")
        data = frame_hash(training_set)
        stale = [record["variant"] for record in trained if record["identity"]["data"] != data]
        if stale:
            raise PermanentError(
                f"candidates {', '.join(stale)} of {as_of} were trained on another training set than the one that is "
                "there now; materialize them again"
            )
        # Ties go to the variant that stands first in CREDIT_VARIANTS, so that a replay chooses the same.
        best = max(trained, key=lambda r: (r["metrics"]["test"]["auc"], -settings.variants.index(r["variant"])))
        record = {
            "as_of": as_of.isoformat(),
            "variant": best["variant"],
            "fingerprint": best["fingerprint"],
            "run_id": best["run_id"],
            "model_uri": best["model_uri"],
            "data": data,
            "training_rows": training_set.num_rows,
            "test_from": test_from(training_set, settings.portfolio_contract.date_column),
            "candidates": {r["variant"]: r["metrics"]["test"]["auc"] for r in trained},
            "failed_variants": sorted(r["variant"] for r in records.values() if r["status"] != "trained"),
            "evaluation": best["metrics"]["test"],
            "champion": compare_with_champion(training_set, settings, best, as_of, tracking, registry),
        }
        return dg.MaterializeResult(
            value=record, data_version=dg.DataVersion(best["fingerprint"]), metadata=describe(record)
        )

    return [trained_model]


def compare_with_champion(
    training_set: Table,
    settings: Settings,
    best: dict[str, Any],
    as_of: date,
    tracking: Tracking,
    registry: Registry,
) -> dict[str, Any] | None:
    """Both models on the out-of-time rows that neither has used; None while no champion is in force.

    The champion is the one in force on the as-of date itself: a replay of an old day meets the champion of that day,
    and a second run of the day does not compare the model with itself.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from credit_assets.ml.evidence.evaluation import compare, evaluate
    from credit_assets.ml.learners.scorer import CreditScorer

    champion = registry.champion_at(as_of)
    if champion is None:
        return None
    rows = out_of_time(training_set)
    # Held out by the champion too: its own test began here, and everything later it cannot have seen.
    unseen_from = date.fromisoformat(champion.tags["test_from"])
    dates = rows[settings.portfolio_contract.date_column]
    rows = rows.filter(pc.greater_equal(dates, pa.scalar(unseen_from)))
    record: dict[str, Any] = {"version": champion.version, "as_of": champion.as_of.isoformat(), "rows": rows.num_rows}
    target = rows["default"].to_numpy()
    if len(set(target)) < 2:
        return {**record, "comparable": False, "why": "no rows with both outcomes that neither model has seen"}
    ours = CreditScorer.load(tracking.download(best["model_uri"])).pd(rows, threads=settings.training_threads)
    theirs = CreditScorer.load(registry.download(champion)).pd(rows, threads=settings.training_threads)
    return {
        **record,
        "comparable": True,
        "evaluation": evaluate(target, theirs).to_record(),
        "candidate_evaluation": evaluate(target, ours).to_record(),
        "difference": compare(target, ours, theirs).to_record(),
    }


def test_from(training_set: Table, date_column: str) -> str:
    """First application date of the out-of-time test: what this model has not seen begins here."""
    import pyarrow.compute as pc

    return str(pc.min(out_of_time(training_set)[date_column]).as_py().isoformat())


def out_of_time(training_set: Table) -> Table:
    """The rows of the out-of-time test."""
    import pyarrow.compute as pc

    return training_set.filter(pc.equal(training_set["split"], "test"))


def describe(record: dict[str, Any]) -> dict[str, Any]:
    """What a person reads on the materialization."""
    test = record["evaluation"]
    metadata: dict[str, Any] = {
        "variant": record["variant"],
        **{name: round(test[name], 6) for name in ("auc", "gini", "ks", "brier", "log_loss", "ece")},
        "candidates_auc": dg.MetadataValue.json(record["candidates"]),
        "test_rows": test["rows"],
        "test_bads": test["bads"],
        "lift_by_decile": dg.MetadataValue.json(test["lift"]),
    }
    champion = record["champion"]
    if champion is None:
        metadata["champion"] = "none in force"
    elif not champion["comparable"]:
        metadata["champion"] = f"version {champion['version']}: {champion['why']}"
    else:
        d = champion["difference"]
        metadata["champion"] = f"version {champion['version']} (as of {champion['as_of']})"
        metadata["auc_difference"] = round(d["difference"], 6)
        metadata["auc_difference_interval"] = f"{d['ci_low']:+.4f} .. {d['ci_high']:+.4f} (95%, paired DeLong)"
        metadata["smallest_detectable_difference"] = round(d["smallest_detectable_difference"], 6)
    if record["failed_variants"]:
        metadata["failed_variants"] = ", ".join(record["failed_variants"])
    return metadata


def day_after(day: date) -> date:
    """The first day that a model with this as-of date can decide about."""
    return day + timedelta(days=1)
