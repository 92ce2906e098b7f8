"""Claims: one name, one value, the first claimant wins. A lock service made of files in the store.

Belongs here: creating a small file exclusively, and the "create, then claim" built on it. Does not belong here: what is
claimed (`credit_assets.tracking`, `credit_assets.ledger`) and the data files of the pipeline (`store`).

MLflow has no unique key for a run or a model version, so that search-then-create makes two of them when two processes
search at once. Files have: a local file system links a finished file to a name that must not exist, S3 takes
`If-None-Match: *`, GCS `ifGenerationMatch=0`. A claim is never changed or given up, which is what makes it safe to
read without a lock: whoever has seen a value has seen the only one.
"""

from __future__ import annotations

import errno
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from credit_assets.aside import aside
from credit_assets.failures import PermanentError, TransientError, is_transient
from credit_assets.storage.chain import Journal, content_hash
from credit_assets.storage.seals import canonical_json, sealed
from credit_assets.storage.store import Store, open_root
from credit_assets.storage.tables import is_local

if TYPE_CHECKING:
    from upath import UPath

# Filesystems whose exclusive create is exclusive between machines (memory: within the process, for tests). The default
# of fsspec looks first and writes then, which is no claim at all.
_EXCLUSIVE = {"s3", "s3a", "gs", "gcs", "memory"}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=-]*(/[A-Za-z0-9_][A-Za-z0-9_.=-]*)*")
_ATTEMPTS = 6
_WRITTEN_SECONDS = 60
CLAIMS = "claims"
RECORDS = ("registered_model", "deployed_model", "shadow_report", "kept/versions")
"""Folders of the store with the records of decisions: they are journaled (`write_ledger_record`)."""
_FOLDERS = ("requests/done", "retraining", "retraining-triggers", "recalibration", "mlflow-versions")
_JOURNALED = tuple(f"{folder}/" for folder in _FOLDERS)
"""Claims that something is decided by. Those of runs and candidates only keep two processes from making one thing."""


class Claims:
    """Claims under `<store>/claims`. Costs nothing to construct; opens the filesystem when used.

    All processes that write to one MLflow server must be given the same store.
    """

    def __init__(self, store_uri: str, **storage_options: Any) -> None:
        self.store_uri = store_uri
        self._options = storage_options

    def claim(self, name: str, value: str) -> str:
        """Bind `name` to `value` unless it is bound, as `bind` does; what is decided by goes through the journal."""
        if name.startswith(_JOURNALED):
            if (held := self.get(name)) is not None:
                return held
            self.journal.enter(f"{CLAIMS}/{name}", content_hash(f"{value}\n".encode()))
        return self.bind(name, value)

    @property
    def journal(self) -> Journal:
        return Journal(self, lambda: {path: content_hash(data) for path, data in self.ledger_files().items()})

    def ledger_files(self) -> dict[str, bytes]:
        """What the journal answers for as it is now: the bytes by the path in the store. Raises as `get`."""
        root = open_root(self.store_uri, self._options)
        found: dict[str, bytes] = {}
        try:
            for folder in (*(f"{CLAIMS}/{one}" for one in _FOLDERS), *RECORDS):
                found |= _files_under(root, folder)
        except Exception as error:
            raise self._failure("cannot read the ledger", error) from error
        return found

    def bind(self, name: str, value: str) -> str:
        """Bind `name` to `value` unless it is bound; return what it is bound to.

        `value` must tell claimants apart (a run id, a version) and must not be empty. Linearizable: all callers, in all
        processes, get the same answer. Raises TransientError where the store does not answer, PermanentError where it
        refuses the write or cannot create exclusively.
        """
        if not value or "\n" in value:
            raise ValueError("the value of a claim is one line and not empty")
        path = self._path(name)
        data = f"{value}\n".encode()
        why: Exception | None = None
        for attempt in range(_ATTEMPTS):
            try:
                if isinstance(path, Path):
                    _create_local(path, data)
                else:
                    path.fs.pipe_file(path.path, data, mode="create")
                return value
            except FileExistsError:
                why = None
            except Exception as error:
                # A conflict of two writers (S3 answers 409) and an answer lost on the way look alike; what the name is
                # bound to by now decides both.
                why = error
                if isinstance(error, PermissionError) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EROFS):
                    break
            stored = self.get(name)
            if stored is not None:
                return stored
            time.sleep(min(2.0, 0.05 * 2**attempt) * (0.5 + random.random()))
        raise self._failure(f"cannot claim {name}", why) from why

    def get(self, name: str) -> str | None:
        """What `name` is bound to; None while it is free. Raises PermanentError where no claim stands there."""
        data = self._read(name)
        if data is None:
            return None
        with suppress(UnicodeDecodeError):
            if data.endswith(b"\n"):
                return str(data, "utf-8").removesuffix("\n")
        raise PermanentError(
            f"{self._path(name)} is no claim, which is one line of text: it was edited, or its writer was stopped "
            "halfway; bring it back from a backup, or see what `credit-assets audit` says before you delete it"
        )

    def text(self, name: str) -> str | None:
        """What stands at `name`, be it a claim or not; None while it is free. For logs: their entries say themselves
        whether they are whole, and one that is not is in nobody else's way.
        """
        data = self._read(name)
        return None if data is None else data.decode("utf-8", "backslashreplace").removesuffix("\n")

    def _read(self, name: str) -> bytes | None:
        path = self._path(name)
        data = b""
        for attempt in range(_ATTEMPTS):
            try:
                data = path.read_bytes() if isinstance(path, Path) else path.fs.cat_file(path.path)
            except FileNotFoundError:
                return None
            except IsADirectoryError:
                return b""
            except Exception as error:
                raise self._failure(f"cannot read the claim {name}", error) from error
            if data.endswith(b"\n") or not _may_be_written(path):
                break
            time.sleep(0.05 * 2**attempt)
        return data

    def names(self, folder: str) -> list[str]:
        """Names that are bound directly under `folder`, sorted, without the folder."""
        path = self._path(folder)
        try:
            if isinstance(path, Path):
                entries = os.listdir(path)
            else:
                # Without this a long-lived process is shown the listing that it saw first.
                path.fs.invalidate_cache()
                entries = [str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in path.fs.ls(path.path, detail=False)]
        except FileNotFoundError:
            return []
        except Exception as error:
            raise self._failure(f"cannot list the claims of {folder}", error) from error
        return sorted(name for name in entries if _NAME.fullmatch(name))

    def single(
        self, name: str, *, create: Callable[[], str], alive: Callable[[str], bool], discard: Callable[[str], None]
    ) -> str:
        """The one thing of this name: the one that is claimed, or made by `create` and claimed now.

        Create first, claim then: a claim never points at something that is not there yet. Who loses the claim discards
        what it made and gets the winner's. Something that is no longer `alive` (deleted by hand) makes room for a
        successor under the next generation of the name.
        """
        for key in _generations(name):
            held = self.get(key)
            if held is None:
                mine = create()
                held = self.claim(key, mine)
                if held == mine:
                    return mine
                discard(mine)
            if alive(held):
                return held
        raise AssertionError("unreachable: generations do not end")

    def holders(self, name: str) -> list[str]:
        """Everything that `single` ever gave out under this name, oldest first."""
        held_by = []
        for key in _generations(name):
            held = self.get(key)
            if held is None:
                break
            held_by.append(held)
        return held_by

    def _path(self, name: str) -> Path | UPath:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a claim: letters, digits, _ . = - and / only")
        root = open_root(self.store_uri, self._options)
        if is_local(root):
            return Path(str(root.path)) / CLAIMS / name
        if root.protocol not in _EXCLUSIVE:
            raise PermanentError(
                f"CREDIT_STORE_URI {self.store_uri!r}: {root.protocol} cannot create a file exclusively, which runs "
                "side by side need; use a folder, s3:// or gs://"
            )
        path: UPath = root.joinpath(CLAIMS, name)
        return path

    def _failure(self, what: str, error: Exception | None) -> TransientError | PermanentError:
        text = f"{what} in {self.store_uri}: {error or 'the store did not settle on a value'}"
        if error is None or is_transient(error) or getattr(error, "errno", None) in (errno.EBUSY, errno.EIO):
            if error is not None and not is_local(open_root(self.store_uri, self._options)):
                # As of its other files: a library's words on the way to a service help nobody.
                text = f"{what} in {self.store_uri} (CREDIT_STORE_URI), which does not answer ({type(error).__name__})"
                return TransientError(f"{text}; see that it can be reached, then try again")
            return TransientError(text)
        return PermanentError(f"{text}; see that this process may read and write there")


def _may_be_written(path: Path | UPath) -> bool:
    """Whether somebody is at work on a file: only where the file system has no hard links is one seen before it is
    whole.
    """
    if not isinstance(path, Path):
        return False
    with suppress(OSError):
        return abs(time.time() - path.stat().st_mtime) < _WRITTEN_SECONDS
    return False


def journal_of(store: Store) -> Journal:
    """The journal of a store."""
    return Claims(store.uri, **store.options).journal


def write_ledger_record(store: Store, path: UPath, record: Any) -> None:
    """Write the record of a decision, after the journal has it."""
    data = canonical_json(sealed(record))
    if not path.exists() or path.read_bytes() != data:
        journal_of(store).enter(in_store(store, path), content_hash(data))
    store.write_bytes(path, data)


def in_store(store: Store, path: UPath) -> str:
    """The path of a file of the store from its root on."""
    return str(path.relative_to(store.root))


def _files_under(root: UPath, folder: str) -> dict[str, bytes]:
    """The files below a folder by their path from the root on, but for those that are being written."""
    if is_local(root):
        base = Path(str(root.path))
        files = [Path(where, name) for where, _, names in os.walk(base / folder) for name in names]
        return {str(one.relative_to(base)): one.read_bytes() for one in files if not one.name.startswith(".")}
    root.fs.invalidate_cache()
    base_path = root.path.rstrip("/")
    names = root.fs.find(f"{base_path}/{folder}")
    return {name[len(base_path) + 1 :]: data for name, data in root.fs.cat(names).items()} if names else {}


def _generations(name: str) -> Iterator[str]:
    yield name
    number = 1
    while True:
        number += 1
        yield f"{name}.{number}"


def _create_local(path: Path, data: bytes) -> None:
    """Create `path` with its content in one step. Raises FileExistsError where it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = aside(path)
    try:
        with open(draft, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
            # No hard links here (some network and FAT file systems): the name is exclusive, its content follows.
            with open(path, "xb") as file:
                file.write(data)
    finally:
        draft.unlink(missing_ok=True)
