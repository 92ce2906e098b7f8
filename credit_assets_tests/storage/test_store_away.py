"""A store on S3 whose service goes away in the midst of a command: stopped, so that nobody listens, and suspended, so
that what is asked is never answered. A line names it and the setting; the same command goes on once it is back.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from credit_assets.cli.main import main
from credit_assets.settings import load_settings
from credit_assets.storage import store
from credit_assets.storage.store import Store
from credit_assets_tests.support.environment import environment
from credit_assets_tests.support.houses import SMALL, START, write_book
from credit_assets_tests.support.s3 import Stopping
from credit_assets_tests.support.synthetic import canonical_book

pytest_plugins = ["credit_assets_tests.support.s3"]

LAST = date(2024, 1, 3)


@pytest.fixture(name="service", scope="module")
def _service() -> Iterator[Stopping]:
    pytest.importorskip("s3fs", reason="the s3 extra is not installed")
    made = Stopping()
    yield made
    made.stop()


@pytest.fixture
def s3_address(service: Stopping) -> str:
    """In the place of the session's server, for the fixture `bucket`."""
    return service.address


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["stopped", "suspended"])
def test_a_service_that_goes_away_in_a_run_is_named_and_the_command_goes_on_once_it_is_back(
    fault: str,
    service: Stopping,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # Shorter than in earnest, as often.
    monkeypatch.setitem(store.S3_WAITS, "read_timeout", 1)
    values = {**SMALL, "home": tmp_path / "home", "store_uri": bucket, "variants": "lightgbm", "variant_params": {}}
    for name, value in environment(values).items():
        monkeypatch.setenv(name, value)
    write_book(load_settings(), *canonical_book(90, START, LAST, seed=7))

    def run(*arguments: str) -> tuple[int, str]:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["credit-assets", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        monkeypatch.delenv("DAGSTER_HOME", raising=False)
        return int(ended.value.code or 0), capfd.readouterr().err

    def told(code: int, error: str) -> None:
        lines = [line for line in error.splitlines() if line.startswith("credit-assets:")]
        assert (code, len(lines)) == (1, 1), error
        assert "CREDIT_STORE_URI" in lines[0]
        assert "does not answer" in lines[0]
        assert "Traceback" not in error

    backfill = ["backfill", "--start", str(START), "--end", str(LAST), "--assets", "raw_loan_data,loan_outcomes"]
    leaves = service.stop if fault == "stopped" else service.awake.clear
    # The first are about who owns the store, the last write the days.
    with service.after(40, leaves):
        told(*run(*backfill))
        told(*run("status"))
    if fault == "stopped":
        service.start()
    assert run(*backfill)[0] == 0
    assert Store(bucket).days("raw_loan_data") == ["2024-01-01", "2024-01-02", "2024-01-03"]
    assert run("status")[0] == 0
