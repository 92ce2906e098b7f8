"""Fingerprints: same content, same hash; other content, other hash."""

from __future__ import annotations

import ast
import itertools
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_assets.ml.data import fingerprints
from credit_assets.ml.data.fingerprints import (
    MODEL_CODE,
    PACKAGE,
    ContentHash,
    changed_parts,
    code_parts,
    code_version,
    fingerprint,
    frame_hash,
)
from credit_assets_tests.support.fuzz import fuzz


def table() -> pa.Table:
    return pa.table(
        {
            "id": ["a", "bc", None, "ä"],
            "day": pa.array([date(2020, 1, 1), date(2020, 1, 2), None, date(1960, 1, 1)], pa.date32()),
            "x": pa.array([1.5, None, -0.25, 1e300], pa.float64()),
            "n": pa.array([1, 2, None, 4], pa.int64()),
            "flag": pa.array([True, None, False, True]),
            "default": pa.array([0, 1, 0, 1], pa.int8()),
        }
    )


# Tables


@fuzz(100)
@given(cuts=st.lists(st.integers(0, 8), max_size=4))
def test_the_hash_of_pieces_is_that_of_the_whole(cuts: list[int]) -> None:
    whole = pa.concat_tables([table(), table()])
    edges = sorted({0, *cuts, whole.num_rows})
    content = ContentHash()
    for first, last in itertools.pairwise(edges):
        content.update(whole.slice(first, last - first))
    assert content.hexdigest() == frame_hash(whole)


def test_a_piece_with_other_columns_is_refused() -> None:
    content = ContentHash()
    content.update(table())
    with pytest.raises(ValueError, match="not id, day, x, n, flag, default"):
        content.update(table().drop_columns(["x"]))


def test_the_hash_is_that_of_the_content() -> None:
    whole = table()
    expected = frame_hash(whole)
    assert len(expected) == 64
    assert frame_hash(table()) == expected
    assert frame_hash(pa.concat_tables([whole.slice(0, 1), whole.slice(1, 2), whole.slice(3)])) == expected
    assert frame_hash(pa.concat_tables([whole, whole]).slice(4)) == expected
    assert frame_hash(whole.replace_schema_metadata({"made": "today"})) == expected
    assert frame_hash(whole.take([0, 1, 2, 3])) == expected


def test_a_frame_and_its_table_agree() -> None:
    frame = pd.DataFrame({"x": [1.0, np.nan], "c": ["a", None], "n": np.array([1, 2], np.int8)}, index=[7, 3])
    expected = pa.table({"x": pa.array([1.0, None]), "c": ["a", None], "n": pa.array([1, 2], pa.int8())})
    assert frame_hash(frame) == frame_hash(expected)
    assert frame_hash(frame.reset_index(drop=True)) == frame_hash(frame)


def test_ways_to_store_the_same_text_agree() -> None:
    plain = pa.table({"c": ["x", "y", None, "x"]})
    for other in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())):
        assert frame_hash(plain.cast(pa.schema([("c", other)]))) == frame_hash(plain)


def test_what_lies_under_a_missing_value_does_not_count() -> None:
    valid = pa.py_buffer(np.packbits([1, 0, 1], bitorder="little").tobytes())
    hidden = [
        pa.Array.from_buffers(pa.float64(), 3, [valid, pa.py_buffer(np.array([1.0, x, 3.0]).tobytes())]) for x in (7, 8)
    ]
    first, second = (frame_hash(pa.table({"x": array})) for array in hidden)
    assert first == second
    nan = pa.table({"x": pa.array([1.0, float("nan"), 3.0])})
    assert frame_hash(nan) == first


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.slice(1),
        lambda t: t.slice(0, 0),
        lambda t: t.take([1, 0, 2, 3]),
        lambda t: t.select(["day", "id", "x", "n", "flag", "default"]),
        lambda t: t.rename_columns(["ID", "day", "x", "n", "flag", "default"]),
        lambda t: t.drop_columns(["n"]),
        lambda t: t.set_column(0, "id", pa.array(["ab", "c", None, "ä"])),
        lambda t: t.set_column(0, "id", pa.array(["a", "bc", "", "ä"])),
        lambda t: t.set_column(2, "x", pa.array([1.5, None, -0.25, np.nextafter(1e300, 0)])),
        lambda t: t.set_column(2, "x", pa.array([1.5, -0.25, None, 1e300])),
        lambda t: t.set_column(2, "x", pa.array([1.5, 0.0, -0.25, 1e300])),
        lambda t: t.set_column(3, "n", t["n"].cast(pa.int32())),
        lambda t: t.set_column(4, "flag", pa.array([True, None, True, True])),
        lambda t: t.set_column(1, "day", t["day"].cast(pa.timestamp("ms"))),
    ],
)
def test_any_change_changes_the_hash(change: Callable[[pa.Table], pa.Table]) -> None:
    assert frame_hash(change(table())) != frame_hash(table())


@pytest.mark.parametrize(
    "column",
    [
        pa.array([], pa.string()),
        pa.array([None, None], pa.null()),
        pa.array([None, None], pa.float64()),
        pa.array(["1.10", "2.20"]).cast(pa.decimal128(10, 2)),
        pa.array([1, None], pa.timestamp("us", tz="UTC")),
    ],
)
def test_columns_of_every_flat_type_have_a_hash(column: pa.Array) -> None:
    first = frame_hash(pa.table({"c": column}))
    assert first == frame_hash(pa.table({"c": pa.chunked_array([column])}))
    assert first != frame_hash(pa.table({"d": column}))


def test_a_nested_column_has_none() -> None:
    with pytest.raises(TypeError, match=r"column 'c' of type list<.*> has no hash"):
        frame_hash(pa.table({"c": [[1], [2]]}))


def test_hashes_are_the_same_in_another_process_and_in_years() -> None:
    """A constant: a change of this number makes every stored fingerprint stale, and has to be meant."""
    assert frame_hash(table()) == "0a0f63a8c984b98b567d4d31ba68ebfe7a461000aa84ee7d443b2e172e29a05b"
    assert (
        fingerprint(a=1, b={"y": [1.5, None], "x": "ä"})
        == "ebf90cf624974afd400edb87343cb45a68d0bd4cd886372abfbe81d8c4855d46"
    )
    code = (
        "import pyarrow as pa; from credit_assets.ml.data.fingerprints import frame_hash; "
        "print(frame_hash(pa.table({'c': ['x', 'y', None]})))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == frame_hash(pa.table({"c": ["x", "y", None]}))


def test_many_small_tables_and_one_large_are_quick() -> None:
    rng = np.random.default_rng(1)
    large = pa.table({f"c{i}": rng.random(1_000_000) for i in range(5)} | {"s": pa.array(["abc"] * 1_000_000)})
    days = [large.slice(i * 25, 25) for i in range(500)]
    start = time.process_time()
    frame_hash(large)
    assert len({frame_hash(day) for day in days}) == 500
    assert time.process_time() - start < 5


# Code


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the code, which is the one that has a version."""
    copy = tmp_path / "ml"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprints, "PACKAGE", copy)
    return copy


@pytest.fixture
def version(package: Path) -> str:
    """The version before a test changes anything."""
    return code_version()


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_copy_has_the_same_version(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert code_version() == version


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("data/formulas.py", '"""Debt over yearly income', '"""Something else entirely'),
        ("data/formulas.py", "    import numpy as np\n", "    # A comment.\n\n    import numpy as np\n"),
        ("data/formulas.py", "return total_debt / _at_least_one(annual_income)",
         "return (\n        total_debt\n        / _at_least_one(annual_income)\n    )"),
        ("learners/calibration.py", '"""Smallest slope', '"""The smallest slope'),
        ("learners/learner.py", '    """One learner. Instances', '    """A learner. Instances'),
        ("learners/learner.py", "unknown parameter", "there is no parameter"),
        ("learners/training.py", "give rows of more days", "look further back"),
    ],
)  # fmt: skip
def test_words_and_layout_do_not_change_the_version(package: Path, version: str, file: str, old: str, new: str) -> None:
    rewrite(package / file, old, new)
    assert code_version() == version


def test_modules_that_make_no_model_do_not_change_it(package: Path, version: str) -> None:
    for path in package.rglob("*.py"):
        if module_name(path, package) not in MODEL_CODE:
            path.write_text("CHANGED = True\n")
    (package / "evidence" / "forest.py").write_text("X = 1\n")
    assert code_version() == version


@pytest.mark.parametrize("name", MODEL_CODE)
def test_a_statement_in_each_of_the_others_changes_it(package: Path, version: str, name: str) -> None:
    with (package / f"{name.replace('.', '/')}.py").open("a") as file:
        file.write("\nCHANGED = True\n")
    assert code_version() != version


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("data/formulas.py", "return total_debt / _at_least_one(annual_income)", "return total_debt / annual_income"),
        ("learners/xgboost.py", '"learning_rate": 0.01', '"learning_rate": 0.02'),
        ("learners/catboost.py", '"bootstrap_type": "MVS"', '"bootstrap_type": "Bernoulli"'),
        ("learners/calibration.py", "MIN_SLOPE = 0.01", "MIN_SLOPE = 0.02"),
        ("learners/training.py", 'parts["validation"]', 'parts["train"]'),
        ("learners/learner.py", "raise ValueError(", "raise TypeError("),
    ],
)  # fmt: skip
def test_a_rule_a_constant_or_a_formula_changes_it(package: Path, version: str, file: str, old: str, new: str) -> None:
    rewrite(package / file, old, new)
    assert code_version() != version


def test_what_differs_between_two_codes_is_named_by_its_part(package: Path) -> None:
    before = code_parts()
    assert {"data.formulas:FUNCTIONS", "learners.scorer:CreditScorer.load", "data.cohorts"} <= set(before)
    rewrite(
        package / "data/formulas.py",
        "return total_debt / _at_least_one(annual_income)",
        "return total_debt / annual_income",
    )
    rewrite(package / "learners/calibration.py", "MIN_SLOPE = 0.01", "MIN_SLOPE = 0.02")
    with (package / "learners/encoding.py").open("a") as file:
        file.write("\ndef more() -> None: ...\n")
    assert changed_parts(before, code_parts()) == {
        "data.formulas:debt_to_income": "changed",
        "learners.calibration:MIN_SLOPE": "changed",
        "learners.encoding:more": "new",
    }
    assert changed_parts(before, before) == {}


def test_words_change_no_part(package: Path) -> None:
    before = code_parts()
    for path in package.rglob("*.py"):
        path.write_text(f"# Another comment.\n{path.read_text()}")
    assert code_parts() == before


def test_every_statement_of_the_model_code_belongs_to_a_part(package: Path) -> None:
    """Where a part's hash changes with each statement, none of them can change unnamed."""
    path = package / "learners/learner.py"
    before, source = code_parts(), path.read_text()
    for old, new in (("class Sample", "class Sampled"), ("import json", "import json as js")):
        if old in source:
            path.write_text(source.replace(old, new, 1))
            assert changed_parts(before, code_parts())
    path.write_text(source + "\nif True:\n    X = 1\n")
    assert changed_parts(before, code_parts()) == {"learners.learner": "changed"}


HASHED_BY_VALUE = {
    "data.extensions": "finds a lender's functions and classes: the hash of each one's source stands in the identity "
    "of the models that use it",
    "data.keys": "what a portfolio file may be given as",
    "data.portfolio": "reads the portfolio file: names, order and types of features stand in the training set, whose "
    "content is hashed, and the directions in the identity",
    "data.schemas": "types of columns, which stand in the training set too",
}
"""What the modules of MODEL_CODE may import though it is no model's code, and why."""


def test_the_modules_that_make_a_model_import_no_other_that_could() -> None:
    """A function that moves out of the list would change models without changing their identity."""
    assert list(MODEL_CODE) == sorted(set(MODEL_CODE))
    outside = {
        (name, target)
        for name in MODEL_CODE
        for target in imported_at_run_time(PACKAGE / f"{name.replace('.', '/')}.py")
        if target not in MODEL_CODE and target not in HASHED_BY_VALUE
    }
    assert not outside, "put the module on MODEL_CODE, do without it, or say in HASHED_BY_VALUE why it makes no model"
    imported = {
        target for name in MODEL_CODE for target in imported_at_run_time(PACKAGE / f"{name.replace('.', '/')}.py")
    }
    assert set(HASHED_BY_VALUE) <= imported, "an exception that nothing needs"


def module_name(path: Path, package: Path = PACKAGE) -> str:
    return ".".join(path.relative_to(package).with_suffix("").parts)


def imported_at_run_time(path: Path) -> set[str]:
    """The modules of `credit_assets.ml` that a module imports anywhere, in functions too, but not for types alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports are not followed"
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    found = set()
    for name in names:
        place = PACKAGE.parents[1] / name.replace(".", "/")
        if name.startswith("credit_assets.ml.") and (place.is_dir() or place.with_suffix(".py").is_file()):
            found.add(module_name(place / "__init__.py" if place.is_dir() else place.with_suffix(".py")))
    # The folder of data is no module with code of its own.
    return {
        name
        for name in found
        if not name.endswith("__init__") or (PACKAGE / f"{name.replace('.', '/')}.py").read_text().strip()
    }


_PARSES_IN_THREADS = """
import ast, gc, sys, threading, time

import credit_assets.ml.data.fingerprints as fingerprints

# What Dask's callbacks do to every collection: another thread may run in its midst.
gc.callbacks.append(lambda phase, info: time.sleep(0))
gc.set_threshold(50)
failures, stop = [], threading.Event()

def foreign():
    while not stop.is_set():
        try:
            ast.parse("x = [" + "1, " * 200 + "]")
        except SystemError:
            pass  # The interpreter's own fault, in somebody else's code.

def ours():
    try:
        for _ in range(2):
            fingerprints._code_text.cache_clear()
            found.add(fingerprints.code_version())
    except SystemError as error:
        failures.append(error)

found = set()
others = [threading.Thread(target=foreign, daemon=True) for _ in range(2)]
threads = [threading.Thread(target=ours) for _ in range(4)]
for thread in (*others, *threads):
    thread.start()
for thread in threads:
    thread.join()
stop.set()
for thread in others:
    thread.join()
assert not failures, failures
assert len(found) == 1 and gc.isenabled()
"""


def test_threads_whose_collector_has_callbacks_get_the_same_version() -> None:
    subprocess.run([sys.executable, "-c", _PARSES_IN_THREADS], check=True)


# Records


def test_a_fingerprint_is_that_of_its_parts() -> None:
    first = fingerprint(variant="xgboost", params={"a": 1, "b": [1, 2]}, seed=1)
    assert first == fingerprint(seed=1, params={"b": (1, 2), "a": 1}, variant="xgboost")
    for other in (
        fingerprint(variant="xgboost", params={"a": 1, "b": [2, 1]}, seed=1),
        fingerprint(variant="xgboost", params={"a": 1, "b": [1, 2]}, seed=2),
        fingerprint(variant="xgboost", params={"a": "1", "b": [1, 2]}, seed=1),
        fingerprint(variant="xgboost", params={"a": 1, "b": [1, 2]}),
    ):
        assert other != first


def test_what_has_no_json_form_has_no_fingerprint() -> None:
    with pytest.raises(TypeError):
        fingerprint(day=date(2020, 1, 1))
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint(x=float("nan"))
