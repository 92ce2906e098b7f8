"""A lender's own code: found, named, and refused with one line that says what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from credit_assets.ml.data.extensions import (
    ExtensionError,
    current,
    extension,
    sources,
    use,
    why_other,
)
from credit_assets.ml.data.formulas import FUNCTIONS
from credit_assets.settings import SettingsError, load_settings
from credit_assets_tests.support.lender import FEATURES, MODULES, Lender, own_features


@pytest.fixture
def lender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lender:
    return Lender(tmp_path, monkeypatch).write(**MODULES)


def test_an_installed_package_brings_what_it_marks(lender: Lender) -> None:
    lender.install("3.1.4")
    found = extension("feature", "own_burden")
    assert (found.distribution, found.version, found.module) == (lender.name, "3.1.4", f"{lender.name}.features")
    assert len(found.source) == 64
    assert (
        str(found) == f"feature own_burden of {lender.name} 3.1.4 ({lender.name}.features, source {found.source[:12]})"
    )
    assert "own_burden" in FUNCTIONS


def test_a_module_that_the_setting_names_brings_the_same(lender: Lender) -> None:
    lender.named()
    found = extension("feature", "own_burden")
    assert (found.distribution, found.version) == ("", "")
    by_setting = found.source
    lender.install("1.0.0")
    # Named twice and found once, by the same source.
    found = extension("feature", "own_burden")
    assert (found.distribution, found.source) == (lender.name, by_setting)
    lender.uninstall()
    assert load_settings(extensions=f" {lender.name}.features ,").extensions == (f"{lender.name}.features",)


def test_settings_say_which_for_the_whole_process(lender: Lender) -> None:
    lender.named()
    assert use([]).by_name == {}
    assert "own_burden" not in FUNCTIONS
    use(None)
    assert "own_burden" in FUNCTIONS


def test_whoever_asks_for_the_packages_own_loads_none(lender: Lender) -> None:
    """A broken extension stops no model that does not use it."""
    lender.write(features="raise RuntimeError('broken')").install()
    assert FUNCTIONS["ratio"].__name__ == "ratio"
    with pytest.raises(ExtensionError, match="broken"):
        FUNCTIONS["own_burden"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import not_there_at_all\n", "ModuleNotFoundError: No module named 'not_there_at_all' (features.py, line 1)"),
        ("x = 1\nraise RuntimeError('the table\\nis gone')\n", "RuntimeError: the table (features.py, line 2)"),
        ("def broken(:\n", "SyntaxError: invalid syntax (features.py, line 1);"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3 (features.py, line 2)"),
        ("x = 1\n", "brings no extension: put @feature, @learner, @gate or @trigger"),
        ("from credit_assets.ml.extensions import feature\nfeature(len)\n", "AttributeError"),
        (FEATURES.replace("def own_burden", "def OwnBurden"), "'OwnBurden' is no name of an extension: small letters"),
        (FEATURES.replace("def own_burden", "def ratio"), "credit_assets has a feature of this name itself"),
        (FEATURES.replace("debt: Numbers", "debt"), "its parameter 'debt' has no annotation: annotate it"),
        (FEATURES.replace("debt: Numbers", "debt: float"), "its parameter 'debt' is annotated float"),
        (FEATURES.replace("debt: Numbers", "debt: 'Nowhere'"), "its annotation Nowhere cannot be read (NameError"),
        (FEATURES.replace("income: Numbers", "income: Numbers = 1"), "its parameter 'income' must be a plain one"),
        (FEATURES.replace("income: Numbers", "*income: Numbers"), "its parameter 'income' must be a plain one"),
        (FEATURES.replace("debt: Numbers, income: Numbers", ""), "it takes no column"),
        (FEATURES.replace("-> Numbers", ""), "its result has no annotation"),
        (FEATURES.replace("-> Numbers", "-> Texts"), "its result must be Numbers"),
        (FEATURES.replace("@feature", "@feature(files=['rates.csv'])"), "its file rates.csv cannot be read in"),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_that_names_it(lender: Lender, text: str, said: str) -> None:
    lender.write(features=text).install("1.2.0")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    line = str(refused.value)
    assert said in line
    assert lender.name in line
    assert "\n" not in line
    # Once, whatever else asks for extensions while the settings are read.
    assert line.count(said) == 1


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("nowhere_at_all.features", "there is no module nowhere_at_all here: install the package that has it into"),
        ("OWN.nothing", "there is no module OWN.nothing here"),
        ("own-package", "'own-package' is no name of a module, such as acme.credit_extensions"),
        ("credit_assets/x.py", "is no name of a module"),
    ],
)
def test_a_module_that_is_none_is_said_with_the_setting(lender: Lender, named: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(extensions=named.replace("OWN", lender.name))
    assert str(refused.value).startswith("CREDIT_EXTENSIONS: module ")
    assert said.replace("OWN", lender.name) in str(refused.value)


def test_all_that_are_broken_are_named_at_once(lender: Lender) -> None:
    lender.write(first="import not_there\n", second="1 / 0\n")
    with pytest.raises(SettingsError) as refused:
        load_settings(extensions=(f"{lender.name}.first", f"{lender.name}.second"))
    assert "first.py, line 1" in str(refused.value)
    assert "ZeroDivisionError: division by zero (second.py, line 1)" in str(refused.value)


def test_two_of_one_name_are_refused_with_both(lender: Lender) -> None:
    lender.write(other=FEATURES.replace("scaled", "once more").replace("FACTOR *", "3 *"))
    with pytest.raises(ExtensionError) as refused:
        use([f"{lender.name}.features", f"{lender.name}.other"])
    assert f"{lender.name}.other" in str(refused.value)
    assert f"has the name of feature own_burden ({lender.name}.features" in str(refused.value)


def test_what_a_module_imports_from_its_own_package_counts_once(lender: Lender) -> None:
    lender.write(everything="from OWN.features import own_burden\n")
    found = use([f"{lender.name}.everything", f"{lender.name}.features"])
    assert [one.module for one in found.by_name.values()] == [f"{lender.name}.features"]


def test_an_entry_point_may_name_one_object(lender: Lender) -> None:
    lender.install()
    points = next(lender.folder.glob("*.dist-info/entry_points.txt"))
    points.write_text(points.read_text().strip() + ":own_burden\n")
    lender.restart()
    assert list(current().of("feature")) == ["own_burden"]
    points.write_text(points.read_text().strip() + "s\n")
    lender.restart()
    with pytest.raises(ExtensionError, match="has no own_burdens; correct the entry point"):
        current()


# Records


def test_a_record_tells_absent_and_changed_from_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lender = own_features(tmp_path, monkeypatch)
    record = extension("feature", "own_burden").record()
    assert why_other([record]) == ""
    lender.install("1.3.0")
    assert why_other([record]) == "", "another version of the same source gives the same values"
    lender.edit("rates", "2.0", "2.5")
    changed = why_other([record])
    assert f"feature own_burden of {lender.name} 1.2.0" in changed
    assert f"is another one here, feature own_burden of {lender.name} 1.3.0" in changed
    assert f"install {lender.name}==1.2.0" in changed
    lender.uninstall()
    absent = why_other([record])
    assert absent.endswith(f"is not installed here: install {lender.name}==1.2.0")
    without = record | {"distribution": "", "version": ""}
    assert why_other([without]).endswith(f"name its module by CREDIT_EXTENSIONS={lender.name}.features")
    lender.write(features="1 / 0").install()
    assert "cannot be looked for here: entry point own" in why_other([record])


def test_what_decides_of_records_is_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lender = own_features(tmp_path, monkeypatch)
    before = sources(FUNCTIONS.records(["ratio", "own_burden"]))
    assert list(before) == ["feature own_burden"]
    lender.install("9.9.9")
    assert sources(FUNCTIONS.records(["own_burden"])) == before


def test_settings_with_extensions_load_no_heavy_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lender = own_features(tmp_path, monkeypatch)
    code = (
        "import sys; from credit_assets.settings import load_settings; load_settings(); "
        "from credit_assets.ml.data.formulas import FUNCTIONS; assert 'own_burden' in FUNCTIONS; "
        "assert not {'numpy', 'pandas', 'pyarrow', 'dagster', 'mlflow'} & set(sys.modules)"
    )
    monkeypatch.setenv("PYTHONPATH", f"{lender.folder}:{':'.join(sys.path)}")
    subprocess.run([sys.executable, "-c", code], check=True)
