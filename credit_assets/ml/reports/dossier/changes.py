"""The change log: what differs from the version before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from credit_assets.ml.reports.dossier.blocks import Block, Cell, Paragraph, Section, Table, short, shown, text
from credit_assets.ml.reports.dossier.material import Made, Material, lacking

_HASH = 40


@dataclass(frozen=True)
class Change:
    """Something that differs: of what kind, what, and its values before and now."""

    kind: str
    what: str
    before: Any
    now: Any


def section(material: Material) -> Section:
    title = "Change log against the former version"
    former = material.former
    if former is None:
        return Section("changes", title, (Paragraph("There is no former version: this is the first."),))
    found = changes(former, material.made)
    sources = tuple(
        dict.fromkeys(
            [former.version.source, material.version.source]
            + [one.source for one in (former.trained, former.candidate, material.trained, material.candidate) if one]
        )
    )
    blocks: list[Block] = [
        Paragraph(
            f"Version {former.version.version} (as of {former.version.as_of}) is the former version: the champion that "
            "this one was held against, or else the one registered before it.",
            (former.version.source,),
        )
    ]
    if former.trained is None or material.trained is None:
        blocks.append(lacking("measures and policy to compare", "the records of one of the two are not there any more"))
    if former.candidate is None or material.candidate is None:
        blocks.append(lacking("parameters and code to compare", "the records of one of the two are not there any more"))
    rows = tuple((text(one.kind), text(one.what), _cell(one.before), _cell(one.now)) for one in found)
    columns = ("kind", "what", f"version {former.version.version}", f"version {material.version.version}")
    blocks.append(Table("What differs", columns, rows, sources, "What is equal in both is not listed."))
    return Section("changes", title, tuple(blocks))


def changes(before: Made, now: Made) -> tuple[Change, ...]:
    """What differs between two versions: data, method, parameters, features, code, measures and policy."""
    return tuple(one for one in _pairs(before, now) if one.before != one.now)


def _pairs(before: Made, now: Made) -> Iterator[Change]:
    for what, one, other in _data(before, now):
        yield Change("data", what, one, other)
    yield Change("method", "learner", before.version.variant, now.version.variant)
    if before.candidate is not None and now.candidate is not None:
        yield from _method(before.candidate.record, now.candidate.record)
    if before.trained is not None and now.trained is not None:
        yield from _judged(before.trained.record, now.trained.record)


def _data(before: Made, now: Made) -> Iterator[tuple[str, Any, Any]]:
    yield "as-of date", before.version.as_of, now.version.as_of
    yield "first day of the test", before.version.test_from, now.version.test_from
    one, other = before.training_set, now.training_set
    if one is not None and other is not None:
        yield "content of the training set", one.source.content, other.source.content
        yield "rows trained on", one.rows, other.rows
        for mine, theirs in zip(one.splits, other.splits, strict=False):
            yield f"days of {mine.name}", f"{mine.first} .. {mine.last}", f"{theirs.first} .. {theirs.last}"
            yield f"bads of {mine.name}", mine.bads, theirs.bads


def _method(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    ours, theirs = now["identity"], before["identity"]
    for name in ("code", "seed", "scale", "evidence"):
        yield Change("method", name, theirs.get(name), ours.get(name))
    yield Change("method", "boosting rounds", before.get("rounds"), now.get("rounds"))
    yield Change("method", "contract of the portfolio", *(_contract(of) for of in (theirs, ours)))
    for name, one, other in _both(theirs.get("params") or {}, ours.get("params") or {}):
        yield Change("parameter", name, one, other)
    columns = [_columns(of) for of in (theirs, ours)]
    for name, one, other in _both(*columns):
        yield Change("column read", name, one, other)
    for name, one, other in _both(theirs.get("monotone") or {}, ours.get("monotone") or {}):
        yield Change("direction", name, one, other)


def _judged(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    for name in ("auc", "gini", "ks", "brier", "ece", "rows", "bads"):
        yield Change("measure on the own test", name, *((of.get("evaluation") or {}).get(name) for of in (before, now)))
    one, other = (of.get("policy") or {} for of in (before, now))
    for section in dict.fromkeys([*one, *other]):
        keys = one.get(section), other.get(section)
        if isinstance(keys[0], Mapping) or isinstance(keys[1], Mapping):
            for name, mine, theirs in _both(keys[0] or {}, keys[1] or {}):
                yield Change("policy", f"{section}.{name}", mine, theirs)


def _both(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in dict.fromkeys([*one, *other]):
        yield name, one.get(name), other.get(name)


def _contract(identity: Mapping[str, Any]) -> str | None:
    stated = identity.get("portfolio")
    return str(stated[1]) if stated else None


def _columns(identity: Mapping[str, Any]) -> dict[str, str]:
    columns = (identity.get("requests") or {}).get("columns") or ()
    return {one["name"]: one["type"] for one in columns}


def _cell(value: Any) -> Cell:
    if isinstance(value, str) and len(value) >= _HASH:
        return short(value)
    return shown(value)
