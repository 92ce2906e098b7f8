"""The records of a version and of the one before it, for its dossier.

Belongs here: finding them in the store, the registry and MLflow, and saying where each is from. Does not belong here:
what is made of them (`credit_assets.ml.reports.dossier`).

A record of the store is one of its as-of date: where that date was trained again since, the record is of another model,
told by its fingerprint. What is kept of a version for as long as it is registered comes first, its own run in MLflow
last; a version of before may lack any of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any

from credit_assets.assets.policies import policy_of
from credit_assets.failures import PermanentError
from credit_assets.ledger.alias_log import Move
from credit_assets.ledger.aliases import Aliases
from credit_assets.ledger.deployment import ALIASES
from credit_assets.ledger.kept import EVIDENCE, PORTFOLIOS, Kept, evidence_hash
from credit_assets.ledger.recorded import METRICS
from credit_assets.ledger.registry import CHAMPION, RECALIBRATES, Registry, Version
from credit_assets.settings import Settings
from credit_assets.storage.footers import Footer, same_content
from credit_assets.storage.store import Store
from credit_assets.tracking.run import FinishedRun

if TYPE_CHECKING:
    from credit_assets.ml.data.policies import Policy
    from credit_assets.ml.data.portfolio import Portfolio
    from credit_assets.ml.reports.dossier.material import (
        IngestedAsset,
        KeptTrainingSet,
        Made,
        Material,
        Recorded,
        Settled,
        VersionFacts,
        VersionMove,
    )

_DISTRIBUTION = "credit-assets"


def material_of(
    settings: Settings, store: Store, registry: Registry, version: Version, until: date | None = None
) -> Material:
    """Everything of a version's dossier.

    Parameters
    ----------
    until
        The last day whose moves of aliases count, and by which the version holds any: what a dossier says that is made
        again for an old day. None for all that is known now.

    Raises
    ------
    PermanentError, TransientError
        As store, registry and MLflow do.
    """
    from credit_assets.ml.reports.dossier.blocks import Source
    from credit_assets.ml.reports.dossier.material import Material

    made = _made(settings, store, registry, version, until)
    portfolio = _portfolio(settings, store, made)
    before = _former(registry, version, made.trained)
    return Material(
        made=made,
        portfolio=portfolio,
        portfolio_source=Source("portfolio", portfolio.name, portfolio.contract, ""),
        window_days=_window_days(settings, made),
        settings=_settings(settings),
        policy=_policy(policy_of(settings), portfolio.name),
        ingested=tuple(_ingested(store, made.training_set)),
        moves=tuple(_moves(registry, version.version, until)),
        former=_made(settings, store, registry, before, until) if before else None,
        package=_package(),
        functions=_functions(portfolio),
    )


def _portfolio(settings: Settings, store: Store, made: Made) -> Portfolio:
    """The portfolio that the version was made with; that of the settings where none is kept, or where it needs what is
    not here any more.
    """
    from credit_assets.ml.data.portfolio import Portfolio

    name = ((made.candidate.get("made_with") if made.candidate else None) or {}).get("portfolio")
    kept = Kept(store).content(PORTFOLIOS, name)
    try:
        return Portfolio.model_validate(kept) if kept else settings.portfolio_contract
    except ValueError:
        return settings.portfolio_contract


def _window_days(settings: Settings, made: Made) -> int:
    """Of the training, where it is recorded."""
    of_then = ((made.candidate.get("made_with") if made.candidate else None) or {}).get("settings") or {}
    return int(of_then.get("window_days", settings.window_days))


def _made(settings: Settings, store: Store, registry: Registry, version: Version, until: date | None) -> Made:
    from credit_assets.ml.reports.dossier.material import Made

    day, kept = version.as_of.isoformat(), Kept(store).of(version)
    trained = Kept(store).content(EVIDENCE, kept.evidence) if kept else None
    trained = trained or _of_version(store, "trained_model", version)
    candidate = (trained or {}).get("made") or _candidate(store, registry, version)
    code = str(candidate["identity"].get("code", "")) if candidate else ""

    def recorded(asset: str, of: Mapping[str, Any] | None) -> Recorded | None:
        return None if of is None else _recorded(asset, day, of, code)

    registered = _of_version(store, "registered_model", version)
    deployed = _read(store, "deployed_model", day) if registered else None
    if registered is None and kept and kept.decision:
        registered = {"decision": "registered", "fingerprint": version.fingerprint, **kept.decision}
    return Made(
        version=_facts(registry, version, deployed, code, until),
        trained=recorded("trained_model", trained),
        candidate=recorded(f"{version.variant}_candidate", candidate),
        training_set=_training_set(settings, store, version, code),
        registered=recorded("registered_model", registered),
        deployed=recorded("deployed_model", deployed),
    )


def _recorded(asset: str, partition: str, record: Mapping[str, Any], code: str) -> Recorded:
    from credit_assets.ml.reports.dossier.blocks import Source
    from credit_assets.ml.reports.dossier.material import Recorded

    return Recorded(record, Source(asset, partition, evidence_hash(record), code))


def _read(store: Store, asset: str, day: str) -> dict[str, Any] | None:
    path = store.path(asset, f"{day}.json")
    return store.read_record(path) if path.exists() else None


def _of_version(store: Store, asset: str, version: Version) -> dict[str, Any] | None:
    """The record of the version's as-of date, where it is of this version."""
    record = _read(store, asset, version.as_of.isoformat())
    return record if record and record.get("fingerprint") == version.fingerprint else None


def _candidate(store: Store, registry: Registry, version: Version) -> dict[str, Any] | None:
    """What a former release recorded of the training: in the store, else in the version's own run; None in neither."""
    record = _of_version(store, f"{version.variant}_candidate", version)
    if record is not None:
        return record
    try:
        return dict(FinishedRun(registry.tracking.server, version.run_id).load_record("candidate.json"))
    except PermanentError:
        return None


def _facts(
    registry: Registry, version: Version, deployed: Mapping[str, Any] | None, code: str, until: date | None
) -> VersionFacts:
    from credit_assets.ml.reports.dossier.blocks import Source
    from credit_assets.ml.reports.dossier.material import VersionFacts

    aliases, periods = version.aliases, [(str(a), str(b) if b else None) for a, b in version.champion_periods]
    if until is not None:
        of_day = deployed or {}
        held = {CHAMPION: of_day.get("champion_after"), "shadow": of_day.get("shadow_after")}
        aliases = tuple(name for name, holder in held.items() if holder == version.version)
        periods = [(until.isoformat(), None)] if CHAMPION in aliases else []
    return VersionFacts(
        version=version.version,
        model=registry.model_name,
        as_of=version.as_of.isoformat(),
        fingerprint=version.fingerprint,
        variant=version.variant,
        run_id=version.run_id,
        test_from=version.tags.get("test_from", ""),
        source=Source(f"version of {registry.model_name}", version.version, version.fingerprint, code),
        recalibrates=version.tags.get(RECALIBRATES),
        trained_as_of=version.trained_as_of.isoformat(),
        aliases=aliases,
        in_force=tuple(periods),
        measures={name: float(version.tags[name]) for name in METRICS if name in version.tags},
    )


def _former(registry: Registry, version: Version, trained: Recorded | None) -> Version | None:
    """The champion that it was held against, else the version registered before it."""
    known = {one.version: one for one in registry.versions()}
    champion = trained.get("champion") if trained else None
    if champion and champion["version"] in known:
        return known[champion["version"]]
    before = [one for one in known.values() if int(one.version) < int(version.version)]
    return max(before, key=lambda one: int(one.version), default=None)


# The rows


def _training_set(settings: Settings, store: Store, version: Version, code: str) -> KeptTrainingSet | None:
    """The kept rows, else the partition of the as-of date where it is still the same rows."""
    kept, day = Kept(store).of(version), version.as_of.isoformat()
    places = [store.path(kept.training_set)] if kept and kept.training_set else []
    for path in [*places, store.path("training_set", f"{day}.parquet")]:
        try:
            footer = store.footer(path)
        except FileNotFoundError:
            continue
        wanted = version.tags.get("data_hash", "")
        if not footer.content or not wanted or same_content(footer.content, wanted):
            return _rows(settings, store, path, footer, (day, code))
    return None


def _rows(settings: Settings, store: Store, path: Any, footer: Footer, of: tuple[str, str]) -> KeptTrainingSet:
    import pyarrow.compute as pc

    from credit_assets.ml.data.cohorts import SPLIT, SPLITS, TARGET
    from credit_assets.ml.reports.dossier.blocks import Source
    from credit_assets.ml.reports.dossier.material import KeptTrainingSet, Split

    day = settings.portfolio_contract.date_column
    # Three columns: a split has counts and days, and no row of it is said.
    table = store.read_table(path, [day, TARGET, SPLIT])
    counted = table.group_by(SPLIT).aggregate([(TARGET, "count"), (TARGET, "sum"), (day, "min"), (day, "max")])
    found = {row[SPLIT]: row for row in counted.to_pylist()}
    splits = [
        Split(
            name,
            int(row[f"{TARGET}_count"]),
            int(row[f"{TARGET}_sum"] or 0),
            row[f"{day}_min"].isoformat(),
            row[f"{day}_max"].isoformat(),
        )
        for name in SPLITS
        if (row := found.get(name))
    ]
    assert sum(one.rows for one in splits) == table.num_rows == pc.count(table[SPLIT]).as_py()
    source = Source("training_set", of[0], footer.content, of[1])
    return KeptTrainingSet(source, tuple(splits), footer.gates, footer.columns, footer.inputs)


def _ingested(store: Store, rows: KeptTrainingSet | None) -> Iterator[IngestedAsset]:
    """What the training set was made of: rows of each asset by now, and days that are another by now."""
    from credit_assets.ml.data.fingerprints import fingerprint
    from credit_assets.ml.reports.dossier.blocks import Source
    from credit_assets.ml.reports.dossier.material import IngestedAsset

    inputs = dict(rows.inputs) if rows else {}
    if features := inputs.get("processed_features"):
        # The days on which those rows were received, before any was set aside.
        inputs = {"raw_loan_data": dict.fromkeys(features, ""), **inputs}
    for asset, contents in inputs.items():
        days = sorted(contents)
        if not days:
            continue
        there, aside = store.footers(asset, days), store.footers(f"quarantine/{asset}", days)
        now = {day: footer.as_input for day, footer in there.items()}
        recorded = any(contents.values())
        changed = sum(not same_content(now.get(day, ""), content) for day, content in contents.items())
        content = fingerprint(**(contents if recorded else now))
        yield IngestedAsset(
            asset=asset,
            days=len(days),
            first=days[0],
            last=days[-1],
            rows=sum(footer.rows for footer in there.values()),
            quarantined=sum(footer.rows for footer in aside.values()),
            changed=changed if recorded else None,
            source=Source(asset, f"{days[0]} .. {days[-1]}", content, ""),
        )


# Moves, settings, functions


def _moves(registry: Registry, version: str, until: date | None) -> Iterator[VersionMove]:
    """Moves to the version, and the ones that took an alias from it."""
    from credit_assets.ml.reports.dossier.blocks import Source
    from credit_assets.ml.reports.dossier.material import VersionMove

    aliases = Aliases(registry)
    found: list[tuple[str, Move]] = []
    for alias in ALIASES:
        holder = ""
        for move in aliases.moves(alias):
            if version in (move.version, holder) and (until is None or move.change.effective_from <= until):
                found.append((alias, move))
            holder = move.version
    for alias, move in sorted(found, key=lambda one: (one[1].change.effective_from, one[1].at, one[0], one[1].number)):
        yield VersionMove(
            alias=alias,
            number=move.number,
            version=move.version,
            kind=str(move.change.kind) if move.version == version else f"{move.change.kind}: taken from it",
            effective_from=move.change.effective_from.isoformat(),
            by=move.change.by,
            at=move.at,
            reason=move.change.reason,
            source=Source(f"model_aliases/{alias}", f"entry {move.number}", evidence_hash(_move_record(move)), ""),
        )


def _move_record(move: Move) -> dict[str, Any]:
    change = move.change
    return {"version": move.version, "from": str(change.effective_from), "kind": change.kind, "by": change.by,
            "reason": change.reason, "at": move.at}  # fmt: skip


def _settings(settings: Settings) -> Settled:
    """The settings that the monitoring plan names."""
    from credit_assets.ml.reports.dossier.blocks import Source
    from credit_assets.ml.reports.dossier.material import Setting, Settled
    from credit_assets.ml.reports.dossier.monitoring import PLAN

    fields = type(settings).model_fields
    names = [name for *_, wanted in PLAN for name in wanted if name in fields]
    items = tuple(Setting(name, getattr(settings, name), fields[name].description or "") for name in names)
    content = evidence_hash({one.name: one.value for one in items})
    return Settled(items, Source("settings", settings.portfolio_contract.name, content, ""))


def _policy(policy: Policy, portfolio: str) -> Settled:
    from credit_assets.ml.reports.dossier.blocks import Source
    from credit_assets.ml.reports.dossier.material import Setting, Settled

    items = []
    for name in type(policy).model_fields:
        section = getattr(policy, name)
        for key, field in type(section).model_fields.items():
            more: Any = field.json_schema_extra or {}
            items.append(
                Setting(f"{name}.{key}", getattr(section, key), field.description or "", more.get("unit") or "")
            )
    return Settled(tuple(items), Source("policy", portfolio, policy.version, ""))


def _functions(portfolio: Portfolio) -> dict[str, str]:
    """What each derived feature is."""
    from credit_assets.ml.data.formulas import FUNCTIONS

    found = {}
    for derived in portfolio.function_features:
        doc = (inspect.getdoc(FUNCTIONS[derived.function_name]) or "").partition("\n\n")[0]
        of = ", ".join(f"{name} = {column}" for name, column in derived.inputs.items() if name != column)
        found[derived.name] = " ".join(doc.split()) + (f" Here {of}." if of else "")
    for history in portfolio.history_features:
        described = history.model_dump(mode="json", exclude_defaults=True)
        found[history.name] = _feature_in_words(described)
    return found


def _feature_in_words(feature: Mapping[str, Any]) -> str:
    keys: Sequence[str] = [key for key in feature if key not in ("name", "description", "monotone", "missing")]
    described = f"{feature['description']} " if feature.get("description") else ""
    return described + "Aggregate of rows: " + ", ".join(f"{key} {feature[key]}" for key in keys) + "."


def _package() -> str:
    try:
        return installed(_DISTRIBUTION)
    except PackageNotFoundError:
        return ""
