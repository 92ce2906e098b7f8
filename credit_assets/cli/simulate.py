"""Years of a loan book lived through, once for each way to retrain, to compare what each would have done.

Belongs here: which ways, with which settings, side by side in processes. Does not belong here: how one is lived through
(`life`). Each has a Dagster instance, a store and an MLflow of its own under `<home>/simulations`; the warehouse is
only read.

Ways to retrain, all with the same first model (of the first month end whose model passes its gates) and the same
promotion policy:
  never      keeps the first model
  monthly    the monthly refresh, and no trigger
  triggered  drift, performance and volume triggers, and no refresh
"""

from __future__ import annotations

import logging
import shutil
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from datetime import date
from multiprocessing import Manager, active_children, get_context
from pathlib import Path
from queue import Empty
from typing import Any

from pydantic import SecretStr

from credit_assets.cli.life import WAYS, Life, Simulation
from credit_assets.cli.replay import OnProgress
from credit_assets.failures import PermanentError
from credit_assets.instance.home import CONFIG_FILE, ensure_instance, instance_of
from credit_assets.settings import Settings, load_settings, settings_file
from credit_assets.settings.portfolio_files import own_settings_file
from credit_assets.warehouse import open_warehouse

FOLDER = "simulations"
# Capturing what steps print starts four processes a run, a third of what a small day costs. The module is the one that
# Dagster documents.
_NO_LOGS = """
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""


def simulate(
    start: date, end: date, ways: Sequence[str], on_progress: OnProgress, *, every: int = 1, processes: int = 2
) -> dict[str, Life]:
    """Live through start .. end once for each way to retrain; the result by way, in the order asked for. Triggers and
    trials are looked at `every` so many days.

    Partitions are ingested from CREDIT_START_DATE on. What an earlier simulation left is thrown away.
    Raises PermanentError for an unknown way, days that the warehouse does not have, or a run that fails for another
    reason than a gate.
    """
    unknown = sorted(set(ways) - set(WAYS))
    if unknown or not ways:
        raise PermanentError(f"--ways {', '.join(unknown) or 'is empty'}: use some of {', '.join(WAYS)}")
    settings = load_settings()
    known = open_warehouse(settings.warehouse, settings.timezone).date_range(settings.portfolio_contract)
    if known is None:
        raise PermanentError("the warehouse holds no applications: load or generate loans first")
    if not known[0] <= start < end <= known[1] or start < settings.start_date:
        raise PermanentError(
            f"{start} .. {end} is no range of days of the book: applications span {known[0]} .. {known[1]}, partitions "
            f"begin at {settings.start_date} (CREDIT_START_DATE)"
        )
    total = (end - start).days + 1
    lived = dict.fromkeys(ways, 0)
    # Processes, since a process has one Dagster home. Ctrl-C reaches all of a terminal's: who waits for them ends them.
    ignore = (signal.signal, (signal.SIGINT, signal.SIG_IGN))
    with (
        Manager() as manager,
        ProcessPoolExecutor(min(processes, len(ways)), get_context("spawn"), *ignore) as pool,
    ):
        progress = manager.Queue()
        jobs = {way: pool.submit(live, way, start, end, progress, every) for way in ways}
        try:
            while not all(job.done() for job in jobs.values()):
                for job in jobs.values():
                    if job.done():
                        job.result()  # The failure of one is that of all.
                with suppress(Empty):
                    way, days = progress.get(timeout=1)
                    lived[way] = days
                shown = ", ".join(f"{way} {100 * days // total}%" for way, days in lived.items())
                on_progress(shown, sum(lived.values()), total * len(ways))
            return {way: job.result() for way, job in jobs.items()}
        except BaseException:
            # Nobody waits for years that nobody will look at: the home of a life is thrown away by the next one.
            for worker in active_children():
                worker.kill()
            raise


def settings_of(way: str) -> Settings:
    """The settings of a simulation: the user's, with a home, store, MLflow and Dagster instance of its own."""
    settings = load_settings()
    # Beside those of other portfolios, and of this portfolio wherever its file was found.
    home = Path(settings.naming.folder(str(settings.home_dir / FOLDER))) / way
    return load_settings(
        # The user's, whose home is another one.
        _env_file=(settings_file(), own_settings_file(settings.portfolio, settings.home_dir)),
        portfolio=settings.portfolio,
        home=home,
        warehouse_url=SecretStr(settings.warehouse),
        store_uri=str(home / "store"),
        mlflow_tracking_uri=SecretStr(f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"),
        dagster_home=home / "dagster",
        alert_urls=SecretStr(""),
        executor="in_process",
        retraining="triggered",
        refresh="monthly",
    )


def live(way: str, start: date, end: date, progress: Any = None, every: int = 1) -> Life:
    """One way to retrain, from an empty home; `progress` is a queue that takes (way, days lived)."""
    # What MLflow says on its way has no place between the lines of a progress bar.
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    settings = settings_of(way)
    shutil.rmtree(settings.home_dir, ignore_errors=True)
    config = ensure_instance(settings) / CONFIG_FILE
    config.write_text(config.read_text("utf-8") + _NO_LOGS, "utf-8")
    with instance_of(settings) as instance:
        return Simulation(way, settings, instance, progress, every).run(start, end)
