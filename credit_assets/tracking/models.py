"""Files of logged models, on this machine.

Belongs here: fetching a model once and finding the scorer in it. Does not belong here: logging a model (`run`) and what
a scorer's folder holds (`credit_assets.ml.learners.scorer`).
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from credit_assets.aside import PREFIX, aside
from credit_assets.failures import PermanentError, TransientError
from credit_assets.processes import own_mark
from credit_assets.tracking.server import Server


class LoggedModels:
    """Models logged to one server, in `cache_dir` where they had to be fetched; by default the user's cache folder."""

    def __init__(self, server: Server, cache_dir: Path | None = None) -> None:
        self.server = server
        self._cache_dir = cache_dir

    def download(self, model_uri: str, differs: Callable[[Path], str] = lambda _: "") -> Path:
        """Local folder of a logged model's own files (`scorer.json`, the native model file, `reference.json`).

        `model_uri` is `models:/m-...` as `log_model` gave it; `differs` says of a folder what in it is not as it should
        be. A model on a local path is read in place; one on a server is fetched once and kept, and once again where the
        files that are kept are not as they should be: they may have been damaged here, or cut on their way.

        Raises PermanentError where it is not there, holds no scorer, or has other files than it should as both looks
        agree; TransientError where it does not come whole.
        """
        model_id = model_uri.removeprefix("models:/").strip("/")
        if not re.fullmatch(r"m-[0-9a-f]+", model_id):
            raise PermanentError(f"{model_uri!r} is not the URI of a logged model (models:/m-...)")
        found: list[str] = []
        for _ in range(2):
            folder, kept = self._found(model_id, model_uri)
            why = differs(folder)
            if not why:
                return folder
            found.append(why)
            if kept is not None:
                shutil.rmtree(kept, ignore_errors=True)
        if found[0] != found[1]:
            raise TransientError(f"{model_uri} does not come whole ({found[0]}; then {found[1]}); try again")
        raise PermanentError(
            f"{model_uri} is not the model that was made ({found[0]}): bring its files back from a backup"
        )

    def of_record(self, record: Mapping[str, Any]) -> Path:
        """That of a candidate, whose files are to be those that its record has the hashes of. Raises as `download`."""
        return self.download(record["model_uri"], partial(_differs, record.get("files") or {}))

    def _found(self, model_id: str, model_uri: str) -> tuple[Path, Path | None]:
        """The folder with the scorer, and what of it is a copy of this machine."""
        cached = self._cache_folder() / model_id
        if cached.is_dir():
            return _scorer_folder(cached, model_uri), cached
        get = self.server.client.get_logged_model
        location = self.server.call("cannot read a model", get, model_id).artifact_location
        local = _local_path(location)
        if local is not None:
            return _scorer_folder(local, model_uri), None
        cached = self._writable_cache() / model_id
        draft = aside(cached)
        try:
            # The last part of the location appears again below the target folder.
            fetched = self._fetch(location, draft, f"cannot fetch {model_uri}")
            sizes = self.server.call(f"cannot list {model_uri}", _sizes, location, self.server.uri)
            _refuse_cut(fetched, sizes, model_uri)
            _scorer_folder(fetched, model_uri)
            try:
                fetched.rename(cached)
            except OSError:
                # Another process was first. A model is never changed, so theirs is as good.
                if not cached.is_dir():
                    raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return _scorer_folder(cached, model_uri), cached

    def _fetch(self, location: str, target: Path, doing: str) -> Path:
        from mlflow.artifacts import download_artifacts

        target.mkdir(parents=True, exist_ok=True)
        uri = self.server.uri
        where = {"artifact_uri": location, "dst_path": str(target), "tracking_uri": uri, "registry_uri": uri}
        return Path(self.server.call(doing, download_artifacts, **where))

    def _cache_folder(self) -> Path:
        if self._cache_dir is None:
            try:
                self._cache_dir = cache_folder()
            except RuntimeError:
                return self._temporary_cache()
        return self._cache_dir

    def _writable_cache(self) -> Path:
        folder = self._cache_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return self._temporary_cache()
        return folder

    def _temporary_cache(self) -> Path:
        """For a container without a writable home: fetched again by every process, which is slower and right."""
        self._cache_dir = folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}models-{own_mark().token}-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder


def cache_folder() -> Path:
    """The user's cache folder. Raises RuntimeError where there is neither HOME nor an account that would have one."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "credit-assets" / "models"


def _differs(files: Mapping[str, str], folder: Path) -> str:
    """In words, which of these files (`files_of`) a folder has as another one, or not at all."""
    from credit_assets.tracking.evidence import files_of

    there = files_of(folder)
    return "; ".join(
        f"{name} is another file (SHA-256 {there[name][:12]})" if name in there else f"{name} is not there"
        for name, content in files.items()
        if there.get(name) != content
    )


def _sizes(location: str, uri: str) -> dict[str, int]:
    """Bytes of each file of a model as the store that has it lists them, by the path below it."""
    from mlflow.artifacts import list_artifacts

    sizes: dict[str, int] = {}
    folders = [""]
    while folders:
        folder = folders.pop()
        for one in list_artifacts(f"{location.rstrip('/')}/{folder}".rstrip("/"), tracking_uri=uri):
            # Below the folder that is listed, or below the model: stores differ.
            path = f"{folder}/{one.path.rsplit('/', 1)[-1]}".lstrip("/")
            if one.is_dir:
                folders.append(path)
            elif one.file_size is not None:
                sizes[path] = int(one.file_size)
    return sizes


def _refuse_cut(fetched: Path, sizes: Mapping[str, int], model_uri: str) -> None:
    """MLflow takes half an answer for a whole one."""
    there = {path: (fetched / path).stat().st_size if (fetched / path).is_file() else 0 for path in sizes}
    for path, size in sizes.items():
        if there[path] != size:
            raise TransientError(
                f"{model_uri} did not come whole: {there[path]:,} of {size:,} bytes of {path}; try again"
            )


def _local_path(location: str) -> Path | None:
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(location) if parts.scheme == "" else None


def _scorer_folder(model_dir: Path, model_uri: str) -> Path:
    import yaml

    from credit_assets.ml.learners.scorer import SCORER_FILE

    try:
        flavors = yaml.safe_load((model_dir / "MLmodel").read_text("utf-8"))["flavors"]
        folder = model_dir / str(flavors["python_function"]["data"])
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise PermanentError(f"{model_uri}: no readable MLmodel in {model_dir} ({error})") from error
    if not (folder / SCORER_FILE).is_file():
        raise PermanentError(f"{model_uri} holds no {SCORER_FILE}: it was not logged by this pipeline")
    return folder
