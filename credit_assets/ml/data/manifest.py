"""The manifest of a model: every file of its folder by name, with its size and its SHA-256.

Belongs here: making it, keeping it in the folder, and holding a folder against one. Does not belong here: what stands
in the files (the module that names each), and where that of a version is registered (`credit_assets.ledger.registry`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from credit_assets.ml.data.model_files import read_record, write_record

MANIFEST = "manifest"
"""What it is called in MLflow: in the metadata of a logged model, and as a tag of its version."""
MANIFEST_FILE = "manifest.json"
_SHORT = 12


@dataclass(frozen=True)
class ModelFile:
    """One file."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> ModelFile:
        content = path.read_bytes()
        return cls(len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class Manifest:
    """The files of a model, but for this record itself and names that begin with a dot."""

    files: Mapping[str, ModelFile]

    @classmethod
    def of(cls, folder: Path) -> Manifest:
        """Of a folder as it is."""
        found = sorted(one for one in folder.iterdir() if one.name != MANIFEST_FILE and one.name[0] != ".")
        return cls({one.name: ModelFile.of(one) for one in found if one.is_file()})

    @classmethod
    def load(cls, folder: Path) -> Manifest | None:
        """The one that lies in a folder; None in one of before. Raises ValueError where it is damaged."""
        return read_record(folder / MANIFEST_FILE, "the manifest of a model", cls.from_record)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Manifest:
        return cls({str(name): ModelFile(**of) for name, of in record["files"].items()})

    @classmethod
    def from_text(cls, text: str) -> Manifest:
        """Raises ValueError where it is none."""
        try:
            return cls.from_record(json.loads(text))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no manifest of a model ({type(error).__name__})") from error

    def to_record(self) -> dict[str, Any]:
        return {"files": {name: asdict(of) for name, of in self.files.items()}}

    def to_text(self) -> str:
        return json.dumps(self.to_record(), sort_keys=True)

    def save(self, folder: Path) -> None:
        write_record(folder / MANIFEST_FILE, self.to_record())

    def differs(self, folder: Path) -> str:
        """In words, each file of a folder that is another one, is gone or has come; "" where it has these alone."""
        there, found = Manifest.of(folder).files, []
        for name, was in self.files.items():
            now = there.get(name)
            if now is None:
                found.append(f"{name} is not there")
            elif now != was:
                sizes = "" if now.bytes == was.bytes else f", {now.bytes:,} bytes for {was.bytes:,}"
                found.append(f"{name} is another file (SHA-256 {now.sha256[:_SHORT]} for {was.sha256[:_SHORT]}{sizes})")
        found += [f"{name} is none of them" for name in there if name not in self.files]
        try:
            kept = Manifest.load(folder)
        except ValueError:
            found.append(f"{MANIFEST_FILE} is damaged")
        else:
            if kept is not None and kept != self and not found:
                found.append(f"{MANIFEST_FILE} is another one")
        return "; ".join(found)
