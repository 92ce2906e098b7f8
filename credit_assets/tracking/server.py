"""One MLflow server or database, and the experiment of this pipeline on it.

Belongs here: connecting, calling, and links into MLflow's UI. Does not belong here: runs (`runs`), files of models
(`models`), locks and places of databases (`database`), how failures are sorted (`failures`).
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from credit_assets.databases import bound_connections
from credit_assets.failures import PermanentError, TransientError
from credit_assets.links import asset_page, markdown_link, mlflow_page, run_page
from credit_assets.masking import masked_url
from credit_assets.places import database_url
from credit_assets.tracking.database import artifact_location, migration_lock
from credit_assets.tracking.failures import CallOutcome, failures, kind_of
from credit_assets.tracking.fluent import fluent, import_mlflow
from credit_assets.tracking.logins import log_in, login_of

if TYPE_CHECKING:
    import dagster as dg
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

_T = TypeVar("_T")
# Without it MLflow opens an experiment as one of traces and prompts.
_CLASSIC = {"mlflow.experimentKind": "custom_model_development"}
# Whoever comes for the first time is shown pages of traces else, whatever kind the experiment is of.
_AS_MODELS = "?workflowType=machine_learning"
_WEB = ("http://", "https://", "sqlite:")
_COLLISION_ATTEMPTS = 5
_COLLISION_WAITED_SECONDS = 10.0


class _Open(NamedTuple):
    client: MlflowClient
    experiment: Experiment


class Pages(NamedTuple):
    """Where people reach MLflow and Dagster with a browser; empty where nobody says."""

    mlflow: str = ""
    dagster: str = ""


class _Connection:
    """What this process holds open. It does not travel: whoever gets it pickled opens its own."""

    def __init__(self) -> None:
        self.held: _Open | None = None

    def __reduce__(self) -> tuple[type[_Connection], tuple[()]]:
        return _Connection, ()


class Server:
    """MLflow at `uri`, with one experiment. Nothing is opened before it is needed."""

    def __init__(self, uri: str, experiment: str, *, store_uri: str, pages: Pages = Pages()) -> None:
        # Absolute: steps may stand elsewhere. Without a login: MLflow prints the URI, and shows it in its UI.
        self.uri, self._login = login_of(database_url(uri))
        self.experiment = experiment
        self.store_uri = store_uri
        self.pages = pages
        self._connection = _Connection()

    def __repr__(self) -> str:
        return f"Server({masked_url(self.uri)}, experiment {self.experiment})"

    def prepare(self) -> None:
        """Create or check the database's tables and the experiment, once in a process; a later call costs nothing.

        Safe to call from many processes at once: only one of them migrates, the others wait for it.
        """
        self._open()

    @property
    def client(self) -> MlflowClient:
        """Client of this server, prepared. Calls made on it directly belong inside `failures`."""
        return self._open().client

    @property
    def experiment_id(self) -> str:
        return str(self._open().experiment.experiment_id)

    def failures(self, doing: str) -> contextlib.AbstractContextManager[None]:
        """Turn what MLflow, its database and its artifact store raise into TransientError or PermanentError."""
        return failures(self.uri, doing, self._login.secrets)

    def call(self, doing: str, function: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
        """One call to MLflow inside `failures`, tried again where it collided with another process's.

        Collisions: MLflow waits 20 seconds for SQLite's lock, but SQLite gives up at once where two transactions wait
        for each other; and two that set the same new tag both insert it. MLflow has rolled the transaction back by
        then, so that calling again is safe.
        """
        attempt = 1
        with self.failures(doing):
            log_in(self.uri, self._login)
            while True:
                begun = time.monotonic()
                try:
                    return function(*args, **kwargs)
                except Exception as error:
                    waited = time.monotonic() - begun > _COLLISION_WAITED_SECONDS
                    if kind_of(error) is not CallOutcome.COLLISION or waited or attempt == _COLLISION_ATTEMPTS:
                        raise
                time.sleep(0.1 * 2**attempt * (0.5 + random.random()))
                attempt += 1

    def fluent(self) -> contextlib.AbstractContextManager[Any]:
        """The `mlflow` module with this server as its global one; what was set before is put back."""
        self.prepare()
        return fluent(self.uri)

    def run_link(self, run_id: str) -> dg.MetadataValue[Any]:
        """Dagster metadata: a link to the run in MLflow's UI where a server is known, else its id."""
        return self.link(f"/experiments/{self.experiment_id}/runs/{run_id}", run_id, f"run {run_id[:8]}")

    def run_file_link(self, run_id: str, file: str) -> dg.MetadataValue[Any]:
        """Dagster metadata: a link to a file of the run in MLflow's UI where a server is known, else run and file."""
        return self.link(
            f"/experiments/{self.experiment_id}/runs/{run_id}/artifacts/{file}", f"{file} of run {run_id}", file
        )

    def _make_classic(self, client: MlflowClient, found: Experiment) -> None:
        """Let an experiment that was made without it, by a person or before, open as one of models too."""
        for name, value in _CLASSIC.items():
            if name not in found.tags and found.lifecycle_stage == "active":
                client.set_experiment_tag(found.experiment_id, name, value)

    def experiment_link(self) -> dg.MetadataValue[Any]:
        """Dagster metadata: a link to the experiment in MLflow's UI where one is known, else its name."""
        return self.link(f"/experiments/{self.experiment_id}/runs{_AS_MODELS}", self.experiment)

    def link(self, page: str, text: str, label: str = "") -> dg.MetadataValue[Any]:
        """Dagster metadata: a link with a label (else the text) to a page of MLflow's UI where one is known, else the
        text.
        """
        import dagster as dg

        url = mlflow_page(self.pages.mlflow or self.uri, page)
        return dg.MetadataValue.md(markdown_link(label or text, url)) if url else dg.MetadataValue.text(text)

    def made_in(self, dagster_run_id: str = "", asset: str = "", partition: str = "") -> str:
        """Markdown: links from MLflow to the Dagster run that made something, and to its asset; nothing where nobody
        says where Dagster is.
        """
        at = self.pages.dagster
        if not at:
            return ""
        run = markdown_link(f"run {dagster_run_id[:8]}", run_page(at, dagster_run_id)) if dagster_run_id else ""
        made = markdown_link(f"{asset} {partition}", asset_page(at, asset.split("/"), partition)) if asset else ""
        return f"Dagster: {', '.join(link for link in (made, run) if link)}"

    def _open(self) -> _Open:
        log_in(self.uri, self._login)
        if self._connection.held is None:
            if not self.uri.startswith(_WEB):
                bound_connections()
            with migration_lock(self.uri):
                opened = self.call("cannot be prepared", self._connect)
            if opened.experiment.lifecycle_stage != "active":
                raise PermanentError(
                    f"MLflow experiment {self.experiment!r} is deleted: restore it with `mlflow experiments restore -x "
                    f"{opened.experiment.experiment_id}` or name another one in CREDIT_EXPERIMENT"
                )
            self._connection.held = opened
        return self._connection.held

    def _connect(self) -> _Open:
        import_mlflow()
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            location = artifact_location(self.uri, self.experiment, self.store_uri)
            try:
                made = client.create_experiment(self.experiment, location, tags=_CLASSIC)
                return _Open(client, client.get_experiment(made))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            found = client.get_experiment_by_name(self.experiment)
        if found is None:
            raise TransientError(f"MLflow experiment {self.experiment!r} is being made and deleted by others")
        self._make_classic(client, found)
        return _Open(client, found)
