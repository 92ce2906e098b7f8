"""What a dossier is made of: the records of a version and of the one before it, and where each is from.

Belongs here: the records as they were found, and what is read out of them in more than one section. Does not belong
here: finding them (`credit_assets.assets.dossier`), and what is said about them (the sections).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from credit_assets.ml.reports.dossier.blocks import Block, Paragraph, Section, Source

if TYPE_CHECKING:
    from credit_assets.ml.data.gate_results import GateResult
    from credit_assets.ml.data.portfolio import Portfolio

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Recorded:
    """A record and where it is from."""

    record: Mapping[str, Any]
    source: Source

    def __getitem__(self, key: str) -> Any:
        return self.record[key]

    def get(self, key: str, default: Any = None) -> Any:
        return self.record.get(key, default)


@dataclass(frozen=True)
class Split:
    """Rows and bads of a part of the training set, and its first and last application date."""

    name: str
    rows: int
    bads: int
    first: str
    last: str


@dataclass(frozen=True)
class KeptTrainingSet:
    """The rows that a version was trained on, as kept; none of them is here."""

    source: Source
    splits: tuple[Split, ...]
    gates: tuple[GateResult, ...]
    columns: tuple[str, ...]
    inputs: Mapping[str, Mapping[str, str]]
    """By asset and ISO day the beginning of the content's hash."""

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.splits)


@dataclass(frozen=True)
class IngestedAsset:
    """What was ingested of an asset on the days that a training set was made of.

    `changed` are days whose content is another by now; None where that is not known.
    """

    asset: str
    days: int
    first: str
    last: str
    rows: int
    quarantined: int
    changed: int | None
    source: Source


@dataclass(frozen=True)
class VersionMove:
    """A move of an alias that concerns the version."""

    alias: str
    number: int
    version: str
    kind: str
    effective_from: str
    by: str
    at: str
    reason: str
    source: Source


@dataclass(frozen=True)
class Setting:
    """A setting or a key of the policy: its name, value, unit and meaning."""

    name: str
    value: Any
    meaning: str
    unit: str = ""


@dataclass(frozen=True)
class Settled:
    """Settings, and where they are from."""

    items: tuple[Setting, ...]
    source: Source

    def value(self, name: str) -> Any:
        return next((one.value for one in self.items if one.name == name), None)


@dataclass(frozen=True)
class VersionFacts:
    """A registered version, as the registry has it."""

    version: str
    model: str
    as_of: str
    fingerprint: str
    variant: str
    run_id: str
    test_from: str
    source: Source
    recalibrates: str | None = None
    trained_as_of: str = ""
    aliases: tuple[str, ...] = ()
    in_force: tuple[tuple[str, str | None], ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """A version with the records of its making; None where a record is not of this version any more."""

    version: VersionFacts
    trained: Recorded | None
    candidate: Recorded | None
    training_set: KeptTrainingSet | None = None
    registered: Recorded | None = None
    deployed: Recorded | None = None


@dataclass(frozen=True)
class Material:
    """Everything of a dossier."""

    made: Made
    portfolio: Portfolio
    portfolio_source: Source
    window_days: int
    settings: Settled
    policy: Settled
    ingested: tuple[IngestedAsset, ...] = ()
    moves: tuple[VersionMove, ...] = ()
    former: Made | None = None
    package: str = ""
    functions: Mapping[str, str] = field(default_factory=dict)
    """Definition of each derived feature."""

    @property
    def version(self) -> VersionFacts:
        return self.made.version

    @property
    def trained(self) -> Recorded | None:
        return self.made.trained

    @property
    def candidate(self) -> Recorded | None:
        return self.made.candidate

    @property
    def training_set(self) -> KeptTrainingSet | None:
        return self.made.training_set

    def evidence(self, key: str) -> Recorded | None:
        """A key of the record of `trained_model`; None where the version lacks it."""
        found = self.trained.get(key) if self.trained else None
        return Recorded(found, self.trained.source) if self.trained and isinstance(found, Mapping) else None

    @property
    def information(self) -> Recorded | None:
        """What each feature tells by itself; None where that was not measured."""
        found = self.evidence("information_value")
        return found if found is not None and "features" in found.record else None

    @property
    def any_source(self) -> Source:
        """The record of the model, or else of the version."""
        return self.trained.source if self.trained else self.version.source


def of_training_set(
    material: Material, name: str, title: str, blocks: Callable[[KeptTrainingSet], Sequence[Block]]
) -> Section:
    """A section about the rows that the version was trained on; one sentence where they are not kept."""
    rows = material.training_set
    found = [lacking(f"the {name}", "its training set is not kept")] if rows is None else blocks(rows)
    return Section(name, title, tuple(found))


def lacking(what: str, why: str = "") -> Paragraph:
    """The one sentence of a section, or of a part, whose evidence a version lacks."""
    reason = why or "it was trained before it was measured, or its record has been replaced since"
    return Paragraph(f"Nothing is recorded of {what} for this version: {reason}.", kind="missing")


def joined(names: Sequence[str], most: int = 8) -> str:
    """Names in a sentence, of many the first."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
