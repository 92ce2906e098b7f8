"""The demo, made once in a session: a book of two years, three trainings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from credit_assets.cli.demo import run_demo
from credit_assets.cli.demo_report import DemoReport
from credit_assets.cli.replay import no_progress


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    """The demo was stopped by the test."""


def make_demo(home: Path) -> None:
    """The demo in this home, stopped where it costs most to begin again: when a training was asked for and not begun,
    and when it was trained and the days after it are still to be scored by it.
    """
    for stops in (("train", "train"), ("train", "score")):
        with pytest.raises(Stopped):
            demo_in(home, _after(*stops))
    demo_in(home)


def demo_in(home: Path, on_progress: Callable[[str, int, int], None] = no_progress) -> DemoReport:
    """Run the demo in this home; the environment is what it was afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CREDIT_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("DAGSTER_HOME", raising=False)
        try:
            return run_demo(None, on_progress)
        finally:
            os.environ.pop("DAGSTER_HOME", None)


def _after(*steps: str) -> Callable[[str, int, int], None]:
    """Raises Stopped at the last of these steps, once the others have come before it in this order."""
    waited = list(steps)

    def on_progress(what: str, *_: int) -> None:
        if what.split()[0] == waited[0]:
            waited.pop(0)
        if not waited:
            raise Stopped

    return on_progress
