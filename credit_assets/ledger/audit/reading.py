"""Reading what an audit walks over: the ledger, the store and MLflow, each once. Nothing is written.

Belongs here: finding and reading. Does not belong here: what follows from it (the checks). What cannot be read is a gap
and stops nothing: the rest is walked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeVar

from credit_assets.failures import PermanentError
from credit_assets.instance.ownership import book_of, parse
from credit_assets.ledger.alias_log import AliasLog, Move
from credit_assets.ledger.audit.walk import Gap, KeptVersions, Ledger, Reported, Verdict, Walk
from credit_assets.ledger.deployment import ALIASES
from credit_assets.ledger.integrity import Integrity
from credit_assets.ledger.kept import EVIDENCE, SETS, VERSIONS, KeptVersion, evidence_hash, named_beside
from credit_assets.ledger.registry import BOOK_TAG, Registry, Version, own_tags
from credit_assets.ledger.requests import Requests
from credit_assets.ledger.retraining import triggers_of
from credit_assets.ml.data.gate_results import results_hash
from credit_assets.storage.chain import content_hash
from credit_assets.storage.footers import Footer
from credit_assets.storage.store import Store
from credit_assets.tracking.evidence import files_of

_RECORDS = ("trained_model", "registered_model", "deployed_model", "shadow_report")
_T = TypeVar("_T")


@dataclass(frozen=True)
class LedgerInDagster:
    """What Dagster has of the ledger: the moves of each alias, the heads of logs noted with decisions, and the book."""

    reported: Mapping[str, Sequence[Reported]] = field(default_factory=dict)
    noted: Sequence[str] = ()
    book: str = ""


@dataclass
class AuditReading:
    """One audit's reading. `made`: the days that Dagster says were made, by asset; `judged`: by asset and ISO day what
    it recorded of the gates then; `in_dagster`: what it has of the ledger.
    """

    store: Store
    registry: Registry
    requests: Requests
    made: Mapping[str, Sequence[str]]
    judged: Mapping[str, Mapping[str, Verdict]] = field(default_factory=dict)
    in_dagster: LedgerInDagster = field(default_factory=LedgerInDagster)
    verify: bool = False
    """Whether the rows of every partition are read."""
    unreadable: list[Gap] = field(default_factory=list)

    def walk(self, on_progress: Callable[[str, int, int], None] = lambda *_: None) -> Walk:
        """Everything. Raises as `Tracking` where MLflow does not answer."""
        versions = {version.version: version for version in self.registry.shown()}
        on_progress("kept versions", 1, 4)
        kept = self._kept()
        on_progress("models", 2, 4)
        files = {number: self._files(version) for number, version in versions.items()}
        on_progress("records", 3, 4)
        records = {asset: self._records(asset) for asset in _RECORDS}
        logs = {alias: self._log(alias) for alias in ALIASES}
        entries = [self._try("requests", "", self.requests.read, name) for name in self.requests.names()]
        on_progress("scores", 4, 4)
        return Walk(
            versions=versions,
            by_hand=self.registry.by_hand(),
            kept=kept,
            records=records,
            hashes={day: evidence_hash(record) for day, record in records["trained_model"].items()},
            gates=self._gates(),
            logs={alias: log for alias, log in logs.items() if log},
            log_numbers={alias: self._numbers(alias) for alias in logs},
            held={alias: number for number, one in versions.items() for alias in one.aliases if alias in ALIASES},
            requests=[one for one in entries if one is not None],
            outcomes=self.requests.outcomes(),
            files=files,
            scorers=self._scorers(),
            stored={asset: self.store.days(asset) for asset in self.made},
            made=self.made,
            judged=self.judged,
            verdicts={asset: self._verdicts(asset) for asset in self.judged},
            triggers={
                day: triggers_of(self.registry.claims, date.fromisoformat(day)) for day in records["registered_model"]
            },
            unreadable=self.unreadable,
            ledger=self._ledger(),
            rows={asset: self._contents(asset) for asset in self.made} if self.verify else {},
        )

    def _contents(self, asset: str) -> dict[str, tuple[str, str]]:
        """By ISO day, the hash that the footer of a partition records of its rows ("": none), and the one they have."""
        found = {}
        for day, footer in self.store.footers(asset, self.store.days(asset), damaged_too=False).items():
            rows = self._try(asset, day, self._hash_of, asset, day) if footer.content else ""
            if rows is not None:
                found[day] = footer.content, rows
        return found

    def _hash_of(self, asset: str, day: str) -> str:
        from credit_assets.ml.data.fingerprints import frame_hash

        return frame_hash(self.store.open_table(self.store.path(asset, f"{day}.parquet")).read())

    def _ledger(self) -> Ledger:
        integrity, claims = Integrity(self.registry), self.registry.claims
        book, tag = book_of(claims), (own_tags(self.registry) or {}).get(BOOK_TAG)
        return Ledger(
            breaks=integrity.breaks(whole=True, noted_elsewhere=self.in_dagster.noted),
            accepted=claims.journal.accepted(),
            heads=integrity.heads(),
            journal=claims.journal.contents(),
            files={path: content_hash(data) for path, data in claims.ledger_files().items()},
            logs={alias: AliasLog(claims, self.registry.scope(), alias).folder for alias in ALIASES},
            reported=self.in_dagster.reported,
            books={
                "the store": book.id if book else "",
                "MLflow": parse(tag, f"the tag {BOOK_TAG} in MLflow").id if tag else "",
                "Dagster": self.in_dagster.book,
            },
        )

    def _try(self, asset: str, day: str, read: Callable[..., _T], *of: Any) -> _T | None:
        try:
            return read(*of)
        except (PermanentError, FileNotFoundError, OSError, ValueError, TypeError, KeyError) as error:
            do = "bring it back from a backup, or make it again"
            self.unreadable.append(Gap("readable", f"cannot be read: {error}", do, asset, day))
            return None

    def _records(self, asset: str) -> dict[str, Any]:
        found = {day: self._try(asset, day, self._record, asset, day) for day in self.store.days(asset)}
        return {day: record for day, record in found.items() if record is not None}

    def _kept(self) -> KeptVersions:
        read = [self._try(VERSIONS, name[:12], self._record, VERSIONS, name) for name in self.store.days(VERSIONS)]
        made = [self._try(VERSIONS, "", lambda one: KeptVersion(**one), one) for one in read if one is not None]
        versions = [one for one in made if one is not None]
        evidence = {
            name: self._try(EVIDENCE, name[:12], self._record, EVIDENCE, name)
            for name in sorted({one.evidence for one in versions if one.evidence})
        }
        now = {name: evidence_hash(record) for name, record in evidence.items() if record is not None}
        sets = {one.training_set.rpartition("/")[2].removesuffix(".parquet") for one in versions if one.training_set}
        places = {place for record in evidence.values() if record is not None for place in named_beside(record)}
        beside = {place: self._content(place) for place in sorted(places)}
        return KeptVersions(versions, evidence, now, {name: self._rows(name) for name in sorted(sets)}, beside)

    def _content(self, place: str) -> str | None:
        folder, _, name = place.rpartition("/")
        if not self.store.path(folder, f"{name}.json").exists():
            return None
        return self._try(folder, name[:12], lambda: evidence_hash(self._record(folder, name)))

    def _rows(self, name: str) -> str | None:
        from credit_assets.ml.data.fingerprints import frame_hash

        path = self.store.path(SETS, f"{name}.parquet")
        return self._try(SETS, name[:12], lambda: frame_hash(self.store.read_table(path)))

    def _record(self, folder: str, name: str) -> Any:
        return self.store.read_record(self.store.path(folder, f"{name}.json"))

    def _files(self, version: Version) -> Mapping[str, str] | str:
        try:
            return files_of(self.registry.download(version, as_is=True))
        except (PermanentError, OSError, ValueError) as error:
            return str(error)

    def _log(self, alias: str) -> list[Move]:
        log = AliasLog(self.registry.claims, self.registry.scope(), alias)
        moves = [self._try(f"model_aliases/{alias}", name, log.read, name) for name in log.names()]
        return [move for move in moves if move is not None]

    def _numbers(self, alias: str) -> list[int]:
        return [int(name) for name in AliasLog(self.registry.claims, self.registry.scope(), alias).names()]

    def _gates(self) -> dict[str, Any]:
        return {day: footer.gates for day, footer in self._footers("training_set").items()}

    def _footers(self, asset: str) -> dict[str, Footer]:
        """Of every day; one that is damaged is a gap."""
        days = self.store.days(asset)
        found = self.store.footers(asset, days, damaged_too=False)
        for day in (day for day in days if day not in found):
            self._try(asset, day, self.store.footer, self.store.path(asset, f"{day}.parquet"))
        return found

    def _verdicts(self, asset: str) -> dict[str, Verdict]:
        return {day: Verdict(results_hash(one.gates), one.rejected) for day, one in self._footers(asset).items()}

    def _scorers(self) -> dict[str, Sequence[str]]:
        found: dict[str, Sequence[str]] = {}
        for day in self.store.days("loan_scores"):
            versions = self._try("loan_scores", day, self._versions_of, day)
            if versions is not None:
                found[day] = versions
        return found

    def _versions_of(self, day: str) -> list[str]:
        path = self.store.path("loan_scores", f"{day}.parquet")
        there = self.store.footer(path).columns
        table = self.store.read_table(path, [name for name in ("model_version", "other_version") if name in there])
        return sorted({str(one) for column in table.columns for one in column.unique().to_pylist() if one is not None})
