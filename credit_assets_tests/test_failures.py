"""Transient failures are retried, permanent ones fail at once and say what to do."""

from __future__ import annotations

import sqlite3
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from dagster import serialize_value
from s3fs.utils import FileExpired

from credit_assets.assets.conventions import retry_policy, retry_transient_only
from credit_assets.failures import PermanentError, TransientError, error_text, is_transient, without_values
from credit_assets.ml.data.shown_values import shown_at
from credit_assets.ml.learners.encoding import encode
from credit_assets.settings import load_settings


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (TransientError("x"), True),
        (PermanentError("x"), False),
        (ConnectionRefusedError("x"), True),
        (TimeoutError("x"), True),
        (ValueError("x"), False),
        (RuntimeError("(sqlite3.OperationalError) database is locked"), True),
        (KeyError("annual_income"), False),
        (FileExpired(filename="loans/training_set/2024-01-10.parquet", e_tag="x"), True),
    ],
)
def test_which_failures_a_retry_can_help(error: Exception, transient: bool) -> None:
    assert is_transient(error) is transient


def test_the_cause_decides_unless_the_error_is_permanent_itself() -> None:
    def raised(outer: Exception, cause: Exception) -> Exception:
        try:
            raise outer from cause
        except Exception as error:
            return error

    assert is_transient(raised(RuntimeError("read failed"), ConnectionResetError("x")))
    assert not is_transient(raised(PermanentError("no table"), ConnectionResetError("x")))


def run(fails: list[Exception]) -> tuple[dg.ExecuteInProcessResult, int]:
    calls = []

    @dg.asset(retry_policy=retry_policy(load_settings(retry_delay_seconds=0.01)))
    @retry_transient_only
    def flaky(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        calls.append(context.retry_number)
        if len(calls) <= len(fails):
            raise fails[len(calls) - 1]
        return dg.MaterializeResult(value=1)

    return dg.materialize([flaky], raise_on_error=False), len(calls)


def test_a_transient_failure_is_retried_twice_and_then_given_up() -> None:
    result, calls = run([TransientError("server away")])
    assert (result.success, calls) == (True, 2)
    result, calls = run([TransientError("server away")] * 3)
    assert (result.success, calls) == (False, 3)


def test_a_permanent_failure_is_not_retried_and_says_what_to_do() -> None:
    result, calls = run([PermanentError("no table loans: run `credit-assets load`")])
    assert (result.success, calls) == (False, 1)
    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert event.step_failure_data.user_failure_data is not None
    assert event.step_failure_data.user_failure_data.description == "no table loans: run `credit-assets load`"


def test_a_surprise_is_named_by_its_type() -> None:
    result, calls = run([KeyError("annual_income")])
    assert calls == 1
    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert event.step_failure_data.user_failure_data is not None
    assert (event.step_failure_data.user_failure_data.description or "").startswith("KeyError in ")


ROW = "CANARY-4711 60606.25"


def chained(*fails: Exception) -> Exception:
    """The last of these, raised from the one before it, and so on."""
    before: Exception | None = None
    for one in fails:
        try:
            raise one from before
        except Exception as error:
            before = error
    assert before is not None
    return before


def in_context(first: Exception, then: Exception) -> Exception:
    """Raised while another one is handled, as a fault in an `except` is."""
    try:
        try:
            raise first
        except Exception:
            raise then  # noqa: B904
    except Exception as error:
        return error


def with_note(error: Exception) -> Exception:
    error.add_note(ROW)
    return chained(error)


@pytest.mark.parametrize(
    "error",
    [
        chained(ValueError(ROW)),
        chained(KeyError(ROW)),
        chained(ValueError(ROW), RuntimeError(ROW), PermanentError("no table loans")),
        chained(ValueError(ROW), TransientError("the server is away")),
        chained(ConnectionError(ROW)),
        chained(ExceptionGroup(ROW, [ValueError(ROW)])),
        chained(sqlite3.OperationalError(f"near {ROW}: syntax error")),
        chained(UnicodeDecodeError("utf-8", ROW.encode(), 0, 1, ROW)),
        chained(OSError(ROW)),
        chained(SyntaxError(ROW, ("x", 1, 1, ROW))),
        chained(dg.Failure("no rows"), ValueError(ROW)),
        chained(ValueError(ROW), dg.Failure("no rows")),
        in_context(ValueError(ROW), PermanentError("no table loans")),
        in_context(PermanentError("no table loans"), KeyError(ROW)),
        with_note(ValueError("x")),
    ],
    ids=repr,
)
def test_no_row_stands_in_what_is_kept_of_an_error(error: Exception) -> None:
    names, transient = [type(one).__name__ for one in behind(error)], is_transient(error)
    traced = traceback.format_exception(error)
    shown = without_values(error)
    printed = "".join(traceback.format_exception(shown))
    assert ROW in "".join(traced)
    assert ROW not in printed
    assert ROW not in error_text(error)
    assert ROW not in error_text(shown)
    assert [type(one).__name__ for one in behind(shown)] == names
    assert is_transient(shown) is transient
    # Where it was raised stands there still.
    assert "test_failures.py" in printed


def behind(error: BaseException | None) -> list[BaseException]:
    found = []
    while error is not None:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def test_what_this_package_says_stays_word_for_word(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0]})
    for fails, text in (
        (lambda: encode(frame, ["b"], {}), "the frame lacks the features b"),
        (lambda: load_settings(retries=-1), "CREDIT_RETRIES"),
        (lambda: Path(tmp_path / "none").read_text(), "No such file"),
        (lambda: import_module("no_such_module"), "no_such_module"),
    ):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            fails()  # type: ignore[no-untyped-call]
        assert text in str(without_values(caught.value))
        assert text in error_text(caught.value)


def test_a_call_that_fails_in_a_line_of_this_package_is_not_our_text() -> None:
    """`float` of a text: the innermost frame is ours, the words are Python's."""
    with pytest.raises(ValueError, match="CANARY") as caught:
        shown_at(np.array(["CANARY"]), 0)
    assert "CANARY" not in error_text(caught.value)
    assert "CANARY" not in str(without_values(caught.value))
    assert "ValueError in credit_assets/ml/data/shown_values.py:" in error_text(caught.value)


def test_a_lenders_own_code_is_named_by_file_and_line_without_its_words(tmp_path: Path) -> None:
    """As a learner or a feature of an extension: between this package and another library, whose line says nothing."""
    (file := tmp_path / "lender.py").write_text("import json\n\ndef fit(row):\n    return json.loads(row)\n")
    scope: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), scope)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        scope["fit"](ROW)
    line = error_text(caught.value)
    assert f"JSONDecodeError, raised at {file}:4 (its text is not shown" in line
    assert "CANARY" not in line


def test_what_a_step_fails_with_is_in_no_event() -> None:
    for fails in (ValueError(ROW), sqlite3.OperationalError(ROW), ConnectionError(ROW)):
        result, _ = run([chained(fails, RuntimeError(ROW))] * 3)
        assert not result.success
        assert not [event for event in result.all_events if ROW in repr(event) or "CANARY" in serialize_value(event)]


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device", "/data/x"), sqlite3.OperationalError("database or disk is full")],
)
def test_a_full_disk_in_a_step_is_not_retried_and_says_what_to_do(error: Exception) -> None:
    result, calls = run([error])
    assert calls == 1
    (event,) = [event for event in result.all_events if event.is_step_failure]
    assert event.step_failure_data.user_failure_data is not None
    description = event.step_failure_data.user_failure_data.description or ""
    assert "no space left" in description
    assert "set CREDIT_HOME" in description
