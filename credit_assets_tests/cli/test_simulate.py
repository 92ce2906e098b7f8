"""Simulated lives: the real jobs and sensors on a small book that breaks on a known day."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from credit_assets.cli.life import MONTHLY, NEVER, TRIGGERED, Life, Simulation, quarters
from credit_assets.cli.simulate import live, settings_of, simulate
from credit_assets.cli.timeline import draw_lives, print_lives
from credit_assets.failures import PermanentError
from credit_assets.loans.generator import Shift, generate_book
from credit_assets.settings import load_settings
from credit_assets.storage.store import Store
from credit_assets_tests.support.houses import fast_forward, write_book

BREAK = date(2024, 4, 12)
START, END = date(2024, 3, 1), date(2024, 5, 12)
# What the command reads is the environment, and so does every process that it starts.
ENVIRONMENT = {
    "CREDIT_START_DATE": "2024-01-01",
    "CREDIT_PERFORMANCE_WINDOW_DAYS": "30",
    "CREDIT_LOOKBACK_DAYS": "90",
    "CREDIT_MAX_ROUNDS": "60",
    "CREDIT_EARLY_STOPPING_ROUNDS": "10",
    "CREDIT_VARIANTS": "lightgbm",
    "CREDIT_VARIANT_PARAMS": '{"lightgbm": {"num_leaves": 7}}',
    "CREDIT_MAX_ECE": "0.2",
    "CREDIT_MIN_AUC": "0.52",
    "CREDIT_MIN_IMPROVEMENT": "0",
    "CREDIT_PROMOTION_RULE": "point",
    "CREDIT_PROMOTION_MIN_BADS": "5",
    "CREDIT_PROMOTION_FIRST_LEVEL": "0.5",
    "CREDIT_PROMOTION_ALPHA": "0.5",
    "CREDIT_RETRIES": "0",
    "CREDIT_PROMOTION": "shadow",
    "CREDIT_SHADOW_DAYS": "5",
    "CREDIT_SHADOW_MIN_LOANS": "50",
    "CREDIT_SHADOW_MIN_CORRELATION": "-1",
    "CREDIT_SHADOW_MAX_PSI": "100",
    "CREDIT_DRIFT_MIN_ROWS": "200",
    "CREDIT_COOLDOWN_DAYS": "7",
    "CREDIT_PERFORMANCE_FLOOR": "0.5",
    "CREDIT_PERFORMANCE_MARGIN": "0.49",
    "CREDIT_VOLUME_TRIGGER_SHARE": "100",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A warehouse with 60 loans a day, twice the amounts and inquiries from the break on."""
    folder = tmp_path_factory.mktemp("simulated")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"CREDIT_HOME": str(folder), **ENVIRONMENT}.items():
            patch.setenv(name, value)
        patch.delenv("DAGSTER_HOME", raising=False)
        shift = Shift(since=BREAK, amount=2.0, inquiries=3.0)
        tables = generate_book(8_200, date(2024, 1, 1), END, 7, shift, outcomes_until=date(2026, 1, 1))
        applications, outcomes = (table.to_pandas(date_as_object=False) for table in tables)
        write_book(load_settings(), *fast_forward((applications, outcomes)))
        yield folder


@pytest.fixture
def environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CREDIT_HOME": str(home), **ENVIRONMENT}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def triggered(home: Path) -> Iterator[Life]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"CREDIT_HOME": str(home), **ENVIRONMENT}.items():
            patch.setenv(name, value)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield live(TRIGGERED, START, END)
    os.environ.pop("DAGSTER_HOME", None)


def events(life: Life, kind: str) -> list[Any]:
    return [event for event in life.events if event.kind == kind]


@pytest.mark.slow
def test_the_break_is_seen_retrained_and_the_new_model_is_tried(triggered: Life) -> None:
    assert triggered.first_model == date(2024, 3, 31)
    shifted = [day for day, verdict, _ in triggered.drift if verdict == "shifted"]
    assert shifted
    assert BREAK <= shifted[0] <= BREAK + timedelta(10)
    assert {"loan_amount", "inquiries_6m"} <= {name for _, _, names in triggered.drift for name in names}
    trigger = events(triggered, "trigger")[0]
    assert trigger.data["trigger"] == "drift"
    # Three shifted days of five, and none before the break.
    assert shifted[0] + timedelta(2) <= trigger.day <= shifted[0] + timedelta(5)
    second = triggered.trainings[1]
    assert second.as_of == trigger.day
    trial = triggered.periods["shadow"][0]
    if second.status == "registered":
        assert trial[:2] == (second.version, trigger.day + timedelta(1))
        # Five days on trial and then in force from the next one, without anybody.
        assert triggered.periods["champion"][1][:2] == (second.version, trigger.day + timedelta(6))


@pytest.mark.slow
def test_days_lived_are_told_and_drawn(environment: None, triggered: Life) -> None:
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    print_lives({TRIGGERED: triggered}, console)
    text = console.export_text()
    assert f"{triggered.first_model}  training   first model: registered" in text
    assert "trigger    drift: shifted on 3 of the last" in text
    assert "observed /" in text
    assert draw_lives({TRIGGERED: triggered}).startswith(b"\x89PNG")
    assert triggered.quarters[-1]["quarter"] == "all"
    store = Store(settings_of(TRIGGERED).store)
    scored = [store.row_count("processed_features", day) for day in store.days("loan_scores")]
    assert triggered.quarters[-1]["rows"] == sum(scored)


@pytest.mark.slow
def test_several_ways_at_once_and_the_users_own_home_untouched(home: Path, environment: None, triggered: Life) -> None:
    before = sorted(path.name for path in home.iterdir())
    told: list[str] = []
    lives = simulate(START, date(2024, 5, 3), [NEVER, MONTHLY], lambda what, done, of: told.append(what))
    assert list(lives) == [NEVER, MONTHLY]
    assert "never 100%" in told[-1]
    assert [t.as_of for t in lives[NEVER].trainings] == [date(2024, 3, 31)]
    assert [t.as_of for t in lives[MONTHLY].trainings] == [date(2024, 3, 31), date(2024, 4, 30)]
    assert events(lives[MONTHLY], "trigger")[0].data["trigger"] == "refresh"
    # Judged as a refresh: not worse, instead of better.
    assert "a refresh must be shown not to be worse" in events(lives[MONTHLY], "training")[1].text or (
        lives[MONTHLY].trainings[1].status == "registered"
    )
    assert lives[NEVER].periods["champion"] == [("1", date(2024, 4, 1), None)]
    assert sorted(path.name for path in home.iterdir()) == before
    assert settings_of(NEVER).store == str(home / "simulations" / "never" / "store")


def test_the_users_settings_hold_in_a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the home, and of the packaged portfolio alone."""
    monkeypatch.setenv("CREDIT_HOME", str(tmp_path))
    (tmp_path / "portfolios").mkdir()
    (tmp_path / "settings.env").write_text("CREDIT_MAX_AUC=0.91\nCREDIT_MIN_AUC=0.6\n")
    (tmp_path / "portfolios" / "consumer_loans.env").write_text("CREDIT_MIN_AUC=0.61\n")
    settings = settings_of(TRIGGERED)
    assert (settings.max_auc, settings.min_auc) == (0.91, 0.61)
    assert settings.home_dir != tmp_path


@pytest.mark.parametrize(
    ("start", "end", "ways", "message"),
    [
        (START, END, ["weekly"], "--ways weekly: use some of never, monthly, triggered"),
        (START, END, [], "--ways is empty"),
        (END, START, [NEVER], "no range of days"),
        (START, date(2030, 1, 1), [NEVER], "applications span 2024-01-01"),
    ],
)
def test_what_cannot_be_simulated_is_refused(
    environment: None, start: date, end: date, ways: list[str], message: str
) -> None:
    with pytest.raises(PermanentError, match=message):
        simulate(start, end, ways, lambda *_: None)


@pytest.mark.parametrize(
    ("way", "every", "trial", "last"),
    [
        (TRIGGERED, 1, False, date(2024, 4, 2)),
        (TRIGGERED, 30, False, date(2024, 5, 1)),
        (MONTHLY, 1, True, date(2024, 4, 2)),
        (MONTHLY, 10, True, date(2024, 4, 11)),
        # The calendar asks at the end of a month, however often the others look.
        (MONTHLY, 10, False, date(2024, 4, 30)),
        (NEVER, 10, False, date.max),
    ],
)
def test_days_are_one_run_up_to_the_next_look(way: str, every: int, trial: bool, last: date) -> None:
    aliases = SimpleNamespace(period_of=lambda alias, day: trial or None)
    lived: Any = SimpleNamespace(way=way, every=every, replay=SimpleNamespace(aliases=aliases))
    assert Simulation._decides_by(lived, date(2024, 4, 2)) == last


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (date(2010, 1, 1), date(2010, 6, 30), [("2010-01-01", "2010-03-31"), ("2010-04-01", "2010-06-30")]),
        (date(2010, 1, 2), date(2010, 6, 29), []),
        (date(2010, 11, 5), date(2011, 4, 1), [("2011-01-01", "2011-03-31")]),
    ],
)
def test_whole_quarters(first: date, last: date, expected: list[tuple[str, str]]) -> None:
    assert [(str(a), str(b)) for a, b in quarters(first, last)] == expected
