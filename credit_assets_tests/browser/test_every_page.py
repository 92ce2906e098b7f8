"""Every page that people of a lender open, one after the other: it shows what it is for, and PICTURES takes it.

`make test-browser PICTURES=folder` leaves a picture of each, light and dark, to be looked at.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from credit_assets_tests.support.browser import SIZE, Pages, Served

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(3600)]

ASSETS = {
    "warehouse_tables/loan_applications": "Latest materialization|source",
    "raw_loan_data": "annual_income",
    "loan_outcomes": "quarantined_rows",
    "restated_days": "compared_days",
    "processed_features": "debt_to_income",
    "training_set": "default_rate",
    "xgboost_candidate": "bad_rate",
    "trained_model": "auc_ci_low",
    "registered_model": "calibration_curve",
    "model_registry/credit-scorer": "registered model",
    "deployed_model": "champions_over_time",
    "loan_scores": "mean_pd",
    "drift_report": "psi_over_days",
    "performance_report": "realised_auc",
    "shadow_report": "rank_correlation",
    "model_aliases/champion": "effective_from",
    "model_aliases/challenger": "effective_from",
    "external_trigger": "Retrainings",
    "model_dossier": "findings",
}
"""Assets, and what the page of each must show."""
WIDER = """() => {
document.querySelectorAll('table *').forEach(one => {
    if (!one.children.length && one.textContent.startsWith('/')) one.style.overflowWrap = 'anywhere'
})
return [...document.querySelectorAll('table')].filter(table => {
    for (let place = table.parentElement; place; place = place.parentElement)
        if (getComputedStyle(place).overflowX !== 'visible' && table.scrollWidth > place.clientWidth + 1) return true
    return false
}).map(table => table.innerText.slice(0, 100))
}"""
"""The tables that are wider than their place, so that their values are cut off; but for paths, which are as long as the
store's folder is, and which Dagster breaks at hyphens alone.
"""
PLOTS = ("training_set", "trained_model", "loan_scores", "drift_report", "performance_report")
CHECKS = ("raw_loan_data", "training_set", "trained_model", "deployed_model", "loan_scores")
DAGSTER = {
    "overview": ("/overview/activity/timeline", "Overview"),
    "runs": ("/runs", "drift_trigger"),
    "backfills": ("/runs?view=backfills", "Backfills"),
    "catalog": ("/assets", "raw_loan_data"),
    "jobs": ("/jobs", "retrain_model"),
    "automation": ("/automation", "housekeeping"),
    "deployment": ("/deployment/locations", "credit_assets"),
}


@pytest.fixture
def pages(pages: Pages) -> Pages:
    """As high as most pages are."""
    pages.page.set_viewport_size({**SIZE, "height": 2000})
    return pages


@pytest.mark.parametrize("name", DAGSTER)
def test_a_page_of_the_deployment(pages: Pages, name: str) -> None:
    path, shows = DAGSTER[name]
    pages.open(path)
    pages.sees(shows)
    pages.picture(name)


@pytest.mark.parametrize("asset", ASSETS)
def test_the_page_of_an_asset(pages: Pages, asset: str) -> None:
    pages.open(f"/assets/{asset}")
    pages.sees(re.compile(ASSETS[asset]))
    pages.picture(f"asset-{asset.replace('/', '-')}")
    assert pages.page.evaluate(WIDER) == []


@pytest.mark.parametrize("asset", PLOTS)
def test_the_plots_of_an_asset(pages: Pages, asset: str) -> None:
    pages.open(f"/assets/{asset}")
    pages.clicks_text("Plots")
    pages.page.locator("canvas").first.wait_for()
    pages.picture(f"plots-{asset}")


@pytest.mark.parametrize("asset", CHECKS)
def test_the_checks_of_an_asset(pages: Pages, asset: str) -> None:
    pages.open(f"/assets/{asset}?view=checks")
    pages.sees("Evaluation result")
    pages.picture(f"checks-{asset}")


def test_a_trigger(pages: Pages) -> None:
    pages.open("/locations/credit_assets.definitions/sensors/drift_trigger")
    pages.sees(re.compile("runs? requested"))
    pages.picture("trigger")


def test_a_training(pages: Pages) -> None:
    pages.open("/runs?q[0]=job:retrain_model")
    pages.sees("retrain_model")
    pages.page.locator('a[href^="/runs/"]').filter(has_text=re.compile("^[0-9a-f]{8}$")).first.click()
    pages.sees("Success")
    pages.picture("training")


def test_the_launchpad(pages: Pages) -> None:
    pages.open("/locations/credit_assets.definitions/jobs/retrain_model/playground")
    pages.sees("Launch run")
    pages.picture("launchpad")


def test_the_pages_of_mlflow(pages: Pages, house: Served) -> None:
    newest = json.loads(house.command("models", "--json"))["versions"][-1]
    for name, path, shows in (
        ("mlflow-experiments", "/#/experiments", "credit"),
        ("mlflow-models", "/#/models", "credit-scorer"),
        ("mlflow-model-page", "/#/models/credit-scorer", "champion"),
        ("mlflow-version", f"/#/models/credit-scorer/versions/{newest['version']}", "Version"),
    ):
        pages.open(path, of=house.mlflow)
        pages.sees(re.compile(shows))
        pages.picture(name)


def test_the_pages_that_are_files(pages: Pages, house: Served, tmp_path: Path) -> None:
    house.command("report", "--out", str(tmp_path / "report"))
    house.command("dossier", "--out", str(tmp_path / "dossier"))
    (dossier,) = (tmp_path / "dossier").glob("*.html")
    for file in [*sorted((tmp_path / "report").glob("*.html")), dossier]:
        pages.page.goto(file.as_uri())
        pages.sees("Sources")
        pages.picture(f"file-{file.stem}")
