"""The Dagster instance of one machine: its folder and the dagster.yaml in it.

Belongs here: what the command line, `doctor` and `make dev` all need before they open the instance, and the repair of
what earlier versions wrote. Does not belong here: the instance of a cluster, which the Helm chart configures.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from credit_assets.aside import aside
from credit_assets.databases import bound_connections
from credit_assets.failures import PermanentError, TransientError, advised, is_ours, is_transient
from credit_assets.health import first_line
from credit_assets.instance.retries import quiet_retries
from credit_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

CONFIG_FILE = "dagster.yaml"

CONFIG = """\
# Dagster instance of one machine, written by credit-assets. Change it and it is yours: it is never overwritten then.
# Delete it to get the defaults back. Every key: https://docs.dagster.io/deployment/oss/oss-instance-configuration
# With several machines or many users, use PostgreSQL (dagster-postgres) instead of the storages below.

# Events of all runs in one file (event_log.db in this folder), written in batches: about 40 times as fast as
# Dagster's default for a run over many days. Runs and schedules keep Dagster's own SQLite files.
# The folder is taken from DAGSTER_HOME, so that this folder can be moved.
event_log_storage:
  module: credit_assets.instance.event_log
  class: EmbeddedEventLogStorage
  config:
    base_dir:
      env: DAGSTER_HOME

# Runs beyond the limit wait in the queue of the daemon. Two of them keep a laptop usable: each run trains up to
# CREDIT_MAX_CONCURRENT models side by side already.
concurrency:
  runs:
    max_concurrent_runs: 2
  # Steps that name a pool take turns across all runs, one at a time where the pool has no limit of its own.
  pools:
    default_limit: 1
    granularity: op

# Runs whose process died are started again. A step that failed has had its own retries: the run is not repeated.
run_retries:
  enabled: true
  max_retries: 2
  retry_on_asset_or_op_failure: false

# A local run whose process was killed outright cannot report it. So: a run that does not start or cancel in time
# fails, and none runs for longer than twelve hours. Pool slots of ended runs are given back after a minute.
run_monitoring:
  enabled: true
  start_timeout_seconds: 300
  cancel_timeout_seconds: 180
  max_runtime_seconds: 43200
  free_slots_after_run_end_seconds: 60
  poll_interval_seconds: 60

# Sensors side by side: a mail server that does not answer holds up the alert only.
sensors:
  use_threads: true
  num_workers: 4

# Days for which ticks are kept.
retention:
  schedule:
    purge_after_days:
      skipped: 30
      success: 365
      failure: 365
      started: 30
  sensor:
    purge_after_days:
      skipped: 3
      success: 90
      failure: 90
      started: 30

# Nothing is reported to anybody.
telemetry:
  enabled: false
nux:
  enabled: false
"""

_AWAY = f"its PostgreSQL does not answer; see that it runs, and `storage` in the {CONFIG_FILE} there"

# What earlier versions wrote, by its SHA-256. A file that is still that is written anew.
_EARLIER = {
    "94d5ffc58429dd65d5b6c012acba93dace595d5adc9c2e3a5d3dbb0ec5c4c010",
    "1637ae1a47cae5b3a796fbbef1052ea6bb62b371bc3447b6992d8477c6da4e79",
    "bc6a24ee079c9448391e47157be68a378425cae4c39d8a909be3bf046e78d52e",
}
# Classes that they name and that are elsewhere or no more, with what to do about them in a file that was changed.
_GONE = {
    "credit_assets.resources.event_log": "write credit_assets.instance.event_log in its place",
    "credit_assets.resources.compute_logs": "take out the section compute_logs: Dagster's default does the same",
    "credit_assets.instance.compute_logs": "take out the section compute_logs: Dagster's default does the same",
}


def ensure_instance(settings: Settings) -> Path:
    """The Dagster folder of these settings, created with a dagster.yaml where it has none; returns it, absolute.

    Sets DAGSTER_HOME for this process and those it starts. A dagster.yaml that an earlier version wrote is written
    anew. Raises PermanentError where the folder cannot be used, or where a dagster.yaml that somebody changed names
    what is no more.
    """
    folder = settings.dagster_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / CONFIG_FILE
        if not config.exists():
            _create(config)
        else:
            _repair(config)
    except OSError as error:
        raise PermanentError(
            f"the Dagster folder {folder} cannot be used ({error.strerror or error}); "
            "make it writable or set DAGSTER_HOME to another folder"
        ) from error
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


@contextmanager
def instance_of(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The open instance of these settings, its folder made where it is not there, and DAGSTER_HOME set meanwhile: what
    is opened next in the same process may be another home.

    Raises PermanentError, or TransientError where another process holds it, where it cannot be opened; PermanentError
    where it, or the store, is another book's.
    """
    from credit_assets.instance.ownership import refuse_foreign

    with ExitStack() as stack:
        stack.callback(_set_home, os.environ.get("DAGSTER_HOME"))
        folder = ensure_instance(settings)
        with _opening(folder):
            instance = stack.enter_context(opened(folder))
        try:
            with quiet_retries():
                refuse_foreign(settings, instance)
                yield instance
        except Exception as error:
            # Of the databases of a command only Dagster's are not told of by whoever reads them.
            if is_ours(error):
                raise
            if _of_postgres(error) and is_transient(error):
                raise TransientError(f"the Dagster instance in {folder} (DAGSTER_HOME): {_AWAY}") from error
            if not _of_sqlite(error) or (known := advised(error)) is None:
                raise
            raise PermanentError(f"the Dagster instance in {folder} (DAGSTER_HOME): {known}") from error


def opened(folder: Path) -> dg.DagsterInstance:
    """The instance of this folder, which DAGSTER_HOME names by now. The one way in which this package opens it: each
    storage makes its tables when first opened, and two commands at once in a new home would make them twice.
    """
    import dagster as dg
    from filelock import FileLock

    bound_connections()
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(folder / ".opening.lock"))
        except OSError as error:
            # A folder mounted read-only, as on a cluster: nothing is made in it, and its storages are elsewhere.
            if error.errno not in (errno.EROFS, errno.EACCES):
                raise
        stack.enter_context(quiet_retries())
        return dg.DagsterInstance.get()


def _set_home(folder: str | None) -> None:
    if folder is None:
        os.environ.pop("DAGSTER_HOME", None)
    else:
        os.environ["DAGSTER_HOME"] = folder


def _of_postgres(error: BaseException | None) -> bool:
    """Whether it came of a connection to PostgreSQL, past whoever would have told of it."""
    while error is not None:
        if type(error).__module__.partition(".")[0] in ("psycopg", "psycopg2", "dagster_postgres"):
            return True
        error = error.__cause__ or error.__context__
    return False


def _of_sqlite(error: BaseException) -> bool:
    return "sqlite3." in str(error) or type(error).__module__ == "sqlite3"


@contextmanager
def _opening(folder: Path) -> Iterator[None]:
    """Say which folder it is that cannot be opened, and what to do."""
    try:
        yield
    except Exception as error:
        kind = TransientError if is_transient(error) else PermanentError
        why = advised(error) or f"{first_line(error)}; correct or delete {CONFIG_FILE} there"
        if _of_postgres(error) and kind is TransientError:
            why = _AWAY
        raise kind(f"the Dagster instance in {folder} (DAGSTER_HOME) cannot be opened: {why}") from error


def _repair(config: Path) -> None:
    text = config.read_text("utf-8")
    if sha256(text.encode()).hexdigest() in _EARLIER:
        os.replace(_draft(config), config)
        return
    for gone, advice in _GONE.items():
        if re.search(rf"^[^#\n]*\b{re.escape(gone)}\b", text, re.MULTILINE):
            raise PermanentError(f"{config} names {gone}, which is no more: {advice}")


def _draft(config: Path) -> Path:
    draft = aside(config)
    draft.write_text(CONFIG, encoding="utf-8")
    return draft


def _create(config: Path) -> None:
    # Written aside, and never over a file that another process, or a person, put there meanwhile.
    draft = _draft(config)
    try:
        os.link(draft, config)
    except FileExistsError:
        pass
    except OSError:
        # A file system without hard links.
        with suppress(FileExistsError), config.open("x", encoding="utf-8") as file:
            file.write(CONFIG)
    finally:
        draft.unlink()
