"""The example package: its parts, their error rates, and the whole of it installed and run through the graph."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from credit_assets.build import build_definitions
from credit_assets.loans.generator import generate_book
from credit_assets.ml.data import extensions
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.ml.extensions import load, try_used, used
from credit_assets.ml.learners import VARIANTS
from credit_assets.ml.learners.learner import FitConfig, Sample
from credit_assets.ml.rules.extension_gates import GATES
from credit_assets.ml.rules.extension_triggers import TRIGGERS
from credit_assets.naming import Names
from credit_assets.settings import load_settings
from credit_assets.stages import DAILY
from credit_assets_tests.support.environment import environment
from credit_assets_tests.support.houses import SMALL, book, write_book

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "credit_assets_example_extension"
NAME = "credit_assets_example_extension"
DISTRIBUTION, VERSION = "credit-assets-example-extension", "1.0.0"
BROUGHT = [
    ("feature", "payment_and_housing_share"),
    ("learner", "logistic"),
    ("gate", "repeated_incomes"),
    ("trigger", "score_shift"),
]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its modules, named as CREDIT_EXTENSIONS would."""
    monkeypatch.setattr(extensions, "_named", None)
    monkeypatch.syspath_prepend(str(EXAMPLE))
    load([f"{NAME}.{module}" for module in ("features", "learners", "rules")])


def test_it_brings_one_of_each_and_its_portfolio_uses_them(example: None) -> None:
    portfolio = load_portfolio(EXAMPLE / "portfolio.yaml")
    try_used(portfolio)
    assert [(one["kind"], one["name"]) for one in used(portfolio, ["logistic"])] == BROUGHT


def test_its_portfolio_is_the_packaged_one_and_what_it_brings(example: None) -> None:
    own, packaged = (load_portfolio(file).model_dump() for file in (EXAMPLE / "portfolio.yaml", None))
    assert own["derived"][:-1] == packaged["derived"]
    assert own["derived"][-1]["name"] == "payment_and_housing_share"
    # It is a reason of the group of what it is made of.
    income = own["reasons"]["groups"][0]
    assert income["features"][-1] == "payment_and_housing_share"
    income["features"] = income["features"][:-1]
    for portfolio in (own, packaged):
        for key in ("name", "description", "derived", "extensions"):
            del portfolio[key]
    assert own == packaged


def test_assets_checks_and_sensors_follow(example: None) -> None:
    modules = ",".join(f"{NAME}.{module}" for module in ("features", "learners", "rules"))
    settings = load_settings(extensions=modules, portfolio=EXAMPLE / "portfolio.yaml", variants="logistic")
    defined = build_definitions(settings)
    graph = defined.resolve_asset_graph()
    names = {key.path[-1]: key for key in graph.get_all_asset_keys()}
    assert {"logistic_candidate", "trained_model"} <= set(names)
    assert "xgboost_candidate" not in names
    checks = {(key.asset_key.path[-1], key.name) for key in graph.asset_check_keys}
    assert ("raw_loan_data", "repeated_incomes") in checks
    assert ("training_set", "repeated_incomes") not in checks
    assert settings.naming.dagster("score_shift_trigger") in {sensor.name for sensor in defined.sensors or ()}
    # Days that another source made are stale in Dagster's eyes.
    assert graph.get(names["processed_features"]).code_version
    assert graph.get(names["raw_loan_data"]).code_version is None


@pytest.fixture(scope="module")
def days_of_incomes() -> list[np.ndarray]:
    """366 days of about 50 applications."""
    applications, _ = generate_book(18_300, date(2024, 1, 1), date(2024, 12, 31), 3)
    table = applications if isinstance(applications, pa.Table) else pa.Table.from_pandas(applications)
    incomes, days = table["annual_income"].to_numpy(), table["application_date"].to_numpy()
    return [incomes[days == day] for day in np.unique(days)]


@pytest.mark.parametrize(
    ("filled_in", "least", "most"),
    [(0.0, 0.0, 0.0), (0.2, 0.0, 0.005), (0.25, 0.0, 0.05), (0.4, 0.4, 0.65), (0.6, 0.95, 1.0)],
)
def test_the_error_rates_of_its_gate(
    example: None, days_of_incomes: list[np.ndarray], filled_in: float, least: float, most: float
) -> None:
    """With a default income in this share of the applications of each day."""
    rng = np.random.default_rng(1)
    fired = 0
    for incomes in days_of_incomes:
        planted = np.where(rng.random(len(incomes)) < filled_in, 50_000.0, incomes)
        gate = GATES["repeated_incomes"].judge(pa.table({"annual_income": planted}), {"most": 0.2})
        fired += gate.blocks
    assert least <= fired / len(days_of_incomes) <= most


def test_its_learner_keeps_monotone_directions(example: None) -> None:
    import pandas as pd

    rng = np.random.default_rng(5)
    rows = pd.DataFrame({"income": rng.lognormal(10, 0.5, 4000), "debt": rng.normal(size=4000)})
    rows.loc[:40, "income"] = np.nan
    # The truth goes against the direction: the best that is allowed is none.
    y = (rng.random(4000) < 1 / (1 + np.exp(2 - rows["income"].fillna(0) / 40_000 - rows["debt"]))).astype(np.int8)
    sample = Sample(rows, y.to_numpy())
    config = FitConfig()
    learner = VARIANTS["logistic"]
    free = learner.fit(sample, sample, monotone={}, categorical={}, config=config)
    kept = learner.fit(sample, sample, monotone={"income": -1, "debt": 1}, categorical={}, config=config)
    assert free.model["weights"][0] > 0.1
    assert kept.model["weights"][0] == 0.0
    assert kept.model["weights"][2] > 0.5


def test_its_trigger_reads_the_scores_of_a_drift_report(example: None) -> None:
    def condition(psi: float | None) -> bool | None:
        report = {"features": [{"name": "income", "psi": 9.0}, {"name": "score", "psi": psi}]}
        return TRIGGERS["score_shift"].condition(report, {"psi": 0.2}).met

    assert [condition(value) for value in (0.1, 0.2, None)] == [False, True, None]
    assert TRIGGERS["score_shift"].condition({"features": []}, {}).met is None


# Installed


def install(source: Path, target: Path) -> None:
    """Into a folder of its own, without an index: what it depends on is here."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    options = ["--no-deps", "--no-build-isolation", "--target", str(target)]
    if uv:
        command = [uv, "pip", "install", "--quiet", "--offline", "--python", sys.executable, *options, str(source)]
    else:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", *options, str(source)]
    subprocess.run(command, check=True)


class Installed:
    """The package in a folder of its own, and processes that see it."""

    def __init__(self, folder: Path) -> None:
        source, self.site, self.home = folder / "source", folder / "site", folder / "home"
        shutil.copytree(EXAMPLE, source)
        install(source, self.site)
        chosen = {**SMALL, "portfolio": EXAMPLE / "portfolio.yaml", "variants": "logistic", "home": self.home}
        # The packaged learners train in other tests.
        chosen["variant_params"] = {"logistic": {"ridge": 2.0}}
        path = os.pathsep.join([str(self.site), *filter(None, sys.path)])
        self.environment = {**os.environ, **environment(chosen), "PYTHONPATH": path}

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command], env={**self.environment, **more}, capture_output=True, text=True
        )

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "credit_assets.cli.main", *arguments)

    def json(self, *arguments: str) -> Any:
        done = self.cli(*arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)


@pytest.mark.slow
def test_installed_it_runs_through_the_graph_and_is_missed_when_it_is_gone(tmp_path: Path) -> None:
    there, names = Installed(tmp_path), Names("example_extension")
    scores = Path(names.folder(str(there.home / "store"))) / "loan_scores"
    write_book(load_settings(home=there.home, **SMALL), *book())
    replayed = there.json("replay", "--start", "2024-01-01", "--end", "2024-03-31", "--train", "last")
    assert [(one["status"], one["variant"]) for one in replayed["trainings"]] == [("registered", "logistic")], replayed
    # Who made the model stands in its record, in MLflow and in the store.
    (version,) = there.json("models")["versions"]
    made_by = [(one["kind"], one["name"], one["distribution"], one["version"]) for one in version["extensions"]]
    assert made_by == [(*one, DISTRIBUTION, VERSION) for one in BROUGHT]
    status = there.json("status")
    assert status["champion"]["extensions"] == version["extensions"]
    assert status["warnings"] == []
    findings = {one["name"]: one for one in there.json("doctor")["findings"]}
    assert findings["extensions"]["status"] == "ok"
    for kind, name in BROUGHT:
        assert f"{kind} {name} of {DISTRIBUTION} {VERSION}" in findings["extensions"]["value"]
    (record,) = there.home.glob("**/scorer.json")
    assert [one["name"] for one in json.loads(record.read_text())["extensions"]] == [name for _, name in BROUGHT[:2]]
    assert f"{DISTRIBUTION}=={VERSION}" in (record.parents[2] / "requirements.txt").read_text().split()
    # The same model is found again, and steps in processes of their own know the package as well.
    again = there.json("replay", "--start", "2024-03-31", "--end", "2024-03-31", "--train", "last", "--again")
    assert [(one["status"], one["version"]) for one in again["trainings"]] == [("registered", "1")]
    job = ["-m", "dagster", "job", "execute", "-m", "credit_assets.definitions", "-j", names.dagster(DAILY)]
    day = ["--tags", json.dumps({"dagster/partition": "2024-04-01"})]
    done = there.run(*job, *day, CREDIT_EXECUTOR="multiprocess", DAGSTER_HOME=str(there.home / "dagster"))
    assert done.returncode == 0, done.stderr[-4000:]
    assert (scores / "2024-04-01.parquet").is_file()

    # Another formula under the same name scores nothing.
    housing = there.site / NAME / "housing.py"
    housing.write_text(housing.read_text().replace("0.30", "0.35"))
    (warning, *_) = there.json("status")["warnings"]
    assert f"feature payment_and_housing_share of {DISTRIBUTION} {VERSION}" in warning
    assert "is another one here" in warning
    failed = there.cli("backfill", "--start", "2024-04-02", "--end", "2024-04-02")
    assert failed.returncode == 1
    assert "cannot score here: feature payment_and_housing_share" in " ".join(failed.stderr.split())
    assert not (scores / "2024-04-02.parquet").exists()
    # Nor are days that the old one made taken for days of the new one.
    failed = there.cli("replay", "--start", "2024-04-02", "--end", "2024-04-02", "--train", "last")
    assert failed.returncode == 1
    assert "was made with an extension: feature payment_and_housing_share" in " ".join(failed.stderr.split())

    # Without the package: one line, and no model by another formula.
    shutil.rmtree(there.site)
    for verb in ("status", "doctor"):
        refused = there.cli(verb, "--json")
        assert refused.returncode == 1
        said = refused.stdout + refused.stderr
        assert "no function 'payment_and_housing_share'" in said or "must list some of xgboost" in said
        assert "install the package that brings it" in said
        assert "Traceback" not in said
    serve = f"import mlflow; mlflow.pyfunc.load_model({str(record.parents[2])!r})"
    served = there.run("-c", serve)
    assert served.returncode == 1
    wanted = f"feature payment_and_housing_share of {DISTRIBUTION} {VERSION}"
    assert wanted in served.stderr
    assert f"is not installed here: install {DISTRIBUTION}=={VERSION}" in served.stderr
