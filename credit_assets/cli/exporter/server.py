"""The server of `credit-assets metrics`: OpenMetrics to whoever asks, and nothing else.

Belongs here: which paths there are, and which places a portfolio has. Does not belong here: reading them.

Who may ask is a matter of where it listens: on this machine alone unless told otherwise, and behind the chart's network
policy on a cluster. There are figures of the book as a whole in it, and no applicant's.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from credit_assets.cli.exporter.of_store import ModelFigures, StoreFigures
from credit_assets.cli.exporter.of_tracking import TrackingFigures
from credit_assets.cli.exporter.places import Figures, Place
from credit_assets.failures import PermanentError
from credit_assets.settings import Settings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

METRICS, HEALTH = "/metrics", "/healthz"
KEPT_SECONDS, LIMIT_SECONDS = 15.0, 8.0
"""For how long figures are kept, and how long a scrape waits for them: Prometheus itself gives up after 10 s."""
Answer = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def figures(
    settings: Settings,
    hide: Callable[[str], str] = str,
    *,
    kept: float = KEPT_SECONDS,
    limit: float = LIMIT_SECONDS,
) -> Figures:
    """The places of a portfolio. `hide` takes secrets out of what is logged of a place that cannot be read."""
    from credit_assets.cli.exporter.of_instance import InstanceFigures

    reads: dict[str, Any] = {
        "instance": InstanceFigures(settings),
        "store": StoreFigures(settings),
        "registry": ModelFigures(settings),
    }
    tracking = TrackingFigures(settings)
    if tracking.is_readable:
        reads["tracking"] = tracking
    places = [Place(name, read, hide) for name, read in reads.items()]
    return Figures(places, settings.portfolio_contract.name, kept=kept, limit=limit)


def registry_of(found: Figures) -> CollectorRegistry:
    """What is scraped: the figures, and this process's own CPU and memory."""
    from prometheus_client import CollectorRegistry, ProcessCollector

    registry = CollectorRegistry()
    registry.register(found)
    ProcessCollector(registry=registry)
    return registry


def answering(registry: CollectorRegistry) -> Answer:
    """The WSGI application: figures, and a sign of life that reads nothing."""
    from prometheus_client import make_wsgi_app

    metrics = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == METRICS:
            body: Iterable[bytes] = metrics(environ, start)
            return body
        status, text = ("200 OK", "ok\n") if path == HEALTH else ("404 Not Found", f"figures are at {METRICS}\n")
        start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))])
        return [text.encode()]

    return answer


class ScrapeServer(ThreadingMixIn, WSGIServer):
    """A thread an answer, so that a slow scrape does not hold up the sign of life."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    # A client that sends nothing does not hold a thread for ever.
    timeout = 30

    def log_message(self, *_: Any) -> None: ...


def server(registry: CollectorRegistry, host: str, port: int) -> ScrapeServer:
    """A bound server. Raises PermanentError where the address cannot be had."""

    class Bound(ScrapeServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    try:
        bound = Bound((host, port), _Quiet)
    except OSError as error:
        raise PermanentError(
            f"cannot listen on {host} port {port} ({error.strerror or error}); give another --host or --port"
        ) from error
    bound.set_app(answering(registry))
    return bound


def serve(settings: Settings, host: str, port: int, hide: Callable[[str], str], ready: Callable[[str], None]) -> None:
    """Answer until the process is told to stop."""
    found = figures(settings, hide)
    with server(registry_of(found), host, port) as bound:
        found.begin()
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{bound.server_port}{METRICS}")
        bound.serve_forever()
