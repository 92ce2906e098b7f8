"""MLflow: the server or database (`server`), runs (`runs`, `run`), evidence on a candidate, and files of models.

Belongs here: all that knows MLflow's runs and files. Does not belong here: registered versions and aliases
(`credit_assets.ledger`), and what is worth logging about a model (`credit_assets.ml`).
"""

from __future__ import annotations

from pathlib import Path

from credit_assets.storage.claims import Claims
from credit_assets.tracking.models import LoggedModels
from credit_assets.tracking.runs import Runs
from credit_assets.tracking.server import Pages, Server


class Tracking:
    """MLflow at `uri` (sqlite:///file, another database URL, or the URL of a tracking server).

    Costs nothing to construct: mlflow is imported and the server called when a method needs it. All methods of the
    parts raise TransientError where a retry may help (no answer, 5xx, locked database), else PermanentError.

    `pages`: where people reach the UIs that links lead to.
    `cache_dir`: where models of a remote server are kept; the user's cache folder by default.
    """

    def __init__(
        self, uri: str, experiment: str, claims: Claims, *, pages: Pages = Pages(), cache_dir: Path | None = None
    ) -> None:
        self.claims = claims
        self.server = Server(uri, experiment, store_uri=claims.store_uri, pages=pages)
        self.runs = Runs(self.server, claims)
        self.models = LoggedModels(self.server, cache_dir)
