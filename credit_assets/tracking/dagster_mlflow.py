"""Opening one MLflow run through dagster-mlflow, and ending it as its body ends.

Belongs here: what has to be done around dagster-mlflow's resource. Does not belong here: which run that is (`runs`).

Told explicitly which run it is, the resource opens that one. Left to itself, dagster-mlflow has these holes, which this
package closes:

1. Every process migrates the database when it finds none. Parallel first steps race, and one fails with "table already
   exists". Here `Server.prepare` does it under a lock.
2. It searches the run of the Dagster run and creates one where it finds none. Two steps that search at once create two.
   Here a parent is created, then claimed (`claims`); who loses deletes its own.
3. Its hook ends the run when the topologically last step has succeeded, and at any step's failure, while others still
   log. Here no hook is used: a step ends its own child, and `Runs.close` ends the parent once Dagster's run is over.
4. It means to keep a leaving process from ending the shared run, and unregisters `mlflow.end_run` from atexit. MLflow
   has since registered another function, so that every step that leaves marks the run FINISHED. Here a process that
   leaves in the midst of a child ends it as KILLED before MLflow's turn, and the parent is never active in any step.
5. A failed step leaves its run RUNNING or, by 4, FINISHED. Here a child ends FAILED when its body raises and KILLED
   when it is interrupted; one whose process was killed is ended as KILLED by the step's retry or by `Runs.close`.
6. A run that is active already is used without a word, so that one variant logs into another's run. Here that is
   refused, and nothing stays active after a child: neither runs that the body left open, nor the tracking URI and
   experiment that MLflow keeps in globals and in environment variables.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from credit_assets.failures import PermanentError, TransientError
from credit_assets.tracking.server import Server

if TYPE_CHECKING:
    import dagster as dg

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DagsterStep:
    """The Dagster step that a run is made in."""

    dagster_run_id: str
    job_name: str
    log: dg.DagsterLogManager | None = None
    instance: dg.DagsterInstance | None = None
    """Without one Dagster makes one for the moment, which costs more than opening the run."""


def refuse_active_run() -> None:
    """Raises PermanentError where a run is active in this process."""
    from mlflow import active_run

    if (active := active_run()) is not None:
        raise PermanentError(
            f"MLflow run {active.info.run_id} is active in this process, and the candidate would be logged "
            "into it; end it with mlflow.end_run() first"
        )


@contextlib.contextmanager
def opened_by_dagster_mlflow(server: Server, run_id: str, name: str, step: DagsterStep) -> Iterator[None]:
    """This run active in MLflow for the body, and ended after it: FINISHED, FAILED or, interrupted, KILLED.

    Afterwards nothing of it is left in MLflow's globals.
    """
    with server.fluent() as mlflow, contextlib.ExitStack() as opened:
        status = "FAILED"
        try:
            with server.failures("cannot open a run"):
                opened.enter_context(_resource(server, run_id, name, step))
            # Last in, first out: before what MLflow registered when it was imported.
            atexit.register(_end_active, mlflow)
            opened.callback(atexit.unregister, _end_active)
            yield
            status = "FINISHED"
        except Exception:
            raise
        except BaseException:
            # KeyboardInterrupt, or Dagster's interruption of a step that is being cancelled.
            status = "KILLED"
            raise
        finally:
            if not _end_active(mlflow, run_id, status):
                _end(server, run_id, status)


@contextlib.contextmanager
def _resource(server: Server, run_id: str, name: str, step: DagsterStep) -> Iterator[None]:
    import dagster as dg

    config = {
        "experiment_name": server.experiment,
        "mlflow_tracking_uri": server.uri,
        "mlflow_run_id": run_id,
        "env": {},
        "extra_tags": {},
    }
    with contextlib.ExitStack() as stack:
        with warnings.catch_warnings():
            # dagster-mlflow calls itself a beta, at each import and each use.
            warnings.simplefilter("ignore")
            from dagster_mlflow import mlflow_tracking

            resources = dg.build_resources(
                {"mlflow": mlflow_tracking},
                instance=step.instance,
                resource_config={"mlflow": {"config": config}},
                # dagster-mlflow gives the MLflow run the name of the job.
                dagster_run=dg.DagsterRun(job_name=name, run_id=step.dagster_run_id),
                log_manager=step.log,
            )
            try:
                stack.enter_context(resources)
            except dg.DagsterResourceFunctionError as error:
                raise error.user_exception from error
        yield


def _end_active(mlflow: Any, run_id: str = "", status: str = "KILLED") -> bool:
    """End all runs that are active here, `run_id` with `status` and others, which the body opened and left, as KILLED.

    Returns whether `run_id` ended on the server.
    """
    ended = False
    # end_run takes a run off the stack before it tells the server, so that this comes to an end also where the server
    # is away.
    while (active := mlflow.active_run()) is not None:
        ours = active.info.run_id == run_id
        with contextlib.suppress(Exception):
            mlflow.end_run(status if ours else "KILLED")
            ended = ended or ours
    return ended


def _end(server: Server, run_id: str, status: str) -> None:
    try:
        server.call("cannot end a run", server.client.set_terminated, run_id, status)
    except (TransientError, PermanentError):
        if status == "FINISHED":
            raise
        # What the body raised says more. The run stays RUNNING until the step's retry or `Runs.close`.
        _logger.warning("MLflow run %s could not be ended as %s", run_id, status)
