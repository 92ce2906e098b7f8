"""The edge of sensors and schedules: one line that says what to do, whatever was raised."""

from __future__ import annotations

import errno
import traceback
from typing import Any

import dagster as dg
import pytest

from credit_assets.build import build_definitions
from credit_assets.failures import PermanentError, TransientError
from credit_assets.notify.alerts import step_problem
from credit_assets.notify.ticks import Unreachable, handles_tick_errors
from credit_assets.settings import load_settings


def sensor_that_raises(error: Exception, *, skips: bool = True) -> dg.SensorDefinition:
    @dg.sensor(name="it", minimum_interval_seconds=30)
    @handles_tick_errors("MLflow", skips=skips)
    def it(context: dg.SensorEvaluationContext, store: dg.ResourceParam[str]) -> dg.SkipReason:
        assert store == "given"
        raise error

    return it


def tick(sensor: dg.SensorDefinition) -> Any:
    with dg.instance_for_test() as instance:
        context = dg.build_sensor_context(instance=instance, resources={"store": "given"})
        return sensor.evaluate_tick(context)


@pytest.mark.parametrize("error", [TransientError("no answer from https://u:pw@h"), ConnectionResetError("x")])
def test_what_a_later_tick_may_find_mended_is_a_skip(error: Exception) -> None:
    skipped = Unreachable.of(tick(sensor_that_raises(error)).skip_message)
    assert skipped is not None
    assert skipped.service == "MLflow"
    assert "pw" not in skipped.why


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermanentError("the cursor is damaged; reset it"), "the cursor is damaged; reset it"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), "/data/x: no space left on the disk; free"),
        (KeyError("A0010003"), "unexpected KeyError"),
        (PermanentError("at postgresql://risk:pw@db"), "at postgresql://risk:***@db"),
    ],
)
def test_everything_else_fails_the_tick_with_what_to_do(error: Exception, said: str) -> None:
    with pytest.raises(PermanentError) as failed:
        tick(sensor_that_raises(error))
    assert str(failed.value).startswith(said)
    if isinstance(error, KeyError):
        assert "A0010003" not in "".join(traceback.format_exception(failed.value))
    else:
        assert failed.value.__cause__ is error
    # What the watch tells people.
    from dagster._utils.error import serializable_error_info_from_exc_info

    info = serializable_error_info_from_exc_info((type(failed.value), failed.value, failed.value.__traceback__))
    assert step_problem("", info).line.startswith(said)


def test_where_a_skip_would_pass_the_event_by_the_tick_fails() -> None:
    with pytest.raises(PermanentError, match="no answer"):
        tick(sensor_that_raises(TransientError("no answer"), skips=False))


def test_no_sensor_and_no_schedule_is_without_it() -> None:
    definitions = build_definitions(load_settings())
    functions = {one.name: one._raw_fn for one in definitions.sensors or ()}
    functions |= {one.name: one._execution_fn.decorated_fn for one in definitions.schedules or ()}
    assert len(functions) > 10
    assert [name for name, function in functions.items() if not getattr(function, "handles_errors", False)] == []
