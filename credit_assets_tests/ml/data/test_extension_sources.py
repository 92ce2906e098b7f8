"""The hash of an extension's source: it changes with the code, and with nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from credit_assets.ml.data.extension_sources import Maker, maker_of
from credit_assets.ml.data.extensions import extension
from credit_assets_tests.support.lender import FEATURES, MODULES, Lender


@pytest.fixture
def lender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lender:
    return Lender(tmp_path, monkeypatch).write(**MODULES).install()


def source() -> str:
    return extension("feature", "own_burden").source


def test_a_changed_formula_or_constant_changes_it(lender: Lender) -> None:
    seen = {source()}
    lender.edit("features", "debt / income", "debt / (income + 1)")
    seen.add(source())
    lender.edit("rates", "2.0", "2.5")
    seen.add(source())
    lender.edit("rates", "FACTOR = 2.5", "from OWN import deeper\nFACTOR = deeper.BASE")
    lender.write(deeper="BASE = 2.5\n")
    seen.add(source())
    lender.edit("deeper", "2.5", "2.0")
    seen.add(source())
    assert len(seen) == 5


def test_an_import_within_a_function_is_followed(lender: Lender) -> None:
    lender.write(features=FEATURES.replace("from OWN.rates import FACTOR\n", "").replace(
        "    return", "    from .rates import FACTOR\n    return"
    ))  # fmt: skip
    before = source()
    lender.edit("rates", "2.0", "2.5")
    assert source() != before


def test_words_layout_and_other_modules_do_not(lender: Lender) -> None:
    before = source()
    lender.edit("features", "scaled", "multiplied with a factor")
    lender.edit("rates", "FACTOR = 2.0", "# As of the year 2024.\nFACTOR = (\n    2.0\n)")
    lender.write(unrelated="X = 1\n")
    assert source() == before


def test_a_file_that_it_names_counts_byte_by_byte(lender: Lender) -> None:
    table = lender.folder / lender.name / "rates.csv"
    table.write_text("a,1\n")
    lender.edit("features", "@feature", "@feature(files=['rates.csv'])")
    before = source()
    table.write_text("a,2\n")
    lender.restart()
    assert source() != before


def test_a_module_without_a_distribution_is_the_lenders_own(lender: Lender) -> None:
    """As one beside it on PYTHONPATH."""
    helper = lender.folder / f"{lender.name}_helper.py"
    helper.write_text("FACTOR = 2.0\n")
    lender.edit("features", "from OWN.rates".replace("OWN", lender.name), f"from {lender.name}_helper")
    before = source()
    helper.write_text("FACTOR = 3.0\n")
    lender.restart()
    assert source() != before


def test_a_library_counts_by_its_version_unless_the_platform_stands_on_it(lender: Lender) -> None:
    library = f"{lender.name}_library"
    (lender.folder / f"{library}.py").write_text("FACTOR = 2.0\n")

    def install(version: str) -> None:
        for old in lender.folder.glob(f"{library}-*.dist-info"):
            shutil.rmtree(old)
        info = lender.folder / f"{library}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: {version}\n")
        (info / "top_level.txt").write_text(f"{library}\n")
        lender.restart()

    lender.edit("features", f"from {lender.name}.rates", f"import numpy\nfrom {library}")
    install("1.0")
    before = source()
    (lender.folder / f"{library}.py").write_text("FACTOR = 3.0\n")
    lender.restart()
    assert source() == before, "an installed library is told by its version"
    install("1.1")
    assert source() != before
    with_numpy = source()
    lender.edit("features", "import numpy\n", "import numpy, pandas, scipy, sklearn\n")
    changed = source()
    assert changed != with_numpy, "the statement itself is source"
    lender.edit("features", "import numpy, pandas, scipy, sklearn\n", "import numpy\n")
    assert source() == with_numpy


def test_what_has_no_source_is_refused(lender: Lender) -> None:
    import compileall

    package = lender.folder / lender.name
    compileall.compile_file(package / "rates.py", legacy=True, quiet=1)
    (package / "rates.py").unlink()
    compiled = (package / "rates.pyc").read_bytes()
    # `restart` removes what is compiled.
    lender.restart()
    (package / "rates.pyc").write_bytes(compiled)
    with pytest.raises(ValueError, match=r"is there without its source \(.*rates.pyc\): install its .py files too"):
        source()


# Who made it


def test_an_editable_install_is_found_by_the_folder_that_it_takes(lender: Lender, tmp_path: Path) -> None:
    """As tools other than setuptools make it: no list of modules, and the files elsewhere."""
    root = tmp_path / "checkout"
    root.mkdir()
    shutil.move(lender.folder / lender.name, root / lender.name)
    (info,) = lender.folder.glob("*.dist-info")
    (info / "top_level.txt").unlink()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-models\nVersion: 4.0\n")
    lender.on_path(root)
    assert maker_of(f"{lender.name}.features") == Maker()
    url = {"url": root.as_uri(), "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(url))
    lender.restart()
    assert maker_of(f"{lender.name}.features") == Maker("acme-models", "4.0")
    (info / "direct_url.json").write_text(json.dumps({**url, "dir_info": {}}))
    lender.restart()
    assert maker_of(f"{lender.name}.features") == Maker()


def test_a_package_of_another_name_than_its_distribution_is_found(lender: Lender) -> None:
    (info,) = lender.folder.glob("*.dist-info")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-models\nVersion: 4.0\n")
    lender.restart()
    assert maker_of(f"{lender.name}.features") == Maker("acme-models", "4.0")
    assert maker_of("yaml.nodes").distribution == "PyYAML"
    assert maker_of("numpy").distribution == "numpy"
    assert maker_of("nowhere_at_all.x") == Maker()
