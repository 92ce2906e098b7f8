"""What is kept of each registered version for as long as it is registered: the rows that it was trained on, of which
content the days were that made them, how the newest days looked to it, and the evidence that it was registered by.

Belongs here: keeping and finding it. Does not belong here: what follows from it (`deployment`, `ml.rules.first_days`,
`restated`), and making a version again from it.

A day that is ingested again, or an as-of date that is trained again, replaces the partitions of `training_set`,
`trained_model` and `registered_model`. What a version saw is kept beside them by its content,
`kept/training_set/<hash>.parquet`, once however many versions saw it: a second name of the same file on a local path, a
copy within an object store. In the same way the record of `trained_model` (`kept/evidence`), and, from the training on,
the parts of the code that made a model (`kept/code`) and its portfolio (`kept/portfolios`). Nothing in the pipeline
removes any of it; whoever deletes a version for good may delete the files that its record names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from credit_assets.failures import PermanentError
from credit_assets.ledger.registry import Version
from credit_assets.storage.claims import write_ledger_record
from credit_assets.storage.seals import canonical_json
from credit_assets.storage.store import Store

SETS, VERSIONS = "kept/training_set", "kept/versions"
EVIDENCE, CODE, PORTFOLIOS = "kept/evidence", "kept/code", "kept/portfolios"
SEARCHES = "searches"
"""The trials of searches, by the fingerprint of the candidate."""


@dataclass(frozen=True)
class KeptVersion:
    """The record of a version, by its fingerprint.

    `training_set` is the path in the store, `inputs` by asset and ISO day the content of what the set was made of,
    `first_days` what `measure_first_days` found, `leaks` where its skill comes from (`judge_leaks`); None and empty in
    what was registered before they were kept.
    """

    fingerprint: str
    as_of: str
    training_set: str | None
    inputs: Mapping[str, Mapping[str, str]]
    first_days: Mapping[str, Any] | None
    version: str | None = None
    """None while it is not registered yet."""
    leaks: Mapping[str, Any] | None = None
    evidence: str | None = None
    """`evidence_hash` of the record of `trained_model` that it was registered by, which is kept under that name."""
    fairness: Mapping[str, Any] | None = None
    """How it treats protected groups (`judge_fairness`); None of a version of before."""
    decision: Mapping[str, Any] | None = None
    """Of the registration: `mode`, `policy`, `reasons`, and the `gates` of its training set as they were."""


def named_beside(evidence: Mapping[str, Any]) -> dict[str, str]:
    """What the evidence of a version names beside itself: by its place in the store (`kept/portfolios/<hash>`), the
    content that was recorded of it. What is older than such a record names nothing.
    """
    made = evidence.get("made") or {}
    made_with, code = made.get("made_with") or {}, (made.get("identity") or {}).get("code")
    contents = {f"{PORTFOLIOS}/{made_with.get('portfolio')}": made_with.get("portfolio")}
    contents[f"{CODE}/{code}"] = made_with.get("code_parts")
    contents[f"{SEARCHES}/{evidence.get('fingerprint')}"] = (made.get("search") or {}).get("content")
    return {place: content for place, content in contents.items() if content}


def evidence_hash(record: Any) -> str:
    """SHA-256 (hex) of a record as the store writes it."""
    return hashlib.sha256(canonical_json(record)).hexdigest()


class Kept:
    """The store's folder `kept`. Costs nothing to construct."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def keep(self, trained: Mapping[str, Any], decision: Mapping[str, Any] | None = None) -> KeptVersion:
        """Keep the training set of a model (the record of `trained_model`), that record and the decision on it, and
        write its own; again changes nothing.

        Raises PermanentError where the partition is no longer what the model was trained on.
        """
        source = self.store.path("training_set", f"{trained['as_of']}.parquet")
        name = f"{SETS}/{trained['data']}.parquet"
        target, before = self.store.path(name), self.of(trained["fingerprint"])
        if self._content(target) != trained["data"]:
            try:
                self.store.copy(source, target)
            except FileNotFoundError as error:
                raise self._gone(trained) from error
            # After the copy: another run may replace the partition meanwhile.
            if self._content(target) != trained["data"]:
                self.store.remove(target)
                raise self._gone(trained)
        record = KeptVersion(
            fingerprint=trained["fingerprint"],
            as_of=trained["as_of"],
            training_set=name,
            inputs=self.store.footer(source if self._content(source) == trained["data"] else target).inputs,
            first_days=trained.get("first_days"),
            leaks=trained.get("leaks"),
            fairness=trained.get("fairness"),
            version=before.version if before else None,
            evidence=self._keep(EVIDENCE, trained),
            decision=decision,
        )
        self._write(record)
        return record

    def keep_code(self, code: str, modules: Sequence[str]) -> str:
        """Keep the parts of the code that makes models here (`code_parts`) under its hash, once; return the hash of
        their own content.
        """
        from credit_assets.ml.data.fingerprints import code_parts

        path = self.store.path(CODE, f"{code}.json")
        if not path.exists():
            self.store.write_record(path, code_parts(modules))
        return evidence_hash(self.store.read_record(path))

    def keep_portfolio(self, portfolio: Mapping[str, Any]) -> str:
        """Keep a portfolio by its content; return the name that it is found by."""
        return self._keep(PORTFOLIOS, portfolio)

    def content(self, folder: str, name: str | None) -> Any:
        """What is kept under a name in EVIDENCE, CODE or PORTFOLIOS; None where nothing is. Raises PermanentError where
        it is damaged.
        """
        path = self.store.path(folder, f"{name}.json")
        return self.store.read_record(path) if name and path.exists() else None

    def _keep(self, folder: str, record: Mapping[str, Any]) -> str:
        path = self.store.path(folder, f"{(name := evidence_hash(record))}.json")
        if not path.exists():
            self.store.write_record(path, record)
        return name

    def numbered(self, record: KeptVersion, version: str) -> None:
        """Note under which number it is registered."""
        if record.version != version:
            self._write(replace(record, version=version))

    def looked_at(self, record: KeptVersion, first_days: Mapping[str, Any]) -> None:
        """Note how days that came since looked to it."""
        self._write(replace(record, first_days=first_days))

    def of(self, version: Version | str) -> KeptVersion | None:
        """What is kept of a version, or of a fingerprint; None where it was registered before anything was.

        Raises PermanentError where the record is damaged.
        """
        fingerprint = version if isinstance(version, str) else version.fingerprint
        path = self._path(fingerprint)
        return KeptVersion(**self.store.read_record(path)) if path.exists() else None

    def all(self) -> list[KeptVersion]:
        """Every record, in the order of as-of dates. Raises PermanentError as `of`."""
        names = self.store.days(VERSIONS)
        found = [KeptVersion(**self.store.read_record(self._path(name))) for name in names]
        return sorted(found, key=lambda one: (one.as_of, one.fingerprint))

    def _write(self, record: KeptVersion) -> None:
        write_ledger_record(self.store, self._path(record.fingerprint), vars(record))

    def _path(self, fingerprint: str) -> Any:
        return self.store.path(VERSIONS, f"{fingerprint}.json")

    def _content(self, path: Any) -> str | None:
        """The hash of a file's rows; None where there is no whole file."""
        from credit_assets.ml.data.fingerprints import frame_hash

        try:
            # A file of before has no hash in its footer.
            return self.store.footer(path).content or frame_hash(self.store.read_table(path))
        except (FileNotFoundError, PermanentError):
            return None

    @staticmethod
    def _gone(trained: Mapping[str, Any]) -> PermanentError:
        return PermanentError(
            f"training_set {trained['as_of']} is not what its model was trained on any more, so that nothing could be "
            "kept of it; materialize it and the candidates again"
        )
