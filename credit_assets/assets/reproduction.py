"""A version made again from what was kept of it, and compared with what it was.

Belongs here: making the training set, the model, its evidence and the decision again, in memory, and holding each
against what was recorded. Does not belong here: what a difference is (`credit_assets.ml.reports.reproduction`), and
showing it. Nothing here writes into the store, MLflow or Dagster.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from credit_assets.assets.due import stored_cohort
from credit_assets.assets.made_again import MadeAgain, model_again, saved_files
from credit_assets.assets.made_with import here
from credit_assets.assets.policies import training_config
from credit_assets.assets.recalibration import RECALIBRATED
from credit_assets.assets.recorded_version import NEW, RecordedVersion
from credit_assets.assets.requested import REQUESTED
from credit_assets.assets.searched_again import search_again
from credit_assets.assets.selecting import Selecting
from credit_assets.failures import PermanentError, error_text
from credit_assets.ledger.kept import evidence_hash
from credit_assets.ledger.registry import CHAMPION, RECALIBRATES, Registry, Version
from credit_assets.ml.data.manifest import MANIFEST_FILE
from credit_assets.ml.reports.decided_again import registration_again
from credit_assets.ml.reports.reproduction import (
    TOLERANCE,
    Difference,
    changed_inputs,
    changed_set,
    environment,
    named,
    rounds_otherwise,
    unequal,
)
from credit_assets.settings import Settings
from credit_assets.storage.store import Store
from credit_assets.tracking.evidence import files_of

if TYPE_CHECKING:
    from credit_assets.ml.learners.scorer import CreditScorer

_NO_EVIDENCE = frozenset(
    (
        "run_id",
        "model_uri",
        "candidates",
        "candidate_runs",
        "failed_variants",
        "made",
        "policy",
        "judged",
        "mode",
        "extensions",
        REQUESTED,
    )
)
"""What of the record of `trained_model` is no evidence of this model: names, the other candidates, how it was made, and
the verdicts, which are judged again."""
_BACKUP = "bring it back from a backup"
_SET = "training set, from the partitions of today"


def found_version(registry: Registry, version: str | None) -> Version:
    """The version that is asked for, else the champion. Raises PermanentError where there is none."""
    found = registry.alias(CHAMPION) if version is None else registry.version(version)
    if found is None:
        raise PermanentError("there is no champion yet: name a version, or train one with `credit-assets replay`")
    return found


def reproduce(settings: Settings, store: Store, registry: Registry, version: str | None) -> dict[str, Any]:
    """Make a version (the champion where none is named) again; what `Reproduction.record` gives."""
    return Reproduction(RecordedVersion(settings, store, registry, found_version(registry, version))).record()


@dataclass
class Reproduction:
    """One version made again. `record` does it all; the rest says how."""

    of: RecordedVersion
    compared: dict[str, str] = field(default_factory=dict)
    """By what was compared, how it came out, in words."""
    measured_otherwise: Mapping[str, str] = field(default_factory=dict)
    """The modules that measure and judge, and are others than those of then."""

    def record(self) -> dict[str, Any]:
        """What was compared and what differs, as JSON types; `equal` where nothing that counts does."""
        begun = time.process_time()
        if self.of.made and self.of.training_set is not None:
            self._kept_files()
            self._set_again()
            self.compared["code"] = _code(self.of)
            self._made_with()
            made = self._model()
            if made.candidate and (searched := search_again(self.of)):
                self.compared["search"] = searched
            self._evidence(made)
        self._decision()
        version, counted = self.of.version, [one for one in self.of.found if one.counts]
        return {
            "version": version.version,
            "as_of": version.as_of.isoformat(),
            "variant": version.variant,
            "fingerprint": version.fingerprint,
            "recalibrates": version.tags.get(RECALIBRATES),
            "equal": not counted,
            "compared": self.compared,
            "differences": [one.to_record() for one in counted],
            "notes": [one.to_record() for one in self.of.found if not one.counts],
            "tolerance": TOLERANCE,
            "cpu_seconds": round(time.process_time() - begun, 2),
        }

    # What was kept, by its hashes

    def _kept_files(self) -> None:
        """Hold everything that was kept against the hash that it was recorded by."""
        from credit_assets.ml.data.fingerprints import fingerprint, frame_hash

        identity, kept = dict(self.of.made["identity"]), self.of.kept
        wrong = self._model_files()
        if self.of.recalibrated:
            # Beside it, for whoever reads the record.
            identity = {name: value for name, value in identity.items() if name not in ("seed", "params")}
        if fingerprint(**identity) != self.of.version.fingerprint:
            wrong.append(("identity", "is not that of the version's fingerprint: the record was edited", _BACKUP))
        if frame_hash(self.of.training_set) != identity["data"]:
            wrong.append(("training set", "has not the recorded content: its rows were edited", _BACKUP))
        if kept and kept.evidence and evidence_hash(self.of.evidence) != kept.evidence:
            wrong.append(("evidence", "has not the recorded content: it was edited", _BACKUP))
        self.of.found += [Difference("kept", *one) for one in wrong]
        self.compared["what was kept"] = "as recorded" if not wrong else f"{len(wrong)} of it not as recorded"

    def _model_files(self) -> list[tuple[str, str, str]]:
        recorded = self.of.made.get("files")
        if recorded is None:
            self.of.differs(
                "not kept", "model files", "their hashes were not kept: compared as they are in MLflow", NEW
            )
            return []
        there = files_of(self.of.folder)
        do = "what scores is not what was judged: `credit-assets rollback`, or bring the file back from a backup"
        return [
            (f"model file {name}", "has not the recorded content" if name in there else "is not there", do)
            for name, content in recorded.items()
            if there.get(name) != content
        ]

    # From the partitions of today

    def _set_again(self) -> None:
        from credit_assets.ml.data.fingerprints import frame_hash

        of = self.of
        assert of.training_set is not None
        where, inputs = f"training_set {of.version.as_of}", self._inputs()
        of.found += inputs
        try:
            cohort = stored_cohort(of.then, of.store, of.version.as_of).cohort
            table = cohort.training_set(of.then.test_share, of.then.validation_share)
        except (PermanentError, ValueError) as error:
            of.differs("data", where, f"cannot be made again today: {error_text(error)}", "bring back what is missing")
            self.compared[_SET] = "cannot be made"
            return
        if frame_hash(table) == of.made["identity"]["data"]:
            self.compared[_SET] = f"equal, {table.num_rows:,} rows"
            return
        text = changed_set(of.training_set, table, of.portfolio.id_column)
        if not inputs:
            text += (
                "; no partition says that it changed: rows were edited in a file, or the code that joins them differs"
            )
        of.differs("data", where, text, "see which partitions and functions differ")
        self.compared[_SET] = "another one"

    def _inputs(self) -> list[Difference]:
        """The partitions that are not what it saw, and those that are not what these were made of."""
        was = dict(self.of.kept.inputs) if self.of.kept else {}
        if not was:
            self.of.differs("not kept", "inputs", "of which partitions it was made was not kept with this version", NEW)
        now: dict[str, Mapping[str, str | None]] = {}
        before: dict[str, dict[str, str]] = {}
        for asset, days in was.items():
            footers = self.of.store.footers(asset, sorted(days), damaged_too=False)
            now[asset] = {day: footers[day].content if day in footers else None for day in days}
            for source, contents in ((s, c) for one in footers.values() for s, c in one.inputs.items()):
                before.setdefault(source, {}).update(contents)
        sources = {asset: days for asset, days in before.items() if asset not in was}
        return changed_inputs(was, now) + changed_inputs(sources, {a: self._contents(a, d) for a, d in sources.items()})

    def _contents(self, asset: str, days: Mapping[str, str]) -> dict[str, str | None]:
        footers = self.of.store.footers(asset, sorted(days), damaged_too=False)
        return {day: footers[day].content if day in footers else None for day in days}

    # Code, machine, settings

    def _made_with(self) -> None:
        from credit_assets.ml.data.fingerprints import changed_parts

        then, today = self.of.made.get("threads"), self.of.settings.training_threads
        if then and then != today:
            text = f"{then} then, {today} in the settings of today; made again with {then}"
            self.of.differs("threads", "threads", text)
        self._parameters()
        if made_with := self.of.made_with:
            now = here(self.of.settings, self.of.version.variant)
            self.of.found += environment(made_with, now)
            self.measured_otherwise = changed_parts(made_with["evidence_code"], now["evidence_code"])

    def _parameters(self) -> None:
        """What a training of today would be made with, beside what this one was."""
        from credit_assets.ml.learners.training import resolve_params

        of, identity = self.of, self.of.made["identity"]
        try:
            config = training_config(of.settings, of.version.variant)
            today: dict[str, Any] = {**resolve_params(of.version.variant, config), "seed": config.seed}
        except ValueError:
            # The learner is none here, which `model_again` says.
            return
        then = {**identity["params"], "seed": identity["seed"]}
        for name, before, after in unequal(then, today):
            text = f"{before} then, {after} in the settings of today; made again with {before}"
            if name == "library":
                of.differs("library", before.partition(" ")[0], f"{before} then, {after} here")
            elif not of.recalibrated:
                of.differs("parameter", name, text)

    # The model, its evidence, the decision

    def _model(self) -> MadeAgain:
        """Make it again and compare files byte by byte; where they differ, predictions; and the metrics."""
        again = model_again(self.of)
        candidate, why = again.candidate, again.why
        if why:
            self.of.differs("cannot", "model", why, "make it again where that is there")
        if candidate is None:
            self.compared["model"] = "not made again"
            return again
        files, was = saved_files(self.of, candidate), self.of.made.get("files") or files_of(self.of.folder)
        for name in sorted(files.keys() - was.keys()):
            self.of.differs("not kept", name, "is a file that models had not when this version was trained", NEW)
        if other := sorted(name for name in was if was[name] != files.get(name)):
            # The manifest has the hashes of the others, and differs with them.
            named_files = [name for name in other if name != MANIFEST_FILE] or other
            self._predictions(candidate.scorer, named_files, exact=not why)
        else:
            self.compared["model"] = f"equal to the byte: {', '.join(sorted(was))}"
        found = list(unequal(self.of.made["metrics"], again.record["metrics"]))
        self.compared["metrics"] = "equal" if not found else f"{len(found)} figures differ: {named(found)}"
        if found and not why:
            self.of.differs("metrics", "metrics of the splits", named(found), self._measured())
        return again

    def _predictions(self, ours: CreditScorer, other: Sequence[str], *, exact: bool) -> None:
        import numpy as np

        from credit_assets.ml.learners.scorer import CreditScorer

        theirs, threads = CreditScorer.load(self.of.folder), self.of.settings.training_threads
        before, after = (scorer.pd(self.of.training_set, threads=threads) for scorer in (theirs, ours))
        refused = int((np.isnan(before) != np.isnan(after)).sum())
        apart = float(np.nanmax(np.abs(before - after)))
        files = ", ".join(other)
        difference = f"{files} differ in bytes; the largest difference of a PD is {apart:.3g}"
        if rounds_otherwise(self.of.found) and not refused and apart <= TOLERANCE:
            self.compared["model"] = f"equal within {TOLERANCE:g}: {difference}"
            return
        self.compared["model"] = difference
        if theirs.calibration != ours.calibration and exact:
            then, came = theirs.calibration.to_record(), ours.calibration.to_record()
            self.of.differs("calibration", "calibration", f"{then} was recorded, {came} came")
        if exact:
            causes = sorted({one.kind for one in self.of.found if one.kind in _CAUSES})
            self.of.differs("model", files, f"{difference}; what else differs: {', '.join(causes) or 'nothing'}")

    def _evidence(self, made: MadeAgain) -> None:
        """Make the evidence again, by the model that was made again, else by the one that was kept."""
        from credit_assets.ml.learners.scorer import CreditScorer

        of = self.of
        if not of.evidence:
            return
        scorer = made.candidate.scorer if made.candidate else CreditScorer.load(of.folder)
        status = RECALIBRATED if of.recalibrated else "trained"
        best = {**of.evidence, **of.made, **made.record, "status": status}
        try:
            selecting = Selecting(of.then, of.store, of.registry, of.training_set, of.gates)
            # As the asset is handed them: a recalibrated champion is none of the candidates.
            again = selecting.record([*of.others, *(() if of.recalibrated else (best,))], best, scorer)
        except (PermanentError, ValueError, KeyError) as error:
            of.differs("cannot", "evidence", f"cannot be made again here: {error_text(error)}")
            return
        then, now = _evidence_of(of.evidence), _evidence_of(again)
        both = then.keys() & now.keys()
        sections: dict[str, list[tuple[str, Any, Any]]] = {}
        for leaf in unequal({name: then[name] for name in both}, {name: now[name] for name in both}):
            sections.setdefault(leaf[0].partition(".")[0].partition("[")[0], []).append(leaf)
        for section, found in sections.items():
            of.differs("evidence", section, named(found), self._measured())
        for name in sorted(then.keys() - both):
            of.differs("not kept", name, "is a section that this release does not measure: not made again")
        for name in sorted(now.keys() - then.keys()):
            of.differs("not kept", name, "was not measured when this version was trained", NEW)
        self.compared["evidence"] = "equal" if not sections else f"differs in {', '.join(sections)}"

    def _measured(self) -> str:
        """What of the code that measures is another one, for whoever wonders at a figure."""
        if not self.measured_otherwise:
            return "see what else differs"
        return f"the code that measures is another one too: {', '.join(sorted(self.measured_otherwise))}"

    def _decision(self) -> None:
        """Judge the registration again, from the evidence that was kept and by the policy that was recorded."""
        of = self.of
        if not of.evidence or not of.decision:
            return
        found = registration_again(of.evidence, of.gates, of.decision)
        for text in found:
            of.differs("decision", f"registration {of.version.as_of}", text, "see `credit-assets audit`")
        self.compared["decision"] = f"the same: {of.decision['decision']}" if not found else "another one"


def _code(of: RecordedVersion) -> str:
    """Enter the parts of the code that differ; how it came out, in words."""
    from credit_assets.ml.data.fingerprints import MODEL_CODE, changed_parts, code_parts, code_version
    from credit_assets.ml.learners.recalibration import CODE

    modules = CODE if of.recalibrated else MODEL_CODE
    then, today = of.made["identity"]["code"], code_version(modules)
    if then == today:
        return "equal"
    if of.code_parts is None:
        text = f"{then[:12]} then, {today[:12]} here; by which functions was not kept with this version"
        of.differs("code", "credit_assets.ml", text, NEW)
        return "another one"
    parts = changed_parts(of.code_parts, code_parts(modules))
    used = {part: became for part, became in parts.items() if _used(of, part) and _reached(part, became, parts)}
    for part, became in used.items():
        module, _, function = part.partition(":")
        text = f"{function or 'the module itself'} {_BECAME[became]}"
        of.differs("code", f"credit_assets.ml.{module}", text, "compare the two releases there")
    return f"{len(used)} parts differ" if used else "equal, where this version uses it"


def _used(of: RecordedVersion, part: str) -> bool:
    """Whether a part of the code can have had to do with this version: no other learner, but for a variant that is made
    of several; no Dask without one.
    """
    from credit_assets.ml.learners import VARIANTS

    name = part.partition(":")[0].removeprefix("learners.")
    if name.startswith("dask"):
        return of.trained_on[0] != "one node"
    return name not in VARIANTS or of.version.variant in (name, "ensemble")


def _reached(part: str, became: str, parts: Mapping[str, str]) -> bool:
    """Whether a part can be reached from the code of then. What is new is reached only by something that has changed,
    which is named; but for a method that takes the place of an inherited one in a class that was there.
    """
    owner = part.rpartition(".")[0]
    return became != "new" or (":" in owner and parts.get(owner) != "new")


_CAUSES = ("data", "code", "library", "threads", "platform", "kept")
_BECAME = {"changed": "is another one here", "gone": "is not there any more", "new": "was not there then"}


def _evidence_of(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in _NO_EVIDENCE}
