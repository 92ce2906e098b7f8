"""What a replay came to: a training that a gate stopped is a failure of the command, one that was rejected is not."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from credit_assets.cli.replay import Replay
from credit_assets.cli.trainings import BLOCKED, ReplayReport, TrainingOutcome
from credit_assets.failures import PermanentError
from credit_assets.ml.rules.due import NOT_DUE

DAYS = [date(2024, 3, day) for day in (1, 2, 3, 4)]
WHY = "training_set.orphans: 352 of 1,508 outcomes"


def report(*statuses: str) -> ReplayReport:
    return ReplayReport(
        days=4,
        trainings=[TrainingOutcome(day, status, reason=WHY) for day, status in zip(DAYS, statuses, strict=False)],
    )


def test_a_blocked_training_is_named_with_its_gate() -> None:
    with pytest.raises(PermanentError, match="2 of 4 trainings were stopped by their gates") as raised:
        report("registered", BLOCKED, "rejected", BLOCKED).raise_blocked()
    assert f"2024-03-02: {WHY}" in str(raised.value)
    assert "2024-03-04" in str(raised.value)
    assert "2024-03-03" not in str(raised.value)


def test_other_outcomes_are_results() -> None:
    report("registered", "rejected", NOT_DUE).raise_blocked()
    report().raise_blocked()


@pytest.mark.parametrize(("status", "code"), [(BLOCKED, 1), ("rejected", 0)])
def test_the_command_fails_with_it(
    status: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from credit_assets.cli import main

    monkeypatch.setattr(Replay, "run", lambda *_args, **_more: report(status))
    monkeypatch.setattr(
        "sys.argv", ["credit-assets", "replay", "--start", "2024-03-01", "--end", "2024-03-04", "--json"]
    )
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == code
    shown: Any = capsys.readouterr()
    # What was done is printed either way.
    assert '"status"' in shown.out
    assert ("stopped by their gates" in shown.err + shown.out) == bool(code)
