"""What every asset shares: what its row of the table says, retry policy, sorted failures, and results of many days.

Belongs here: nothing that knows a particular asset.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, TypeVar

import dagster as dg

from credit_assets import pages, stopping
from credit_assets.assets.outside import read_outside
from credit_assets.assets.presented import code_reference, due_dates, presented, read_on, wanted_by
from credit_assets.checks import GateFailedError, check_results, stopping_results
from credit_assets.cluster.op_tags import op_tags, pool
from credit_assets.failures import advised, error_text, is_ours, is_transient, without_values
from credit_assets.instance.dagster_internals import leave_out_partitions
from credit_assets.partitions import partition_mapping
from credit_assets.settings import Settings
from credit_assets.storage.io_managers import ByDay, Stopped
from credit_assets.storage.partition_files import Staged
from credit_assets.storage.store import RefusedPartitionError

if TYPE_CHECKING:
    from credit_assets.ledger.registry import Registry
    from credit_assets.ml.data.gate_results import GateResult

# An Arrow table. Not named by its class: pyarrow is imported by the steps that touch a table, not by the definitions.
Table = Any

_F = TypeVar("_F", bound=Callable[..., Any])


def daily_asset(
    asset: str, settings: Settings, partitions: dg.PartitionsDefinition, *kinds: str, **more: Any
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """The decorator of every asset of the graph: what all have in common, what its row of the table says, and what its
    step asks of a cluster. `more` goes to `dg.asset`. Only transient failures of the function are retried.
    """
    row, key = settings.graph.asset(asset), asset_key(settings, asset)
    checks = [spec.replace_key(key=dg.AssetCheckKey(key, spec.name)) for spec in more.pop("check_specs", ())]

    if due := due_dates(settings, asset):
        # Where people look first: metadata stands below a table of columns.
        more["description"] = f"{more['description']} Due: {due['due']}."

    def made(function: Callable[..., Any]) -> dg.AssetsDefinition:
        definition: dg.AssetsDefinition = dg.asset(
            key=key,
            group_name=row.group,
            **presented(settings),
            kinds=set(kinds),
            partitions_def=partitions,
            io_manager_key=row.io,
            backfill_policy=dg.BackfillPolicy.multi_run(settings.days_per_run) if row.by_range else None,
            retry_policy=retry_policy(settings),
            op_tags=op_tags(settings, asset),
            pool=pool(settings, asset),
            check_specs=checks or None,
            # Of what trainings make no date is late.
            freshness_policy=None if due else wanted_by(settings),
            deps=[
                *more.pop("deps", ()),
                *(dg.AssetDep(asset_key(settings, name)) for name in row.after),
                *read_outside(settings, asset),
            ],
            metadata={
                **due,
                **more.pop("metadata", {}),
                **read_on(settings, asset),
                **code_reference(settings, function),
            },
            **more,
        )(stopped_by_gates(retry_transient_only(function), {one.name for one in checks if one.blocking}))
        return definition

    return made


def inputs(asset: str, settings: Settings, metadata: Mapping[str, Any] | None = None) -> dict[str, dg.AssetIn]:
    """What the asset reads, loaded for it by the I/O managers."""
    return {
        name: dg.AssetIn(
            asset_key(settings, name), partition_mapping=partition_mapping(settings, window), metadata=metadata
        )
        for name, window in settings.graph.asset(asset).reads.items()
    }


def dependencies(asset: str, settings: Settings) -> list[dg.AssetDep]:
    """What the asset reads, where it opens the files itself."""
    return [
        dg.AssetDep(asset_key(settings, name), partition_mapping=partition_mapping(settings, window))
        for name, window in settings.graph.asset(asset).reads.items()
    ]


def asset_key(settings: Settings, asset: str) -> dg.AssetKey:
    """The key of this portfolio's asset of that name."""
    return dg.AssetKey(settings.naming.asset(asset))


def retry_policy(settings: Settings) -> dg.RetryPolicy:
    """Exponential back-off with jitter, so that steps that failed together do not come back together."""
    return dg.RetryPolicy(
        max_retries=settings.retries,
        delay=settings.retry_delay_seconds,
        backoff=dg.Backoff.EXPONENTIAL,
        jitter=dg.Jitter.PLUS_MINUS,
    )


def retry_transient_only(function: _F) -> _F:
    """Let transient failures pass to the retry policy and turn every other one into a failure that is not retried.
    What is returned is shown as `pages` has it.
    """

    @functools.wraps(function)
    def sorted_failures(*args: Any, **kwargs: Any) -> Any:
        try:
            stopping.check()
            return pages.result(function(*args, **kwargs))
        except BaseException as error:
            line = None if is_ours(error) else advised(error)
            failure = without_values(error)
        if stopping.requested() is not None:
            # Dagster would try the step again, half a minute later.
            raise dg.Failure(description="stopped by a signal", allow_retries=False) from failure
        if isinstance(failure, dg.Failure) or not isinstance(failure, Exception) or is_transient(failure):
            raise failure
        raise dg.Failure(description=line or error_text(failure), allow_retries=False) from failure

    # Dagster reads names and annotations from the signature; resolved here, in the asset's own module. Without the
    # return annotation: Dagster takes MaterializeResult to mean that no value goes to the I/O manager.
    signature = inspect.signature(function, eval_str=True).replace(return_annotation=inspect.Signature.empty)
    sorted_failures.__signature__ = signature  # type: ignore[attr-defined]
    annotations = inspect.get_annotations(function, eval_str=True)
    sorted_failures.__annotations__ = {name: kind for name, kind in annotations.items() if name != "return"}
    return sorted_failures  # type: ignore[return-value]


GATES_HASH = "gate_results_hash"
"""Metadata of a day that was made or rejected: the hash of its gate results, beside which `credit-assets audit` holds
those in its file.
"""


def stopped_by_gates(function: _F, blocking: Collection[str]) -> _F:
    """Let a step whose gates failed end as failed, with each gate's value and threshold in its failure.

    Dagster by itself marks the partition as made first, and then fails the step with the names of the checks alone.
    Here the results are recorded, the value is written, for it carries the verdict, and nothing is marked as made.
    """
    if not blocking:
        return function

    @functools.wraps(function)
    def step(*args: Any, **kwargs: Any) -> Iterator[Any]:
        result = function(*args, **kwargs)
        failed = stopping_results(result, blocking)
        if not failed:
            yield result
            return
        context = args[0] if args else kwargs["context"]
        yield from result.check_results
        name, days = context.asset_key.to_user_string(), sorted(context.partition_keys)
        shown = days[0] if len(days) == 1 else f"{days[0]} .. {days[-1]}"
        stopped = Stopped(result.value, GateFailedError(name, shown, failed))
        yield dg.MaterializeResult(value=stopped, metadata=result.metadata, data_version=result.data_version)

    return step  # type: ignore[return-value]


def days_of(context: dg.AssetExecutionContext) -> list[date]:
    """The days that this step stands for, oldest first: one, or the range of a backfill in a single run."""
    return [date.fromisoformat(key) for key in sorted(context.partition_keys)]


def daily_result(
    context: dg.AssetExecutionContext,
    staged: Mapping[date, Staged],
    gates: Mapping[date, Sequence[GateResult]] | None = None,
    metadata: Mapping[date, Mapping[str, Any]] | None = None,
    whole: Sequence[dg.AssetCheckResult] = (),
    refused: Mapping[str, str] | None = None,
) -> dg.MaterializeResult[Any]:
    """One staged file a day as the result of a step, with row count, content hash and check results of each day, and
    those of checks on the `whole` asset.

    A day that a gate rejects, or that is `refused` (ISO day: why), is written with that verdict and not materialized,
    and the other days of the step are. Where no other is left, the step fails. A rejection is an observation of its
    day, which bears the metadata that a materialization would.

    The data version is the content hash. Dagster keeps one data version a step, so a step over a range of days gets
    the hash of its days' hashes; each day's own hash stands in its metadata either way.
    """
    from credit_assets.ml.data.fingerprints import fingerprint
    from credit_assets.ml.data.gate_results import results_hash

    gates, metadata = gates or {}, metadata or {}
    hashes = {day.isoformat(): file.content_hash for day, file in staged.items()}
    notes = {
        day.isoformat(): {
            "dagster/row_count": file.rows,
            "content_hash": file.content_hash,
            **({"gates": gates_in_words(gates[day]), GATES_HASH: results_hash(gates[day])} if day in gates else {}),
            **metadata.get(day, {}),
        }
        for day, file in staged.items()
    }
    version = next(iter(hashes.values())) if len(hashes) == 1 else fingerprint(**hashes)
    if len(staged) == 1:
        # Shown in the run's own event too, where a person looks first.
        context.log.info(f"{next(iter(staged.values())).rows} rows, content hash {version[:12]}")
    rejected = rejected_days(gates)
    left_out = {**rejected, **(refused or {})}
    if len(left_out) < len(staged):
        tell_left_out(context, left_out, len(staged))
    observed = [
        dg.AssetObservation(context.asset_key, f"rejected: {why}", pages.entries(notes[day]), partition=day)
        for day, why in rejected.items()
    ]
    return dg.MaterializeResult(
        value=ByDay(
            {day.isoformat(): file for day, file in staged.items()},
            left_out,
            _leave_out(observed),
            functools.partial(note_days, context, notes),
        ),
        data_version=dg.DataVersion(version),
        check_results=[*(check_results(context, gates) if gates else ()), *whole] or None,
    )


def _leave_out(observed: Sequence[dg.AssetObservation]) -> Callable[[dg.OutputContext, Collection[str]], None]:
    """Days left out are not made; of those that gates rejected it is recorded what they were rejected with, so that
    `credit-assets audit` finds a verdict that was changed since.
    """

    def leave_out(context: dg.OutputContext, days: Collection[str]) -> None:
        leave_out_partitions(context, days)
        for one in observed:
            context.log_event(one)

    return leave_out


def records_result(
    context: dg.AssetExecutionContext,
    records: Mapping[str, Mapping[str, Any]],
    metadata: Mapping[str, Mapping[str, Any]],
    refused: Mapping[str, str] | None = None,
) -> dg.MaterializeResult[Any]:
    """One record a day, by ISO day, as the result of a step, with the metadata of each day; none of those `refused`."""
    from credit_assets.ml.data.fingerprints import fingerprint

    refused = refused or {}
    tell_left_out(context, refused, len(records) + len(refused))
    value = ByDay(records, refused, leave_out_partitions, functools.partial(note_days, context, metadata))
    return dg.MaterializeResult(value=value, data_version=dg.DataVersion(fingerprint(**records)))


def rejected_days(gates: Mapping[date, Sequence[GateResult]]) -> dict[str, str]:
    """The days that a gate rejects, by ISO day, each with what its gates say."""
    from credit_assets.ml.data.gate_results import why_rejected

    return {day.isoformat(): why for day, of_day in gates.items() if (why := why_rejected(of_day))}


def refused_gates(refused: Mapping[str, str]) -> dict[date, tuple[GateResult, ...]]:
    """The verdict on days (ISO day: why) of whose inputs some are refused, for their files."""
    from credit_assets.ml.data.gate_results import upstream_gate

    return {date.fromisoformat(day): (upstream_gate(reason),) for day, reason in refused.items()}


def tell_left_out(context: dg.AssetExecutionContext, left_out: Mapping[str, str], of: int) -> None:
    """One message of all days that a step leaves out, with the reason of each."""
    if left_out:
        days = "\n".join(f"{day}: {reason}" for day, reason in sorted(left_out.items()))
        context.log.error(
            f"{context.asset_key.to_user_string()}: {len(left_out)} of {of} days are not made, the others are. Correct "
            f"the source, then materialize these days again, and nothing else is done anew:\n{days}"
        )


_Made = TypeVar("_Made")


def made_or_refused(
    days: Sequence[date], make: Callable[[Sequence[date]], Mapping[str, _Made]]
) -> tuple[dict[str, _Made], dict[str, str]]:
    """What `make` makes of days, by ISO day, and why it makes none of the others.

    Raises RefusedPartitionError where what is needed of other days is refused for all of them. A range of which one
    day is refused is halved until that day stands alone.
    """
    try:
        return dict(make(days)), {}
    except RefusedPartitionError as refusal:
        if len(days) == 1:
            raise
        reason = refusal
    made: dict[str, _Made] = {}
    refused: dict[str, str] = {}
    for half in (days[: len(days) // 2], days[len(days) // 2 :]):
        try:
            some, not_made = made_or_refused(half, make)
        except RefusedPartitionError as refusal:
            refused |= {day.isoformat(): str(refusal) for day in half}
        else:
            made |= some
            refused |= not_made
    if not made:
        raise reason
    return made, refused


def note_days(
    context: dg.AssetExecutionContext, metadata: Mapping[str, Mapping[str, Any]], paths: Mapping[str, str]
) -> None:
    """Metadata of each day's materialization. To be called once the days are written: what an output has of itself,
    for all of its days, comes before what each of them has, and people look for a path last.
    """
    for day, values in metadata.items():
        place = {"path": dg.MetadataValue.path(paths[day])} if day in paths else {}
        context.add_asset_metadata(pages.entries({**values, **place}), partition_key=day)


def version_links(registry: Registry, champion: str | None, shadow: str | None = None) -> dict[str, Any]:
    """Metadata: the pages in MLflow of the champion of a day and of the model on trial; nothing where none is."""
    named = {"mlflow_version": champion, "mlflow_version_on_trial": shadow}
    return {name: registry.version_link(version) for name, version in named.items() if version}


def gates_in_words(gates: Sequence[GateResult]) -> str:
    """ "7 passed", or what failed and how: the verdict on one day, where the check speaks for the whole step."""
    failed = [f"{gate.name}: {gate.verdict}" for gate in gates if not gate.passed]
    return ", ".join([*failed, f"{len(gates) - len(failed)} passed"])
