"""MLflow runs: one parent for each Dagster run, one child for each variant and partition.

Belongs here: runs, what is logged to them, and how MLflow's failures are sorted. Does not belong here: registered model
versions and aliases (`registry`), and what is worth logging about a model (`credit_assets.ml`).

A child is opened through dagster-mlflow's `MlFlow`, told explicitly which run it is. Left to itself, dagster-mlflow has
these holes, which this module closes:

1. Every process migrates the database when it finds none. Parallel first steps race, and one fails with "table already
   exists". Here `prepare` does it under a lock.
2. It searches the run of the Dagster run and creates one where it finds none. Two steps that search at once create two.
   Here a parent is created, then claimed (`claims`); who loses deletes its own.
3. Its hook ends the run when the topologically last step has succeeded, and at any step's failure, while others still
   log. Here no hook is used: a step ends its own child, and `close_run` ends the parent once Dagster's run is over.
4. It means to keep a leaving process from ending the shared run, and unregisters `mlflow.end_run` from atexit. MLflow
   has since registered another function, so that every step that leaves marks the run FINISHED. Here that function is
   unregistered, and the parent is never active in any step.
5. A failed step leaves its run RUNNING or, by 4, FINISHED. Here a child ends FAILED when its body raises and KILLED
   when it is interrupted; one whose process was killed is ended as KILLED by the step's retry or by `close_run`.
6. A run that is active already is used without a word, so that one variant logs into another's run. Here that is
   refused, and nothing stays active after a child: neither runs that the body left open, nor the tracking URI and
   experiment that MLflow keeps in globals and in environment variables.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import random
import re
import shutil
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from credit_assets.failures import PermanentError, TransientError
from credit_assets.masking import Secrets, masked_url
from credit_assets.storage.claims import Claims
from credit_assets.tracking.failures import advice, is_collision, is_foreign, is_transient_here
from credit_assets.tracking.run import (
    CandidateRun,
    FinishedRun,
    application_signature,
    example_application,
    pinned,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

    from credit_assets.ml.data.portfolio import Portfolio

_T = TypeVar("_T")

SCORER_FILE = "scorer.json"
# Dagster's run status to MLflow's.
RUN_STATUS = {"SUCCESS": "FINISHED", "FAILURE": "FAILED", "CANCELED": "KILLED"}

# Set before MLflow is imported, and only where the environment does not say otherwise. Telemetry would call home from
# every step. MLflow's own 7 retries of 120 seconds keep a step waiting for minutes on a server that is not there, while
# Dagster's retry policy is the place for waiting. The rest: no copy of a uv project that happens to lie in the working
# folder in the model, no progress bars in step logs, no complaint about a missing git.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_COLLISION_ATTEMPTS = 5
_COLLISION_WAITED_SECONDS = 10.0
# Any constant: sessions that ask for the same number wait for each other.
_MIGRATION_LOCK = 7_021_935

# MLflow keeps tracking URI and experiment in globals, so that only one child at a time is open in a process.
_FLUENT = threading.RLock()

_logger = logging.getLogger(__name__)


class Tracking:
    """MLflow runs at `uri` (sqlite:///file, another database URL, or the URL of a tracking server).

    Costs nothing to construct: mlflow is imported and the server asked when a method needs it. All methods raise
    TransientError where a retry may help (no answer, 5xx, locked database) and PermanentError where it cannot.

    `artifact_root`: where files go when `uri` is a database; beside an SQLite file, else in the store.
    `cache_dir`: where models of a remote server are kept; the user's cache folder by default.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        claims: Claims,
        *,
        artifact_root: str | None = None,
        cache_dir: Path | None = None,
    ) -> None:
        self.uri = _absolute(uri)
        self.experiment = experiment
        self.claims = claims
        self._artifact_root = artifact_root
        self._cache_dir = cache_dir
        self._client: MlflowClient | None = None
        self._experiment: Experiment | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_client": None, "_experiment": None}

    def describe(self) -> str:
        """URI with the password masked, and experiment: for people and logs."""
        return f"{masked_url(self.uri)}, experiment {self.experiment}"

    def __repr__(self) -> str:
        return f"Tracking({self.describe()})"

    def ping(self) -> None:
        """Ask the server for something. Raises TransientError or PermanentError, saying what to do."""
        self.prepare()

    # Connection

    def prepare(self) -> None:
        """Create or check the database's tables and the experiment, once in a process; a later call costs nothing.

        Safe to call from many processes at once: only one of them migrates, the others wait for it.
        """
        if self._experiment is not None:
            return
        with self._preparing():
            found = self.call("cannot be prepared", self._open)
        if found.lifecycle_stage != "active":
            raise PermanentError(
                f"MLflow experiment {self.experiment!r} is deleted: restore it with `mlflow experiments restore -x "
                f"{found.experiment_id}` or name another one in CREDIT_EXPERIMENT"
            )
        self._experiment = found

    def _open(self) -> Experiment:
        _import_mlflow()
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self._client = client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                return client.get_experiment(client.create_experiment(self.experiment, self._artifact_location()))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = client.get_experiment_by_name(self.experiment)
        assert found is not None
        return found

    @property
    def client(self) -> MlflowClient:
        """Client of this server, prepared. Calls made on it directly belong inside `failures`."""
        self.prepare()
        assert self._client is not None
        return self._client

    @property
    def experiment_id(self) -> str:
        self.prepare()
        assert self._experiment is not None
        return str(self._experiment.experiment_id)

    @contextlib.contextmanager
    def failures(self, doing: str) -> Iterator[None]:
        """Turn what MLflow, its database and its artifact store raise into TransientError or PermanentError."""
        failure = cause = None
        try:
            yield
        except (TransientError, PermanentError):
            raise
        except Exception as error:
            if not is_foreign(error):
                raise
            secrets = Secrets([self.uri])
            text = secrets.hide(str(getattr(error, "message", None) or error))
            text = f"MLflow at {masked_url(self.uri)} {doing}: {text}"
            failure = (
                TransientError(text) if is_transient_here(error) else PermanentError(f"{text}{advice(error, self.uri)}")
            )
            # The original's text may carry the password, and Dagster records causes.
            cause = None if secrets else error
        if failure is not None:
            raise failure from cause

    def call(self, doing: str, function: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
        """One call to MLflow inside `failures`, tried again where it collided with another process's.

        Collisions: MLflow waits 20 seconds for SQLite's lock, but SQLite gives up at once where two transactions wait
        for each other; and two that set the same new tag both insert it. MLflow has rolled the transaction back by
        then, so that calling again is safe.
        """
        for attempt in range(1, _COLLISION_ATTEMPTS + 1):
            begun = time.monotonic()
            try:
                with self.failures(doing):
                    return function(*args, **kwargs)
            except TransientError as error:
                waited = time.monotonic() - begun > _COLLISION_WAITED_SECONDS
                if not is_collision(error) or waited or attempt == _COLLISION_ATTEMPTS:
                    raise
            time.sleep(0.1 * 2**attempt * (0.5 + random.random()))
        raise AssertionError("unreachable")

    @contextlib.contextmanager
    def _preparing(self) -> Iterator[None]:
        """Hold what keeps other processes from migrating the same database. A server migrates its own."""
        scheme = urlsplit(self.uri).scheme.split("+")[0]
        if scheme == "sqlite":
            from filelock import FileLock, Timeout

            file = _sqlite_file(self.uri)
            lock = FileLock(f"{file}.lock", timeout=120)
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                lock.acquire()
            except Timeout as error:
                raise TransientError(f"{file}.lock is held by another process for two minutes") from error
            except OSError as error:
                raise PermanentError(
                    f"the MLflow database {file} cannot be opened ({error}); see that its folder can be written, or "
                    "name another place in MLFLOW_TRACKING_URI"
                ) from error
            try:
                yield
            finally:
                lock.release()
        elif scheme in _DATABASES:
            with self._database_lock(scheme):
                yield
        elif scheme in ("http", "https", "databricks", "uc") or self.uri == "databricks":
            yield
        else:
            raise PermanentError(
                f"MLFLOW_TRACKING_URI {masked_url(self.uri)!r} is neither a database nor a server: use "
                "sqlite:////path/mlflow.db, postgresql://... or http(s)://server"
            )

    @contextlib.contextmanager
    def _database_lock(self, scheme: str) -> Iterator[None]:
        # Asked for first, with a timeout: MLflow tries a database that is not there for more than a minute.
        with contextlib.ExitStack() as stack:
            with self.failures("cannot be reached"):
                import sqlalchemy as sa

                arguments = {"connect_timeout": 10} if scheme in ("postgresql", "mysql") else {}
                engine = sa.create_engine(self.uri, poolclass=sa.NullPool, connect_args=arguments)
                connection = stack.enter_context(engine.connect())
                if scheme == "postgresql":
                    # Given back by the server when the connection ends, however it ends.
                    connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
            yield

    def _artifact_location(self) -> str | None:
        """Where files of the experiment go; None leaves it to the server.

        MLflow's own default for a database is ./mlruns: of whatever folder a process happens to stand in.
        """
        scheme = urlsplit(self.uri).scheme.split("+")[0]
        if scheme not in _DATABASES:
            return None
        root = self._artifact_root
        if root is None and scheme == "sqlite":
            root = str(_sqlite_file(self.uri).parent / "artifacts")
        elif root is None:
            root = f"{self.claims.store_uri.rstrip('/')}/mlflow"
        if "://" not in root:
            root = Path(root).absolute().as_uri()
        return f"{root.rstrip('/')}/{re.sub(r'[^A-Za-z0-9_.-]+', '_', self.experiment)}"

    # Runs

    def parent_run(self, dagster_run_id: str, job_name: str, tags: Mapping[str, str] | None = None) -> str:
        """The MLflow run of a Dagster run, the same for all its steps; made by the first of them."""
        client = self.client
        everything = {
            **(tags or {}),
            "role": "parent",
            "dagster_run_id": dagster_run_id,
            "dagster_job": job_name,
            "mlflow.source.name": job_name,
            "mlflow.source.type": "JOB",
        }

        def create() -> str:
            # Written first: it tells `close_run` that there may be something to close, whatever happens next.
            self.claims.claim(_opened(dagster_run_id), "yes")
            name = f"{job_name} {dagster_run_id[:8]}"
            run = self.call(
                "cannot create a run", client.create_run, self.experiment_id, tags=everything, run_name=name
            )
            return str(run.info.run_id)

        def alive(run_id: str) -> bool:
            return self._exists(run_id)

        def discard(run_id: str) -> None:
            self.call("cannot delete a run", client.delete_run, run_id)

        return self.claims.single(_parent(dagster_run_id), create=create, alive=alive, discard=discard)

    def find_finished(
        self, asset: str, partition: str, fingerprint: str, *, ended_after: datetime | None = None
    ) -> FinishedRun | None:
        """The finished run of this asset, partition and fingerprint, made the one that counts; None where none is.

        Parameters of a run cannot be changed and metrics only added, so that a run is never resumed: it is used as it
        is, or another is made. Of several with the same fingerprint (two Dagster runs at once) the first counts. Its
        mark is taken away in case another fingerprint had superseded it; the others get one. Runs that ended before
        `ended_after` are as if they were not there.
        """
        runs = self._finished(asset, partition)
        same = _equal(runs, fingerprint, ended_after)
        if not same:
            return None
        chosen = min(same, key=_order)
        self._settle(runs, chosen)
        return FinishedRun(self, chosen.info.run_id, dict(chosen.data.tags), dict(chosen.data.metrics))

    @contextlib.contextmanager
    def candidate_run(
        self,
        *,
        dagster_run_id: str,
        job_name: str,
        asset: str,
        partition: str,
        variant: str,
        fingerprint: str,
        tags: Mapping[str, str] | None = None,
        ended_after: datetime | None = None,
        log: Any = _logger,
    ) -> Iterator[CandidateRun]:
        """A new child run of the Dagster run's parent, open for the body and ended after it.

        FINISHED when the body is done, FAILED when it raises, KILLED when it is interrupted. Finished, it supersedes
        the runs of the same asset and partition with other fingerprints, and those with its own that ended before
        `ended_after`. Runs that an earlier attempt of the same step
        left RUNNING are ended as KILLED and superseded.
        """
        client = self.client
        from mlflow import active_run

        with _FLUENT:
            active = active_run()
            if active is not None:
                raise PermanentError(
                    f"MLflow run {active.info.run_id} is active in this process, and the candidate would be logged "
                    "into it; end it with mlflow.end_run() first"
                )
            parent = self.parent_run(dagster_run_id, job_name)
            left_over = self._search(
                f"tags.dagster_run_id = '{_quoted(dagster_run_id)}' and tags.asset = '{_quoted(asset)}' "
                f"and tags.partition = '{_quoted(partition)}' and attributes.status = 'RUNNING'"
            )
            name = f"{asset} {partition}"
            everything = {
                **{key: str(value) for key, value in (tags or {}).items()},
                "role": "candidate",
                "dagster_run_id": dagster_run_id,
                "dagster_job": job_name,
                "asset": asset,
                "partition": partition,
                "variant": variant,
                "fingerprint": fingerprint,
                "mlflow.parentRunId": parent,
                "mlflow.source.name": job_name,
                "mlflow.source.type": "JOB",
            }
            created = self.call(
                "cannot create a run", client.create_run, self.experiment_id, tags=everything, run_name=name
            )
            run_id = str(created.info.run_id)
            for run in left_over:
                self._mark(run, run_id)
                self.call("cannot end a run", client.set_terminated, run.info.run_id, "KILLED")
            with _opened_by_dagster_mlflow(self, run_id, dagster_run_id, name, log) as resource:
                yield CandidateRun(self, run_id, resource)
            runs = self._finished(asset, partition)
            self._settle(runs, min(_equal(runs, fingerprint, ended_after), key=_order))

    def close_run(self, dagster_run_id: str, status: str) -> None:
        """End what a Dagster run has left open. `status` is Dagster's: SUCCESS, FAILURE or CANCELED.

        The parent ends FINISHED, FAILED or KILLED. A child that is still RUNNING ends KILLED whatever the status is: a
        step ends its own, so this one's process was killed. Where no MLflow run was made this is one look into
        the store; calling it again changes nothing.
        """
        if status not in RUN_STATUS:
            raise ValueError(f"{status!r} is no final status of a Dagster run: {', '.join(RUN_STATUS)}")
        if self.claims.get(_opened(dagster_run_id)) is None:
            return
        client = self.client
        parents = self.claims.holders(_parent(dagster_run_id))
        running = self._search(f"tags.dagster_run_id = '{_quoted(dagster_run_id)}' and attributes.status = 'RUNNING'")
        # Children first: whoever sees the parent ended sees its children ended.
        for run in sorted(running, key=lambda run: run.data.tags.get("role") == "parent"):
            run_id = run.info.run_id
            if run.data.tags.get("role") != "parent":
                self.call("cannot end a run", client.set_terminated, run_id, "KILLED")
            elif run_id in parents or not parents:
                self.call("cannot end a run", client.set_terminated, run_id, RUN_STATUS[status])
            else:
                # Made by a step that lost the claim and was killed before it could delete it.
                self.call("cannot delete a run", client.delete_run, run_id)

    def _end(self, run_id: str, status: str) -> None:
        try:
            self.call("cannot end a run", self.client.set_terminated, run_id, status)
        except (TransientError, PermanentError):
            if status == "FINISHED":
                raise
            # What the body raised says more. The run stays RUNNING until the step's retry or `close_run`.
            _logger.warning("MLflow run %s could not be ended as %s", run_id, status)

    def _finished(self, asset: str, partition: str) -> list[Run]:
        return self._search(
            f"tags.role = 'candidate' and tags.asset = '{_quoted(asset)}' "
            f"and tags.partition = '{_quoted(partition)}' and attributes.status = 'FINISHED'"
        )

    def _settle(self, runs: Sequence[Run], chosen: Run) -> None:
        """One run counts, all others are marked. In this order: stopped halfway, too many count, never none."""
        if "superseded_by" in chosen.data.tags:
            self.call("cannot change a tag", self.client.delete_tag, chosen.info.run_id, "superseded_by")
        for run in runs:
            if run.info.run_id != chosen.info.run_id and "superseded_by" not in run.data.tags:
                self._mark(run, chosen.info.run_id)

    def _mark(self, run: Run, by: str) -> None:
        self.call("cannot set a tag", self.client.set_tag, run.info.run_id, "superseded_by", by)

    def _exists(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        def look() -> bool:
            try:
                return bool(self.client.get_run(run_id).info.lifecycle_stage == "active")
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return False
                raise

        return self.call("cannot read a run", look)

    def _search(self, where: str) -> list[Run]:
        runs: list[Run] = []
        token = None
        while True:
            page = self.call(
                "cannot search runs", self.client.search_runs, [self.experiment_id], where, page_token=token
            )
            runs.extend(page)
            token = page.token
            if not token:
                return runs

    # Models and files

    def log_candidate(
        self, run: CandidateRun, trained: Any, record: Mapping[str, Any], table: pa.Table, portfolio: Portfolio
    ) -> str:
        """All that a validator looks for on the run of a candidate (`credit_assets.ml.learners.candidates.Candidate`).

        Parameters, metrics of each split, metrics over rounds, data set with digest, feature list, figures, and the
        model with its drift reference, signature and an input example that is no applicant's. Returns the model's URI.
        """
        from credit_assets.ml.reports.figures import candidate_figures

        run.log_params(
            {
                **trained.params,
                "variant": record["variant"],
                "seed": record["identity"]["seed"],
                "threads": record.get("threads"),
                "best_rounds": trained.best_rounds,
                "portfolio": portfolio.name,
            }
        )
        run.log_metrics(
            {
                f"{split}_{name}": value
                for split, values in record["metrics"].items()
                for name, value in values.items()
                if isinstance(value, int | float) and not isinstance(value, bool)
            }
        )
        run.log_dataset(
            "training_set",
            digest=record["identity"]["data"],
            table=table,
            source=f"{self.claims.store_uri.rstrip('/')}/training_set/{record['as_of']}.parquet",
            target="default",
        )
        with tempfile.TemporaryDirectory(prefix="scorer-") as folder:
            scorer_dir = Path(folder) / "scorer"
            trained.scorer.save(scorer_dir)
            trained.reference.save(scorer_dir)
            model_uri = run.log_model(
                scorer_dir,
                input_example=example_application(table, portfolio),
                signature=application_signature(portfolio),
                pip_requirements=pinned("credit-assets", "mlflow", "numpy", "pandas", record["variant"]),
            )
        run.log_metrics_history(trained.history)
        run.log_dict({"features": list(portfolio.feature_names), "monotone": dict(portfolio.monotone)}, "features.json")
        for name, figure in candidate_figures(trained).items():
            run.log_figure(figure, f"figures/{name}.png")
        return model_uri

    def download(self, model_uri: str) -> Path:
        """Local folder of a logged model's own files (`scorer.json`, the native model file, `reference.json`).

        `model_uri` is `models:/m-...` as `log_model` gave it. A model on a local path is read in place; one on a server
        is fetched once and kept. Raises PermanentError where it is not there or holds no scorer.
        """
        model_id = model_uri.removeprefix("models:/").strip("/")
        if not re.fullmatch(r"m-[0-9a-f]+", model_id):
            raise PermanentError(f"{model_uri!r} is not the URI of a logged model (models:/m-...)")
        client = self.client
        cached = self._cache_folder() / model_id
        if cached.is_dir():
            return _scorer_folder(cached, model_uri)
        location = self.call("cannot read a model", client.get_logged_model, model_id).artifact_location
        local = _local_path(location)
        if local is not None:
            return _scorer_folder(local, model_uri)
        cached = self._writable_cache() / model_id
        aside = cached.with_name(f".{model_id}.{uuid.uuid4().hex}.tmp")
        try:
            # The last part of the location appears again below the folder asked for.
            fetched = self._fetch(location, aside, f"cannot fetch {model_uri}")
            _scorer_folder(fetched, model_uri)
            try:
                fetched.rename(cached)
            except OSError:
                # Another process was first. A model is never changed, so theirs is as good.
                if not cached.is_dir():
                    raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return _scorer_folder(cached, model_uri)

    def _fetch(self, location: str, target: Path, doing: str) -> Path:
        from mlflow.artifacts import download_artifacts

        target.mkdir(parents=True, exist_ok=True)
        return Path(
            self.call(
                doing,
                download_artifacts,
                artifact_uri=location,
                dst_path=str(target),
                tracking_uri=self.uri,
                registry_uri=self.uri,
            )
        )

    def _cache_folder(self) -> Path:
        if self._cache_dir is None:
            root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            self._cache_dir = root / "credit-assets" / "models"
        return self._cache_dir

    def _writable_cache(self) -> Path:
        folder = self._cache_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            # A container without a writable home: fetched again by every process, which is slower and right.
            self._cache_dir = folder = Path(tempfile.mkdtemp(prefix="credit-assets-models-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return folder

    # Links

    def run_link(self, run_id: str) -> Any:
        """Dagster metadata: a link to the run in MLflow's UI where a server is known, else its id."""
        return self.link(f"/experiments/{self.experiment_id}/runs/{run_id}", run_id)

    def link(self, page: str, text: str) -> Any:
        import dagster as dg

        parts = urlsplit(self.uri)
        if parts.scheme not in ("http", "https"):
            return dg.MetadataValue.text(text)
        # Without user and password.
        host = parts.netloc.rsplit("@", 1)[-1]
        return dg.MetadataValue.url(urlunsplit((parts.scheme, host, parts.path.rstrip("/") + "/", "", page)))

    @contextlib.contextmanager
    def fluent(self) -> Iterator[Any]:
        """The `mlflow` module with this server as its global one; what was set before is put back."""
        with _FLUENT, _globals_put_back() as mlflow:
            mlflow.set_tracking_uri(self.uri)
            yield mlflow


# MLflow's globals


def _import_mlflow() -> None:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401


@contextlib.contextmanager
def _globals_put_back() -> Iterator[Any]:
    """MLflow keeps URI, experiment and run in globals, and exports them for subprocesses: put all of them back."""
    import mlflow
    import mlflow.tracking._tracking_service.utils as service
    import mlflow.tracking.fluent as fluent

    names = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID")
    before = {name: os.environ.get(name) for name in names}
    uri, experiment = service._tracking_uri, fluent._active_experiment_id
    try:
        yield mlflow
    finally:
        mlflow.set_tracking_uri(uri)  # type: ignore[arg-type]
        fluent._active_experiment_id = experiment
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _opened_by_dagster_mlflow(
    tracking: Tracking, run_id: str, dagster_run_id: str, name: str, log: Any
) -> Iterator[Any]:
    """dagster-mlflow's resource on exactly this run; afterwards nothing of it is left in MLflow's globals."""
    with tracking.fluent() as mlflow:
        with warnings.catch_warnings():
            # dagster-mlflow calls itself a beta, at each import and each use.
            warnings.simplefilter("ignore")
            import mlflow.tracking.fluent as fluent
            from dagster_mlflow.resources import MlFlow

            # What dagster-mlflow reads of Dagster's init context. It gives the run the name of the job.
            context = SimpleNamespace(
                log=log,
                run_id=dagster_run_id,
                dagster_run=SimpleNamespace(job_name=name),
                resource_config={
                    "experiment_name": tracking.experiment,
                    "mlflow_tracking_uri": tracking.uri,
                    "mlflow_run_id": run_id,
                    "env": {},
                },
            )
        status, ended = "FAILED", False
        try:
            with tracking.failures("cannot open a run"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                resource = MlFlow(context)
            # dagster-mlflow unregisters end_run, which MLflow no longer registers.
            atexit.unregister(fluent._safe_end_run)
            yield resource
            status = "FINISHED"
        except Exception:
            raise
        except BaseException:
            # KeyboardInterrupt, or Dagster's interruption of a step that is being cancelled.
            status = "KILLED"
            raise
        finally:
            # end_run takes a run off the stack before it tells the server, so that this comes to an end also where the
            # server is away. Runs that the body opened and left go with it.
            while (active := mlflow.active_run()) is not None:
                ours = active.info.run_id == run_id
                with contextlib.suppress(Exception):
                    mlflow.end_run(status if ours else "KILLED")
                    ended = ended or ours
            if not ended:
                tracking._end(run_id, status)


# Names and places


def _opened(dagster_run_id: str) -> str:
    return f"mlflow-runs/{dagster_run_id}/opened"


def _parent(dagster_run_id: str) -> str:
    return f"mlflow-runs/{dagster_run_id}/parent"


def _equal(runs: Sequence[Run], fingerprint: str, ended_after: datetime | None) -> list[Run]:
    earliest = ended_after.timestamp() * 1000 if ended_after else 0
    return [run for run in runs if run.data.tags.get("fingerprint") == fingerprint and run.info.end_time >= earliest]


def _order(run: Run) -> tuple[int, str]:
    return (run.info.end_time or 0, run.info.run_id)


def _quoted(value: str) -> str:
    if "'" in value:
        raise ValueError(f"{value!r} cannot be searched in MLflow: it contains a quote")
    return value


def _absolute(uri: str) -> str:
    """An SQLite file given relative to this process's folder is made absolute: steps may stand elsewhere."""
    if not uri.startswith("sqlite:///"):
        return uri
    file, mark, options = uri.removeprefix("sqlite:///").partition("?")
    return f"sqlite:///{Path(file).expanduser().absolute()}{mark}{options}" if file else uri


def _sqlite_file(uri: str) -> Path:
    file = uri.removeprefix("sqlite:///").partition("?")[0]
    if not uri.startswith("sqlite:///") or not file or file.endswith(":memory:"):
        raise PermanentError("MLFLOW_TRACKING_URI must name a file (sqlite:////path/mlflow.db): steps share it")
    return Path(file)


def _local_path(location: str) -> Path | None:
    from urllib.request import url2pathname

    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(location) if parts.scheme == "" else None


def _scorer_folder(model_dir: Path, model_uri: str) -> Path:
    import yaml

    try:
        flavors = yaml.safe_load((model_dir / "MLmodel").read_text("utf-8"))["flavors"]
        folder = model_dir / flavors["python_function"]["data"]
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise PermanentError(f"{model_uri}: no readable MLmodel in {model_dir} ({error})") from error
    if not (folder / SCORER_FILE).is_file():
        raise PermanentError(f"{model_uri} holds no {SCORER_FILE}: it was not logged by this pipeline")
    return folder
