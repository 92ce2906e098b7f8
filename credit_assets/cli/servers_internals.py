"""The door to how Dagster and MLflow start their web servers: each of them with the guard around its application.

Belongs here: the names of theirs that are replaced, and that a version without such a name does not start. Neither has
a public way to put middleware around what it serves: `dagster dev` starts `python -m dagster_webserver`, and
`mlflow server --app-name` takes entry points of installed packages, which a checkout on the path is not. Does not
belong here: the rules (`guard`), ports, and when the servers end (`dev`).

    python -m credit_assets.cli.servers_internals dagster dev -m credit_assets.definitions -p 3000
    python -m credit_assets.cli.servers_internals mlflow server --port 5000
    python -m credit_assets.cli.servers_internals mlflow-of-pipeline server --port 5000
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from credit_assets.cli.guard import Guard, HostNames

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from credit_assets.cli.mlflow_login import PipelineWrites

LISTENS, NAMES = "GUARD_LISTENS", "GUARD_NAMES"
"""Variables that carry the address and the names to the processes that serve; without them loopback alone."""
FIRST_PAGE = "/asset-groups"
"""The lineage. Dagster's own first page has the runs of a daemon alone: of a new home, and of the demo, it is empty."""
_THIS = "credit_assets.cli.servers_internals"
_WEBSERVER, _DAEMON = "dagster_webserver", "dagster._daemon"
_OF_PIPELINE = "mlflow-of-pipeline"
"""MLflow of a deployment, which has a proxy in front of it: it is for all to read and for the pipeline to write."""


def main(arguments: Sequence[str]) -> None:
    """Run the command line of one of the programs, whose web server then has the guard."""
    program, *rest = arguments
    sys.argv = [program, *rest]
    {
        "dagster": _dagster_dev,
        _WEBSERVER: _dagster_webserver,
        "mlflow": _mlflow_server,
        _OF_PIPELINE: _mlflow_of_pipeline,
    }[program]()


def guarded(app: ASGIApp) -> Guard:
    """The application with the guard around it, as the variables say."""
    given = tuple(name for name in os.environ.get(NAMES, "").split(",") if name)
    return Guard(app, HostNames(os.environ.get(LISTENS, "127.0.0.1"), given))


def first_page(app: ASGIApp) -> ASGIApp:
    """The application, whose address alone opens `FIRST_PAGE`."""

    async def opened(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/":
            from starlette.responses import RedirectResponse

            await RedirectResponse(FIRST_PAGE)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return opened


def mlflow_app() -> Guard:
    """MLflow's application with the guard; what uvicorn is told to make."""
    from mlflow.server.fastapi_app import app

    return guarded(app)


def mlflow_app_of_pipeline() -> PipelineWrites:
    """MLflow's application, which only the pipeline's login changes; what uvicorn is told to make."""
    from mlflow.server.fastapi_app import app

    from credit_assets.cli.mlflow_login import pipeline_writes

    return pipeline_writes(app)


def _dagster_dev() -> None:
    dev = import_module("dagster._cli.dev")
    _replace(dev, "open_ipc_subprocess", lambda start: partial(_started, start))
    import_module("dagster._cli").main()


def _started(start: Callable[..., Any], command: Sequence[str], **options: Any) -> Any:
    """What `dagster dev` starts: the daemon as it is, its web server by this module."""
    place = command.index("-m") + 1
    if command[place] not in (_WEBSERVER, _DAEMON):
        raise RuntimeError(f"dagster dev starts {command[place]}, which nothing is known of here")
    inserted = [_THIS] if command[place] == _WEBSERVER else []
    return start([*command[:place], *inserted, *command[place:]], **options)


def _dagster_webserver() -> None:
    webserver = import_module("dagster_webserver.cli")
    _replace(
        webserver,
        "create_app_from_workspace_process_context",
        lambda make: lambda *given, **named: guarded(first_page(make(*given, **named))),
    )
    webserver.main()


def _mlflow_server() -> None:
    _serve_mlflow("mlflow_app")


def _mlflow_of_pipeline() -> None:
    from credit_assets.cli.mlflow_login import pipeline_writes

    pipeline_writes(_nothing)  # Refused here, once, and not by each worker that uvicorn starts again.
    sys.argv[0] = "mlflow"
    _serve_mlflow("mlflow_app_of_pipeline")


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None: ...


def _serve_mlflow(made_by: str) -> None:
    """MLflow's server, with an application that a function of this module makes."""

    def with_guard(build: Callable[..., list[str]]) -> Callable[..., list[str]]:
        """The command with another application, which is made by a function."""
        return lambda *given, **named: [*build(*given, **named)[:-1], "--factory", f"{_THIS}:{made_by}"]

    _replace(import_module("mlflow.server"), "_build_uvicorn_command", with_guard)
    import_module("mlflow.cli").cli()


def _replace(module: ModuleType, name: str, by: Callable[[Any], Any]) -> None:
    if not hasattr(module, name):
        raise RuntimeError(f"{module.__name__} has no {name}: this version of it cannot be started with the guard")
    setattr(module, name, by(getattr(module, name)))


if __name__ == "__main__":
    main(sys.argv[1:])
