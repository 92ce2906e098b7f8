"""Whether MLflow answers. Nothing of it is read: the ledger in the store decides which model is in force.

Belongs here: one question without a login. Does not belong here: MLflow's client, which takes seconds to import.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable
from datetime import datetime

from credit_assets.cli.exporter.families import MetricSample
from credit_assets.failures import TransientError
from credit_assets.masking import without_login
from credit_assets.places import database_file
from credit_assets.settings import Settings

_SECONDS = 5.0


class TrackingFigures:
    """Asks the server, or looks whether the file of an embedded store is there. Raises where it is not."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def is_readable(self) -> bool:
        """A tracking store that is a database of a server's is nobody's business here."""
        uri = self._settings.tracking_uri
        return uri.startswith(("http://", "https://")) or database_file(uri) is not None

    def __call__(self, now: datetime) -> Iterable[MetricSample]:  # noqa: ARG002 - as all places are read
        uri = self._settings.tracking_uri
        if (file := database_file(uri)) is not None:
            # An embedded store that nothing has been written to yet is made by the first training.
            if not self._settings.tracking_is_new and not file.is_file():
                raise FileNotFoundError("the file of MLflow's embedded store is not there")
            return ()
        with urllib.request.urlopen(f"{without_login(uri)[0].rstrip('/')}/health", timeout=_SECONDS) as answer:
            if answer.status != 200:
                raise TransientError(f"MLflow answers {answer.status}")
        return ()
