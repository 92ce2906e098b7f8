"""Whatever is sent to a served model, its rows are read or it is refused in words."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_assets.ml.data.request_rules import RequestError
from credit_assets.tracking import serving
from credit_assets.tracking.serving import request_of_json, rows_of_csv, rows_of_parquet
from credit_assets_tests.support.fuzz import damaged, fuzz, refused_in_words
from credit_assets_tests.support.hostile_files import parquet, plain_table

JSON = [
    b'{"dataframe_records": [{"income": 1.5, "purpose": "car"}, {"income": null}], "params": {"explain": true}}',
    b'{"dataframe_split": {"columns": ["income", "purpose"], "data": [[1, "car"], [2, null]]}}',
    b'{"inputs": {"income": [1, 2], "purpose": ["car", "home"]}}',
    b'{"instances": [{"income": 1}]}',
]


@fuzz(100)
@given(body=st.one_of(damaged(JSON), st.binary(max_size=60)))
def test_any_json_is_read_or_refused_in_words(body: bytes) -> None:
    with refused_in_words(RequestError):
        request_of_json(body)


@fuzz(60)
@given(body=st.one_of(damaged([b'income,purpose\n1,car\n2,"ho\nme"\n']), st.binary(max_size=60)))
def test_any_csv_is_read_or_refused_in_words(body: bytes) -> None:
    with refused_in_words(RequestError):
        rows_of_csv(body)


@fuzz(60)
@given(body=damaged([parquet(plain_table())]))
def test_any_parquet_is_read_or_refused_in_words(body: bytes) -> None:
    with refused_in_words(RequestError):
        rows_of_parquet(body)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"inputs": ' * 50_000,
        b'{"instances": [{"a": ' + b"9" * 5_000 + b"}]}",
        b'{"inputs": {"a": 1, "a": 2}}',
        b'{"dataframe_split": {"columns": [["a"]], "data": [1]}}',
        b"\xff\xfe",
    ],
)
def test_hostile_json_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        request_of_json(body)


def test_runs_of_one_value_are_held_against_the_size_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_ALWAYS_ALLOWED", 1_000)
    file = io.BytesIO()
    pq.write_table(pa.table({"a": pa.array([1.0] * 1_000_000)}), file)
    with pytest.raises(RequestError, match="far more values than bytes"):
        rows_of_parquet(file.getvalue())
    assert rows_of_parquet(parquet(plain_table())).num_rows == 3
