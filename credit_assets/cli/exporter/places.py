"""Reading places whose services may be away: within a time, no more often than wanted, and never twice at once.

Belongs here: time, threads and errors. Does not belong here: what is read (`of_instance`, `of_store`, `of_tracking`),
and HTTP (`server`).

A place that does not answer is left behind in its thread, and is not asked again before that has come back: a scrape
every half minute would otherwise add a thread each time. Its figures are left out meanwhile: an old figure that looks
like a new one is worse than none.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from credit_assets.cli.exporter.families import FAMILIES, PORTFOLIO, PREFIX, MetricSample
from credit_assets.failures import error_text

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

_LOG = logging.getLogger(__name__)
Read = Callable[[datetime], Iterable[MetricSample]]


@dataclass(frozen=True)
class _Reading:
    """What a reading came to: its figures, or the error."""

    samples: Sequence[MetricSample]
    seconds: float
    at: float
    error: str = ""


class Place:
    """One place with its last reading."""

    def __init__(self, name: str, read: Read, hide: Callable[[str], str] = str) -> None:
        self.name, self._read, self._hide = name, read, hide
        self._thread: threading.Thread | None = None
        self._last: _Reading | None = None
        self._errors = 0
        self._late = False

    def begin(self) -> None:
        """Start to read, unless a reading is under way still."""
        if self._thread is None or not self._thread.is_alive():
            self._late = False
            self._thread = threading.Thread(target=self._look, name=f"metrics of {self.name}", daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> None:
        """Until it is read, or so long."""
        if self._thread is None:
            return
        self._thread.join(max(0.0, seconds))
        if self._thread.is_alive() and not self._late:
            self._late = True
            self._errors += 1
            _LOG.warning("%s: no answer in time", self.name)

    def samples(self) -> Iterator[MetricSample]:
        """Its figures where it could be read, and how reading it went."""
        labels = {"place": self.name}
        last = None if self._late else self._last
        is_up = last is not None and not last.error
        yield MetricSample("up", is_up, labels)
        yield MetricSample("exporter_errors", self._errors, labels)
        if last is not None:
            yield MetricSample("exporter_seconds", last.seconds, labels)
            yield MetricSample("exporter_read_timestamp_seconds", last.at, labels)
            yield from last.samples

    def _look(self) -> None:
        begun, found, error = time.monotonic(), [], ""
        try:
            found = list(self._read(datetime.now(UTC)))
        except Exception as raised:
            # Half of the figures of a place would look like all of them.
            found, error = [], self._hide(f"{type(raised).__name__}: {error_text(raised)}")
            self._errors += 1
            _LOG.warning("%s: %s", self.name, error)
        self._last = _Reading(found, time.monotonic() - begun, time.time(), error)


class Figures:
    """All places as a collector of prometheus_client: each scrape reads them, unless they were read just before."""

    def __init__(self, places: Sequence[Place], portfolio: str, *, kept: float, limit: float) -> None:
        self._places, self._portfolio = places, portfolio
        self._kept, self._limit = kept, limit
        self._lock, self._read_at = threading.Lock(), -kept

    def begin(self) -> None:
        """Start to read at once: the first reading loads what all others have loaded."""
        for place in self._places:
            place.begin()

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        with self._lock:
            if time.monotonic() - self._read_at >= self._kept:
                self._read()
            by_name: dict[str, list[MetricSample]] = {name: [] for name in FAMILIES}
            for place in self._places:
                for sample in place.samples():
                    by_name[sample.name].append(sample)
        for name, samples in by_name.items():
            if not samples:
                continue
            family = FAMILIES[name]
            kind = CounterMetricFamily if name == "exporter_errors" else GaugeMetricFamily
            metric = kind(f"{PREFIX}{name}", family.help, labels=[PORTFOLIO, *family.labels])
            for sample in samples:
                metric.add_metric([self._portfolio, *_values(family.labels, sample.labels)], float(sample.value))
            yield metric

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering would read everything otherwise."""
        return ()

    def _read(self) -> None:
        self.begin()
        until = time.monotonic() + self._limit
        for place in self._places:
            place.wait(until - time.monotonic())
        self._read_at = time.monotonic()


def _values(names: Sequence[str], labels: Mapping[str, str]) -> list[str]:
    if set(names) != set(labels):
        raise ValueError(f"labels {sorted(labels)} are not those of the table: {sorted(names)}")
    return [labels[name] for name in names]
