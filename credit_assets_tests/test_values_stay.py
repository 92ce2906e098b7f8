"""No applicant's value stands outside of the store: every file of a house that has trained, scored and failed, and all
that was told of it, is looked through for every number and id of its book.
"""

from __future__ import annotations

import re
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from credit_assets.build import build_definitions
from credit_assets.cli.explain import explain_record
from credit_assets.failures import PermanentError
from credit_assets.stages import DAILY
from credit_assets_tests.support.houses import LAST, TRAINED, copied_home, open_house, write_book
from credit_assets_tests.support.mail import Relay
from credit_assets_tests.support.sensors import Ticker
from credit_assets_tests.support.synthetic import canonical_book
from credit_assets_tests.support.written import written

STOPPED, FAILED = LAST + timedelta(1), LAST + timedelta(2)
CANARY, INCOME = "CANARY", 60606.25
# Fewer digits are met by chance: counts and rates have as many.
_DIGITS = 6
_NUMBER = re.compile(rb"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w])")


def values_of(store: Path) -> tuple[set[float], set[bytes]]:
    """All numbers of applications that have many digits, and all ids."""
    found: set[float] = set()
    ids: set[bytes] = set()
    for file in [*store.rglob("raw_loan_data/*.parquet"), *store.rglob("processed_features/*.parquet")]:
        table = pq.ParquetFile(file).read()
        for name in table.column_names:
            column = table[name]
            if pa.types.is_floating(column.type):
                found.update(one for one in column.to_pylist() if one is not None and digits(one) >= _DIGITS)
            elif name == "application_id":
                ids.update(str(one).encode() for one in column.to_pylist())
    return found, ids


def digits(value: float) -> int:
    return len(f"{abs(value):.12f}".replace(".", "").strip("0"))


class Life(NamedTuple):
    """A home, and what was said of it where others read: by where, its text."""

    home: Path
    said: list[tuple[str, bytes]]


@pytest.fixture(scope="module", name="life")
def _life(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Life:
    """A house that has trained; one of whose days a gate stops, and at another of which a library fails and quotes all
    rows; with who is told of it, and what the credit officer hears of applicants who cannot be explained.
    """
    home = copied_home(trained_home, tmp_path_factory.mktemp("values") / "home")
    with open_house(home) as house, Relay() as relay, pytest.MonkeyPatch.context() as patch:
        applications, outcomes = canonical_book(60, STOPPED, FAILED, seed=3)
        canaries = {"application_id": [f"{CANARY}-{n}" for n in range(60)], "annual_income": INCOME + np.arange(60)}
        applications = applications.assign(**canaries)
        applications["application_date"] = np.array([STOPPED, FAILED] * 30, dtype="datetime64[ms]")
        # Above the share that a day may lose to quarantine.
        applications.loc[::2, "interest_rate"] = 900.0
        write_book(house.settings, applications, outcomes.head(0))
        settings = house.settings.model_copy(update={"alert_urls": SecretStr(relay.url())})
        defs = build_definitions(settings)
        tickers = [Ticker(defs, name, house.instance) for name in ("failure_alerts", "gate_notices")]

        def quotes(table: Any, *_: Any, **__: Any) -> Any:
            raise ValueError(f"could not convert {table.to_pylist()}")

        for day in (STOPPED, FAILED):
            if day == FAILED:
                patch.setattr("credit_assets.ml.data.features.feature_table", quotes)
            ended = defs.resolve_job_def(DAILY).execute_in_process(
                instance=house.instance, partition_key=str(day), raise_on_error=False
            )
            assert not ended.success
        ticks = [repr(ticker.tick()).encode() for ticker in tickers]
        said = [("a mail", message.as_bytes()) for message in relay.inbox.messages]
        assert any("processed_features" in text for text in relay.texts), relay.texts
        assert any("quarantined_share" in text for text in relay.texts), relay.texts
        said += [("a tick", text) for text in ticks]
        for name, day in ((f"{CANARY}-1", FAILED), (f"{CANARY}-0", TRAINED)):
            with pytest.raises(PermanentError) as refused:
                explain_record(house.settings, name, day)
            said.append(("the officer's page", "".join(traceback.format_exception(refused.value)).encode()))
    return Life(home, said)


def test_no_number_and_no_id_of_the_book_is_outside_of_the_store(life: Life) -> None:
    with open_house(life.home) as house:
        store = Path(house.settings.store)
    numbers, ids = values_of(store)
    assert len(numbers) > 5_000, "the book has amounts in cents"
    assert len(ids) > 1_000
    numbers |= {INCOME + n for n in range(60)}
    ids |= {f"{CANARY}-{n}".encode() for n in range(60)}
    everywhere = [*written(life.home), *life.said]
    leaks: dict[str, set[object]] = {}
    for name, text in everywhere:
        for match in _NUMBER.finditer(text):
            # A threshold of LightGBM lies between two values.
            if float(match[0]) in numbers and digits(float(match[0])) >= _DIGITS:
                leaks.setdefault(name, set()).add(float(match[0]))
        if found := {one for one in re.findall(rb"[\w-]+", text) if one in ids}:
            leaks.setdefault(name, set()).update(found)
    for place in ("reference.json", "model_dossier", "compute_logs", "a mail", "officer"):
        assert any(place in name for name, _ in everywhere), place
    assert not {name: len(found) for name, found in leaks.items()}


def test_the_search_finds_what_is_planted(life: Life) -> None:
    """A number of the book, written in a log as a library would, is one that the test above finds."""
    with open_house(life.home) as house:
        numbers, _ = values_of(Path(house.settings.store))
    one = next(iter(numbers))
    planted = f"could not convert {one!r} and [{one!r}, 2]".encode()
    assert [float(match[0]) for match in _NUMBER.finditer(planted)].count(one) == 2
