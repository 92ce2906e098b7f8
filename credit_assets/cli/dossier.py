"""`credit-assets dossier`: the dossier of a version as a page and as JSON, in a folder.

Belongs here: writing the files, and what people read of them. Does not belong here: what a dossier says.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from rich.console import Console

from credit_assets.aside import aside
from credit_assets.assets.dossier import described, file_names, json_of, page_of
from credit_assets.assets.dossier_material import material_of
from credit_assets.failures import PermanentError
from credit_assets.resources import build_resources
from credit_assets.settings import Settings


def write_dossier(settings: Settings, version: str | None, folder: Path) -> dict[str, Any]:
    """Write the dossier of a version, the champion where none is named, by all that is known of it now.

    Raises PermanentError where there is no such version, or the folder cannot be written.
    """
    from credit_assets.ml.reports.dossier.whole import dossier

    resources = build_resources(settings)
    registry, store = resources["registry"], resources["store"]
    found = registry.named(version)
    made = dossier(material_of(settings, store, registry, found))
    record: dict[str, Any] = {
        "model": registry.model_name,
        "version": found.version,
        "as_of": found.as_of.isoformat(),
        "fingerprint": found.fingerprint,
        "findings": list(made.findings),
        "missing": list(made.missing),
    }
    files = {}
    for kind, name, text in zip(("html", "json"), file_names(record), (page_of(made), json_of(made)), strict=True):
        files[kind] = {"path": str(written(folder / name, text)), **described(text)}
    return {**record, "files": files}


def written(path: Path, text: str) -> Path:
    """Write aside and rename, so that a file is the old one or the new one."""
    draft = aside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise PermanentError(f"--out: {path} cannot be written ({error.strerror}); name another folder") from error
    return path.resolve()


def print_dossier(record: dict[str, Any], console: Console) -> None:
    """Where the files are, and what the dossier says of weaknesses."""
    console.print(f"{record['model']} version {record['version']}, as of {record['as_of']}", markup=False)
    for kind, file in record["files"].items():
        console.print(f"{kind:<5} {file['path']} ({file['bytes']:,} bytes)", markup=False, soft_wrap=True)
    for text in record["findings"]:
        console.print(f"known weakness: {text}", markup=False)
    for text in record["missing"]:
        console.print(text, style="dim", markup=False)
