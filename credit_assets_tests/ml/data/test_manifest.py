"""The manifest of a model: equal folders have equal ones, and whatever is another file is told by its name."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from credit_assets.ml.data.manifest import MANIFEST_FILE, Manifest

FLIPS = 400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "scorer"
    made.mkdir()
    (made / "scorer.json").write_text('{"calibration": {"slope": 1.0}, "scale": {"points": 600}}\n')
    (made / "model.ubj").write_bytes(bytes(range(256)))
    (made / "reference.json").write_text('{"bins": [1, 2]}\n')
    Manifest.of(made).save(made)
    return made


def test_it_reads_back_and_depends_on_the_files_alone(folder: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(folder)
    assert manifest is not None
    assert manifest.differs(folder) == ""
    assert list(manifest.files) == ["model.ubj", "reference.json", "scorer.json"]
    assert Manifest.from_text(manifest.to_text()) == manifest == Manifest.of(folder)
    assert len(manifest.to_text()) < 5_000, "a tag of MLflow holds no more"
    other = tmp_path / "other"
    other.mkdir()
    for name in ("scorer.json", "model.ubj", "reference.json"):
        (other / name).write_bytes((folder / name).read_bytes())
    Manifest.of(other).save(other)
    assert (other / MANIFEST_FILE).read_bytes() == (folder / MANIFEST_FILE).read_bytes()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / "scorer.json").write_text('{"slope": 2.0}'), "scorer.json is another file"),
        (lambda f: (f / "model.ubj").unlink(), "model.ubj is not there"),
        (lambda f: (f / "model.ubj").write_bytes(bytes(128)), "128 bytes for 256"),
        (lambda f: (f / "reasons.json").write_text("{}"), "reasons.json is none of them"),
        (lambda f: (f / MANIFEST_FILE).write_text("{"), "manifest.json is damaged"),
        (lambda f: (f / MANIFEST_FILE).write_text('{"files": {}}'), "manifest.json is another one"),
    ],
)
def test_each_other_file_is_told(folder: Path, damage: Callable[[Path], object], says: str) -> None:
    manifest = Manifest.of(folder)
    damage(folder)
    assert says in manifest.differs(folder)


def test_every_flipped_bit_of_a_model_is_found(folder: Path) -> None:
    manifest, draws = Manifest.of(folder), random.Random(2)
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        for _ in range(FLIPS):
            other = bytearray(data)
            other[draws.randrange(len(data))] ^= 1 << draws.randrange(8)
            path.write_bytes(bytes(other))
            assert path.name in manifest.differs(folder)
        path.write_bytes(data)
    assert manifest.differs(folder) == ""


@pytest.mark.parametrize("text", ["{}", "[]", "no", '{"files": {"a": {"bytes": 1}}}', '{"files": [1]}'])
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"manifest|JSON|Expecting"):
        Manifest.from_text(text)
