"""Fixtures that every test file may use."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

# Some of these modules are named as plugins by one test file and imported by another before that.
pytest.register_assert_rewrite("credit_assets_tests.support")

# As `credit_assets.assets.training` says; the tests load numpy before it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_HOMES = itertools.count()
_FOREIGN = ("MLFLOW_TRACKING_URI", "DAGSTER_HOME")


def pytest_configure() -> None:
    """Forget the settings of the machine before any fixture runs, those of a module included: `make test` has the
    CREDIT_HOME of the demo in its environment, and no test may write there.
    """
    # A shell's background job ignores SIGINT. Dagster takes that over for SIGTERM, and every process that a test starts
    # and ends would inherit it and stay.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in list(os.environ):
        if name in _FOREIGN or (name.startswith("CREDIT_") and name != "CREDIT_TEST_DATA"):
            del os.environ[name]
    os.environ["CREDIT_HOME"] = tempfile.mkdtemp(prefix="credit_assets_tests_")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two workers more than there are cores: a third of the tests' time is waiting for servers, processes and ticks."""
    from credit_assets.processes import usable_cores

    return usable_cores() + 2


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """A test that begins one of our processes within this one leaves the files of later tests as they were."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


def pytest_unconfigure() -> None:
    gc.unfreeze()
    shutil.rmtree(os.environ["CREDIT_HOME"], ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """All modules and all tests are made here, and stay: the collector looks for nothing among them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """What the collector need not look through again: all modules and all tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that work on houses begin, since they take longest: a worker that begins one last works on alone. One of
    them prepares the houses, for which all others would wait: beside it a long file without any begins. Before all
    others begin the files whose slow tests take minutes, the longest first: a worker is given its next file before it
    has ended this one, so that a long one at the end, and what waits behind it, runs alone.
    """
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False) and not item.get_closest_marker("fuzz"):
            raise pytest.UsageError(
                f"{item.nodeid} is green or red by chance: mark it with support.fuzz.fuzz(examples)"
            )
    at_work = {item.path: None for item in items if not _HOUSES.isdisjoint(getattr(item, "fixturenames", ()))}
    first = next(iter(at_work), None)
    minutes = {Path(__file__).parent / name: place - len(_MINUTES) for place, name in enumerate(_MINUTES)}

    def place(item: pytest.Item) -> int:
        if item.path in minutes and item.get_closest_marker("slow"):
            return minutes[item.path]
        if item.path == first:
            return 0
        if item.path.match(_BESIDE):
            return 1
        if item.path in at_work:
            return 2
        return 3 if item.path.parent.name in _LONG else 4

    items.sort(key=place)


_HOUSES = {"ingested_home", "trained_home", "trial_home"}
_MINUTES = (
    "ledger/test_cut_short.py",
    "assets/test_due.py",
    "test_benchmarks.py",
    "test_services.py",
    "test_portfolios.py",
    "cli/test_demo.py",
    "test_package.py",
    "loans/test_real_loans.py",
    "assets/test_pipeline.py",
    "ml/learners/test_dask_cluster.py",
    "test_benchmark_decisions.py",
    "cluster/test_step_jobs.py",
    "cli/test_simulate.py",
    "cli/test_dev.py",
    "test_example_extension.py",
    "storage/test_object_store.py",
    "test_executors.py",
)
_BESIDE = "learners/test_missing.py"
_LONG = {"warehouse", "ledger", "automation", "tracking", "learners", "evidence", "rules", "cli"}


@pytest.fixture(autouse=True)
def _own_environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees what another one set, and none writes outside its folder.

    The home of a test that asks for no folder is named and not made: before pytest makes one it looks through all that
    there are, milliseconds where thousands are.
    """
    for name in _FOREIGN:
        # Set first: what the code under test puts there in the environment itself is then gone again after the test,
        # and no home of a module that is opened next takes it for its own.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    asked = "tmp_path" in request.fixturenames
    home = request.getfixturevalue("tmp_path") / "home" if asked else Path(os.environ["CREDIT_HOME"], str(next(_HOMES)))
    monkeypatch.setenv("CREDIT_HOME", str(home))


@pytest.fixture(scope="session", autouse=True)
def _opened_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What opening a home reads and makes is read and made once in a session."""
    from credit_assets_tests.support import openings

    with pytest.MonkeyPatch.context() as patch, openings.nobody_waits_for_the_disk():
        openings.remember_migrations(patch)
        openings.copy_new_homes(patch, tmp_path_factory)
        openings.copy_new_mlflow(patch, tmp_path_factory)
        yield


@pytest.fixture(autouse=True)
def _few_databases_of_mlflow() -> Iterator[None]:
    """What MLflow keeps of the homes of earlier tests does not add up over all of them."""
    yield
    if "mlflow.store.tracking.sqlalchemy_store" in sys.modules:
        from credit_assets_tests.support import openings

        openings.forget_mlflow(beyond=16)


@pytest.fixture(scope="session")
def real_loans_dir() -> Path:
    """Folder with the real LendingClub files; skips where it is absent."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("CREDIT_TEST_DATA") or root / ".." / "shared" / "data").resolve()
    if not (folder / "lending_club_2007_2011.parquet").is_file():
        pytest.skip(f"real LendingClub files not found in {folder}; set CREDIT_TEST_DATA to their folder")
    return folder


# Homes that are prepared once in a session (`support.houses`). A test file works on a copy: `copied_home`.


@pytest.fixture(scope="session")
def ingested_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 50 loans a day from January to June 2024, ingested; no model."""
    from credit_assets_tests.support.houses import ingest
    from credit_assets_tests.support.prepared import prepared_home

    return prepared_home(tmp_path_factory, "ingested", ingest)


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory, ingested_home: Path) -> Path:
    """The ingested home with a first champion, the best of three candidates as of 31 March."""
    from credit_assets_tests.support.houses import copied_home, train
    from credit_assets_tests.support.prepared import prepared_home

    return prepared_home(tmp_path_factory, "trained", lambda home: train(copied_home(ingested_home, home)))


@pytest.fixture(scope="session")
def trial_home(tmp_path_factory: pytest.TempPathFactory, trained_home: Path) -> Path:
    """The trained home with another candidate on trial from 3 April, scored to 25 May."""
    from credit_assets_tests.support.houses import begin_trial, copied_home
    from credit_assets_tests.support.prepared import prepared_home

    return prepared_home(tmp_path_factory, "trial", lambda home: begin_trial(copied_home(trained_home, home)))


@pytest.fixture(scope="session")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make demo` leaves, stopped twice on its way and gone on with; DEMO_HOME names one that is there already."""
    if made := os.environ.get("DEMO_HOME"):
        return Path(made).resolve()
    from credit_assets_tests.support.demo import make_demo
    from credit_assets_tests.support.prepared import prepared_home

    return prepared_home(tmp_path_factory, "demo", make_demo)
