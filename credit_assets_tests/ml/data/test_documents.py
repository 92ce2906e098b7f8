"""What people write as YAML and JSON is read whole or refused in a few words, whatever stands in it."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_assets.ml.data import documents
from credit_assets.ml.data.documents import json_of, mapping_of, text_of
from credit_assets.ml.data.policies.files import PolicyError, load_policy
from credit_assets.ml.data.portfolio import PortfolioError, load_portfolio
from credit_assets_tests.support.fuzz import LONGEST_MESSAGE, damaged, fuzz, refused_in_words
from credit_assets_tests.support.hostile_files import PORTFOLIO

NINES = "9" * 5_000
MERGED = "\n".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12))
ALIASED = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))
HOSTILE = {
    "a million brackets": ("a: " + "[" * 1_000_000, "nested more than 50 deep"),
    "a million braces": ("a: " + "{a: " * 1_000_000, "nested more than 50 deep"),
    "a thousand levels of lists": ("a:\n" + "".join(" " * n + "-\n" for n in range(1_000)), "nested more than 50 deep"),
    "dashes in a line": ("a:\n  " + "- " * 100_000 + "b", "nested more than 50 deep"),
    "merges of merges": (f"a0: &a0 {{k: v}}\n{MERGED}", "stands for more than 1,000,000 values"),
    "aliases of aliases": (f"a0: &a0 [k, v]\n{ALIASED}", "stands for more than 1,000,000 values"),
    "a list within itself": ("a: &a [*a]", "stands within what it stands for"),
    "a mapping within itself": ("a: &a {b: {c: *a}}", "stands within what it stands for"),
    "an alias of nothing": ("a: *b", "not valid YAML"),
    "a number of 5,000 digits": (f"a: {NINES}", "a number, day or tag cannot be read"),
    "a day of month 13": ("a: 2020-13-45", "put texts into quotes"),
    "a day of year 0": ("a: 0000-01-01", "a number, day or tag"),
    "a moment of hour 99": ("a: 2020-01-01 99:00:00", "a number, day or tag"),
    "an empty integer": ("a: !!int ''", "a number, day or tag"),
    "an empty float": ("a: !!float ''", "a number, day or tag"),
    "no boolean": ("a: !!bool maybe", "a number, day or tag"),
    "no timestamp": ("a: !!timestamp maybe", "a number, day or tag"),
    "an object of Python": ("a: !!python/object/apply:os.system [id]", "not valid YAML"),
    "a key that is a list": ("? [a]\n: b", "not valid YAML"),
    "a key twice": ("a: 1\na: 2", "given twice"),
    "a long key twice": (f"{'k' * 100_000}: 1\n{'k' * 100_000}: 2", "not valid YAML"),
    "a sign of no text": ("a: \x01", "not valid YAML"),
    "nothing": ("", "must be a mapping"),
    "a list": ("[1, 2]", "must be a mapping"),
    "two documents": ("a: 1\n---\nb: 2", "not valid YAML"),
}


@pytest.mark.parametrize(("text", "words"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_yaml_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match="the file") as caught:
        mapping_of(text, "the file", "keys")
    assert words in str(caught.value)
    assert len(str(caught.value)) <= LONGEST_MESSAGE


def test_anchors_and_merges_of_sensible_size_are_read() -> None:
    text = "base: &base {type: float, unit: currency}\ncolumns:\n  - {<<: *base, name: a}\n  - {<<: *base, name: b}"
    assert mapping_of(text, "it", "keys")["columns"][1] == {"type": "float", "unit": "currency", "name": "b"}


def test_a_wide_portfolio_is_within_the_bounds() -> None:
    columns = "\n".join(f"  - {{name: column_{n}, type: float, role: feature, unit: currency}}" for n in range(5_000))
    assert len(mapping_of(f"columns:\n{columns}", "it", "keys")["columns"]) == 5_000


def test_what_is_no_file_or_too_much_of_one_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", "/dev/zero", "/dev/null"):
        with pytest.raises(ValueError, match="it is no file"):
            text_of(place, "the file")
    for place in (tmp_path, tmp_path / "none", tmp_path / ("n" * 300)):
        with pytest.raises(ValueError, match="the file cannot be read"):
            text_of(place, "the file")
    monkeypatch.setattr(documents, "MOST_BYTES", 2**20)
    (tmp_path / "large").write_bytes(b"a" * (2**20 + 1))
    with pytest.raises(ValueError, match="more than 1 MB"):
        text_of(tmp_path / "large", "the file")
    (tmp_path / "latin").write_bytes(b"a: caf\xe9")
    with pytest.raises(ValueError, match="the file cannot be read"):
        text_of(tmp_path / "latin", "the file")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"a":' * 100_000, "nested too deep"),
        (NINES, "a number that is too long"),
        (b'{"a": "\xff"}', "no text in UTF-8"),
        ("{a: 1}", "line 1, column 2"),
        ("", "line 1, column 1"),
    ],
)
def test_hostile_json_is_refused_in_words(text: str | bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        json_of(text)
    assert len(str(caught.value)) <= 100


def test_a_file_of_many_mistakes_is_told_in_few_words(tmp_path: Path) -> None:
    file = tmp_path / "portfolio.yaml"
    wrong = "\n".join(f"  - {{name: 'a b {'c' * 500} {n}', type: nothing}}" for n in range(3_000))
    file.write_text(f"name: wrong\ncolumns:\n{wrong}")
    with pytest.raises(PortfolioError, match="more problems") as caught:
        load_portfolio(file)
    assert len(str(caught.value)) <= LONGEST_MESSAGE


VALUES = [
    "-1",
    "0",
    "1e400",
    ".inf",
    ".nan",
    NINES,
    "2020-13-01",
    "2020-01-01",
    "null",
    "true",
    "[]",
    "{}",
    "''",
    "[a]",
]
KEYS = (
    *("performance_window_days", "timezone", "applications_table", "policy", "gates", "fairness", "reasons", "name"),
    *("derived", "histories", "population", "outcomes", "columns_matching", "extensions", "columns"),
)


@fuzz(60)
@given(content=damaged([PORTFOLIO.encode()]))
def test_any_portfolio_is_read_or_refused_in_words(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "portfolio.yaml"
    file.write_bytes(content)
    with refused_in_words(PortfolioError):
        load_portfolio(file)


@fuzz(60)
@given(key=st.sampled_from(KEYS), inner=st.sampled_from(["", "x", "table"]), value=st.sampled_from(VALUES))
def test_any_value_of_a_key_is_read_or_refused_in_words(tmp_path: Path, key: str, inner: str, value: str) -> None:
    file = tmp_path / "portfolio.yaml"
    kept = "\n".join(line for line in PORTFOLIO.splitlines() if not line.startswith(f"{key}:"))
    said = f"{key}: {{{inner}: {value}}}" if inner else f"{key}: {value}"
    file.write_text(f"{kept}\n{said}\n" if key != "columns" else f"name: a\n{said}\n")
    with refused_in_words(PortfolioError):
        load_portfolio(file)


@fuzz(60)
@given(content=damaged([b"policy:\n  comparison: {min_improvement: 0.005, min_auc: 0.6}\n  world: {action: warn}\n"]))
def test_any_policy_is_read_or_refused_in_words(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "policy.yaml"
    file.write_bytes(content)
    with refused_in_words(PolicyError):
        load_policy(file)
