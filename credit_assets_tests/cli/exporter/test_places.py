"""Places that hang, fail and come back, and who is answered what over HTTP."""

from __future__ import annotations

import inspect
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from credit_assets.cli.exporter.families import MetricSample
from credit_assets.cli.exporter.places import Figures, Place
from credit_assets.cli.exporter.server import server
from credit_assets.cli.house_verbs import metrics
from credit_assets.failures import PermanentError, TransientError


def values(found: Figures) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for name, value in sample.labels.items() if name != "portfolio")): sample.value
        for family in found.collect()
        for sample in family.samples
    }


def test_a_place_that_hangs_is_down_and_is_not_asked_a_second_time() -> None:
    free, asked = threading.Event(), []

    def hangs(now: datetime) -> list[MetricSample]:
        asked.append(now)
        assert free.wait(60)
        return [MetricSample("queue_length", 3)]

    slow, quick = Place("instance", hangs), Place("store", lambda _: [MetricSample("scores_late", 0)])
    found = Figures([quick, slow], "cards", kept=0, limit=0)
    quick.begin()
    quick.wait(60)
    for _ in range(3):
        seen = values(found)
        quick.wait(60)
    assert len(asked) == 1
    assert seen["credit_assets_up", "instance"] == 0
    # One reading that is late is one error, however often it is waited for.
    assert seen["credit_assets_exporter_errors_total", "instance"] == 1
    assert ("credit_assets_queue_length",) not in seen
    free.set()
    slow.wait(60)
    again = Figures([slow], "cards", kept=0, limit=60)
    assert values(again)["credit_assets_queue_length",] == 3
    assert values(again)["credit_assets_up", "instance"] == 1


def test_what_fails_halfway_has_no_figures_and_says_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    def fails(_: datetime) -> Iterator[MetricSample]:
        yield MetricSample("queue_length", 3)
        raise TransientError("no answer from host, password hunter2")

    place = Place("instance", fails, lambda said: said.replace("hunter2", "***"))
    seen = values(Figures([place], "cards", kept=0, limit=60))
    assert seen["credit_assets_up", "instance"] == 0
    assert ("credit_assets_queue_length",) not in seen
    assert "password ***" in caplog.text


def test_figures_are_kept_for_a_while_and_read_once_by_many() -> None:
    asked: list[datetime] = []
    place = Place("store", lambda now: [asked.append(now) or MetricSample("scores_late", len(asked))])  # type: ignore[func-returns-value]
    found = Figures([place], "cards", kept=600, limit=60)
    threads = [threading.Thread(target=values, args=(found,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values(found)["credit_assets_scores_late",] == 1
    assert len(asked) == 1


def test_a_label_that_is_not_in_the_table_is_refused() -> None:
    found = Figures(
        [Place("store", lambda _: [MetricSample("queue_length", 1, {"run": "x"})])], "cards", kept=0, limit=60
    )
    with pytest.raises(ValueError, match="run"):
        values(found)


def test_over_http_figures_a_sign_of_life_and_nothing_else() -> None:
    registry, read = CollectorRegistry(), []

    class Collector:
        def collect(self) -> Iterator[Any]:
            read.append(1)
            yield from ()

    registry.register(Collector())
    read.clear()
    with server(registry, "127.0.0.1", 0) as bound:
        thread = threading.Thread(target=bound.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{bound.server_port}"
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        with urllib.request.urlopen(urllib.request.Request(f"{url}/metrics", headers=accept)) as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
            assert answer.read().endswith(b"# EOF\n")
        assert len(read) == 1
        with urllib.request.urlopen(f"{url}/healthz") as answer:
            assert answer.read() == b"ok\n"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{url}/")
        with pytest.raises(urllib.error.HTTPError, match="405"):
            urllib.request.urlopen(urllib.request.Request(f"{url}/metrics", method="POST", data=b"x"))
        assert len(read) == 1
        with pytest.raises(PermanentError, match="--port"):
            server(registry, "127.0.0.1", bound.server_port)
        bound.shutdown()
        thread.join()


def test_it_listens_on_this_machine_alone_unless_told_otherwise() -> None:
    assert inspect.signature(metrics).parameters["host"].default == "127.0.0.1"
