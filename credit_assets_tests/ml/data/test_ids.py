"""Ids that two systems spell differently, and what is said of those that do not meet."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_assets.ml.data.ids import form_of, normal_ids
from credit_assets_tests.support.fuzz import fuzz


def normal(*ids: object) -> list[object]:
    return normal_ids(pa.chunked_array([pa.array(ids)])).to_pylist()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A0001", "A0001     "),
        ("A0001", "\tA0001 "),
        ("Müller-7", unicodedata.normalize("NFD", "Müller-7")),
        ("6f9619ff-8b86-d011-b42d-00c04fc964ff", "{6F9619FF-8B86-D011-B42D-00C04FC964FF}"),
        ("123", "123.0"),
        ("-5", "-5.00"),
    ],
)
def test_what_is_no_part_of_an_id_is_taken_off(one: str, other: str) -> None:
    assert normal(one, other) == [one, one]


@pytest.mark.parametrize(
    ("one", "other"), [("007", "7"), ("a1", "A1"), ("A-1", "A1"), ("A 1", "A1"), ("1.5", "1"), ("V1.0", "V1")]
)
def test_what_may_tell_two_ids_apart_is_left(one: str, other: str) -> None:
    assert normal(one, other) == [one, other]


@fuzz(100)
@given(st.lists(st.text() | st.none()))
def test_the_one_spelling_is_one(ids: list[str | None]) -> None:
    given_ids = pa.chunked_array([pa.array(ids, pa.string())])
    once = normal_ids(given_ids)
    assert normal_ids(once) is once
    assert once.null_count == given_ids.null_count
    assert normal_ids(pa.chunked_array([pa.array([1, None])])).to_pylist() == [1, None]


def test_forms_say_what_ids_look_like_and_none_of_them() -> None:
    assert form_of(pa.chunked_array([["000123", "000456", "987654", "000001"]])) == (
        "text of 6 characters, all digits, 75% with leading zeros"
    )
    assert form_of(pa.chunked_array([["123", "45678"]])) == "text of 3 to 5 characters, all digits"
    assert form_of(pa.chunked_array([["AB-1", "ab 2"]])) == (
        "text of 4 characters, 50% with capitals, 50% with small letters, 50% with blanks, 50% with other signs"
    )
    assert form_of(pa.chunked_array([[7, 12345]])) == "numbers of 1 to 5 digits"
    assert form_of(pa.chunked_array([pa.array([None], pa.string())])) == "none"
