"""A version as it was recorded: what was kept of it, or what else says how it was made, and what is not there any more.

Belongs here: finding and reading it. Does not belong here: making anything again (`reproduction`), and keeping it
(`credit_assets.ledger.kept`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from credit_assets.failures import PermanentError
from credit_assets.ledger.kept import CODE, EVIDENCE, PORTFOLIOS, Kept, KeptVersion, evidence_hash
from credit_assets.ledger.registry import RECALIBRATES, Registry, Version
from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.data.policies import Policy
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.ml.reports.reproduction import Difference, Kind, named, unequal
from credit_assets.settings import Settings
from credit_assets.settings.recorded import as_recorded
from credit_assets.storage.store import Store
from credit_assets.tracking.run import FinishedRun

if TYPE_CHECKING:
    import pyarrow as pa

NEW = "versions that are trained from now on keep it"
_RELEASE = "use the release that made it"
_BACKUP = "bring it back from a backup"


@dataclass
class RecordedVersion:
    """One version. Each part is read where it is first asked for; what is missing of it is entered in `found`, in
    words.
    """

    settings: Settings
    store: Store
    registry: Registry
    version: Version
    found: list[Difference] = field(default_factory=list)

    def differs(self, kind: Kind, where: str, text: str, do: str = "") -> None:
        self.found.append(Difference(kind, where, text, do))

    @property
    def recalibrated(self) -> bool:
        return RECALIBRATES in self.version.tags

    @cached_property
    def kept(self) -> KeptVersion | None:
        return Kept(self.store).of(self.version)

    @cached_property
    def evidence(self) -> Mapping[str, Any]:
        """The record of `trained_model` that it was registered by; empty where none is to be had."""
        if found := Kept(self.store).content(EVIDENCE, self.kept.evidence if self.kept else None):
            return dict(found)
        found = self._of_day("trained_model")
        if found:
            self.differs("not kept", "evidence", "was not kept with this version: that of its day is used", NEW)
        else:
            text = "was not kept with this version, and its day has another one by now, or none"
            self.differs("cannot", "evidence", text, NEW)
        return found

    @cached_property
    def made(self) -> Mapping[str, Any]:
        """How it was made: by its evidence, else by its run in MLflow, as of versions of before; empty where gone."""
        if made := self.evidence.get("made"):
            return dict(made)
        try:
            return dict(FinishedRun(self.registry.tracking.server, self.version.run_id).load_record("candidate.json"))
        except PermanentError as error:
            self.differs("cannot", "training", f"neither evidence nor MLflow says how it was made: {error}", NEW)
            return {}

    @cached_property
    def made_with(self) -> Mapping[str, Any] | None:
        """The libraries, machine and settings that it was made with."""
        if found := self.made.get("made_with"):
            return dict(found)
        self.differs("not kept", "made with", "libraries, machine and settings were not kept with this version", NEW)
        return None

    @cached_property
    def training_set(self) -> pa.Table | None:
        """The rows that it was trained on; None where they were not kept."""
        name = (self.kept.training_set if self.kept else None) or self.version.tags.get("training_set")
        if not name:
            self.differs("cannot", "training set", "was not kept when this version was registered", NEW)
            return None
        try:
            return self.store.read_table(self.store.path(name))
        except (PermanentError, OSError) as error:
            self.differs("cannot", "training set", f"{name} cannot be read ({error})", _BACKUP)
            return None

    @cached_property
    def portfolio(self) -> Portfolio:
        """The portfolio that it was made for; that of today where it was not kept, or is none to this release."""
        today = self.settings.portfolio_contract
        found = Kept(self.store).content(PORTFOLIOS, (self.made_with or {}).get("portfolio"))
        if found is None:
            self.differs("not kept", "portfolio", "was not kept with this version: today's is used", NEW)
            return today
        if evidence_hash(found) != (self.made_with or {}).get("portfolio"):
            self.differs("kept", "portfolio", "has not the recorded content: it was edited", _BACKUP)
        try:
            then = Portfolio.model_validate(found)
        except ValueError as error:
            text = f"as it was kept is none to this release ({_first_line(error)}): today's is used"
            self.differs("cannot", "portfolio", text, _RELEASE)
            return today
        leaves = list(unequal(then.model_dump(mode="json"), today.model_dump(mode="json")))
        if leaves := [one for one in leaves if not one[0].startswith("policy")]:
            self.differs("portfolio", "portfolio", f"{named(leaves, 'now')}; made again with what was then")
        return then

    @cached_property
    def policy(self) -> Policy | None:
        """The policy that it was registered by; None where it cannot be told."""
        recorded = (self.decision or {}).get("policy") or self.evidence.get("policy")
        if not recorded:
            self.differs("not kept", "policy", "was not recorded with this version: today's is used", NEW)
            return None
        try:
            policy = Policy.from_record(recorded)
        except ValueError as error:
            text = f"as it was recorded has keys that this release does not know ({_first_line(error)})"
            self.differs("cannot", "policy", text, _RELEASE)
            return None
        if {*Policy.model_fields} - {*recorded}:
            missing = ", ".join(sorted({*Policy.model_fields} - {*recorded}))
            self.differs("policy", "policy", f"sections have come since, which decided nothing then: {missing}")
        return policy

    @cached_property
    def then(self) -> Settings:
        """The settings as they were."""
        recorded = dict((self.made_with or {}).get("settings", {}))
        if "window_days" in recorded:
            recorded["performance_window_days"] = recorded.pop("window_days")
        return as_recorded(self.settings, self.portfolio, self.policy, **recorded)

    @cached_property
    def gates(self) -> Sequence[GateResult]:
        """What the gates of its training set said."""
        if self.kept and self.kept.decision:
            return [GateResult.from_record(one) for one in self.kept.decision["gates"]]
        name = self.kept.training_set if self.kept else None
        return self.store.footer(self.store.path(name)).gates if name else ()

    @cached_property
    def decision(self) -> Mapping[str, Any] | None:
        """The decision on its registration; None where none is to be had."""
        if self.kept and self.kept.decision:
            return {"decision": "registered", **self.kept.decision}
        if found := self._of_day("registered_model"):
            return found
        text = "was not kept with this version, and its day has another one by now, or none"
        self.differs("cannot", "decision", text, NEW)
        return None

    @cached_property
    def code_parts(self) -> Mapping[str, str] | None:
        """The parts of the code that made it; None where they were not kept."""
        found: Mapping[str, str] | None = Kept(self.store).content(CODE, self.made["identity"]["code"])
        recorded = (self.made_with or {}).get("code_parts")
        if found is not None and recorded and evidence_hash(found) != recorded:
            self.differs("kept", "parts of the code", "have not the recorded content: they were edited", _BACKUP)
        return found

    @cached_property
    def folder(self) -> Path:
        """Its files. Raises PermanentError where they are gone."""
        return self.registry.download(self.version, as_is=True)

    @cached_property
    def others(self) -> list[dict[str, Any]]:
        """The records of the other candidates that it was chosen among: those that were not trained by their variant
        alone.
        """
        found: list[dict[str, Any]] = [
            {"variant": variant, "status": "failed"} for variant in self.evidence.get("failed_variants", ())
        ]
        for variant, auc in self.evidence.get("candidates", {}).items():
            if variant == self.version.variant:
                continue
            one = self._candidate(variant)
            if one.get("status") == "trained" and one["metrics"]["validation"]["auc"] == auc:
                found.append(one)
            else:
                text = "is not there as it was chosen among: what is measured of all candidates is without it"
                self.differs("not kept", f"candidate {variant}", text, "bring its MLflow run back from a backup")
        return found

    def _candidate(self, variant: str) -> dict[str, Any]:
        """The record of another candidate: of its MLflow run, which stays when the day is trained again; of a version
        that names no runs that of its day.
        """
        run = self.evidence.get("candidate_runs", {}).get(variant)
        if run is None:
            path = self.store.path(f"{variant}_candidate", f"{self.version.as_of}.json")
            return dict(self.store.read_record(path)) if path.exists() else {}
        try:
            return dict(FinishedRun(self.registry.tracking.server, run).load_record("candidate.json"))
        except PermanentError:
            return {}

    @property
    def trained_on(self) -> tuple[str, str]:
        """Engine and device."""
        found = self.made.get("trained_on") or {}
        return str(found.get("engine", "one node")), str(found.get("device", "cpu"))

    def _of_day(self, asset: str) -> dict[str, Any]:
        """The record of its day, where it is this version's; else empty."""
        path = self.store.path(asset, f"{self.version.as_of}.json")
        found = dict(self.store.read_record(path)) if path.exists() else {}
        return found if found.get("fingerprint") == self.version.fingerprint else {}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")
