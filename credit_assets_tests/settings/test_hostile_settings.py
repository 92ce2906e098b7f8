"""Whatever a variable holds, the settings are read or refused with its name, in a message of bounded size."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_assets.settings import Settings, SettingsError, load_settings, variable
from credit_assets_tests.support.fuzz import LONGEST_MESSAGE, fuzz, refused_in_words

FIELDS = [variable(name) for name in Settings.model_fields]
HOSTILE = (
    *("-1", "0", "1.5", "1e3", "99999999999", "9" * 5_000, "1e400", "nan", "inf", "-inf", "maybe", "null", "[]", "{}"),
    *("[1", "[" * 100_000, '{"a":' * 5_000, '{"xgboost": {"max_depth": 1e999}}', '{"xgboost": 1}', "a" * 200_000),
    *("2020-13-01", "0000-01-01", "0001-01-01", "9999-12-31", "2020-02-30", "today", "\n", "a\nb", "é", "../..", "/"),
    *(
        "/dev/null",
        "/dev/zero",
        "~nobody/x",
        "$HOME",
        "http://[::1",
        "sqlite:///",
        "s3://",
        "s3://b/../..",
        "1,2",
        "a=b",
    ),
    *("xgboost,xgboost", "Europe/Nowhere", "61 25 * * *", "@daily", "$(id)", "%s%n", "\udcff", "a\udcff"),
)


@pytest.fixture(autouse=True)
def a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDIT_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    "value", ["9" * 5_000, "a" * 200_000, "[" * 100_000, "\udcff", "/dev/zero"], ids=lambda value: value[:5]
)
def test_every_variable_refuses_what_is_far_beyond_it_in_words(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FIELDS:
        with monkeypatch.context() as only:
            only.setenv(name, value)
            with refused_in_words(SettingsError):
                load_settings()


def test_no_variable_waits_for_the_writer_of_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in FIELDS:
        with monkeypatch.context() as only:
            only.setenv(name, str(tmp_path / "pipe"))
            with refused_in_words(SettingsError):
                load_settings()


def test_a_portfolio_by_a_name_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a" * 300, "/", "[" * 5_000):
        monkeypatch.setenv("CREDIT_PORTFOLIO", name)
        with pytest.raises(SettingsError, match=r"no portfolio|cannot be read") as caught:
            load_settings()
        assert len(str(caught.value)) <= LONGEST_MESSAGE


def test_bytes_that_are_no_text_are_refused_by_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "CREDIT_VARIANTS", "xgboost\udcff")
    with pytest.raises(SettingsError, match="CREDIT_VARIANTS: holds bytes that are no text"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CREDIT_THREADS", "99999999999"),
        ("CREDIT_EARLY_STOPPING_ROUNDS", "99999999999"),
        ("CREDIT_RETRY_DELAY_SECONDS", "1e300"),
        ("CREDIT_RETRY_DELAY_SECONDS", "nan"),
        ("CREDIT_VARIANT_PARAMS", '{"xgboost":' * 5_000),
    ],
)
def test_numbers_that_no_machine_takes_are_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load_settings()


@fuzz(150)
@given(name=st.sampled_from(FIELDS), value=st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40)))
def test_any_value_of_any_variable_is_read_or_refused_in_words(name: str, value: str) -> None:
    with pytest.MonkeyPatch.context() as only:
        try:
            only.setenv(name, value)
        except (ValueError, UnicodeEncodeError):
            return  # No environment holds it.
        with refused_in_words(SettingsError):
            load_settings()
