"""The main ways through the pages, on what the demo left: look around, materialize, read why a gate failed, backfill,
see a sensor retrain, bring a model on trial into force.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from urllib.parse import quote

import duckdb
import pytest

from credit_assets_tests.support.browser import SIZE, Pages, Served

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(3600)]


def materialize(pages: Pages, asset: str, partitions: str = "") -> None:
    """Ask for the latest partition of an asset, or for these, by the dialog of its page, and see the run begin."""
    pages.open(f"/assets/{asset}")
    pages.clicks("Materialize")
    dialog = pages.page.get_by_role("dialog")
    pages.sees("Partition selection", inside=dialog)
    if partitions:
        field = dialog.get_by_role("textbox").first
        field.fill(partitions)
        field.press("Enter")
    else:
        dialog.get_by_role("button", name="Latest", exact=True).click()
    pages.picture(f"materialize-{'range' if partitions else 'one'}")
    dialog.get_by_role("button", name=re.compile(r"Launch (\d+ run|backfill)")).click()
    dialog.wait_for(state="detached")


def newest_run(pages: Pages, shows: str | re.Pattern[str], ends: str) -> None:
    """Open the newest run, once the page of runs shows this of it, and wait until it ended like that."""
    pages.open("/runs")
    pages.sees(shows)
    pages.page.locator('a[href^="/runs/"]').filter(has_text=re.compile("^[0-9a-f]{8}$")).first.click()
    pages.sees(ends)


def test_one_looks_around(pages: Pages, house: Served) -> None:
    pages.open("/runs")
    pages.sees("drift_trigger")
    pages.picture("runs")
    pages.page.set_viewport_size({**SIZE, "height": 800})
    pages.open("/asset-groups~" + quote('2+key:"trained_model"+2'))
    pages.sees("governance")
    pages.clicks_text("Hide navigation")
    pages.page.get_by_placeholder("Jump to").locator("xpath=following::button[1]").click()
    # All groups opened: the graph is drawn anew, as wide as the page is now.
    pages.page.keyboard.press("Alt+KeyE")
    pages.sees("registered_model")
    pages.picture("lineage")
    pages.page.set_viewport_size(SIZE)
    for asset, shows in (("performance_report", "realised"), ("shadow_report", "rank_correlation")):
        pages.open(f"/assets/{asset}")
        pages.sees(shows)
        pages.picture(asset)
    pages.open("/automation")
    pages.sees("drift_trigger")
    pages.picture("automation")
    pages.open("/#/models/credit-scorer", of=house.mlflow)
    pages.sees("champion")
    pages.picture("mlflow-model")


def test_one_partition_is_materialized(pages: Pages) -> None:
    materialize(pages, "drift_report")
    newest_run(pages, "drift_report", "Success")
    pages.sees("ASSET_MATERIALIZATION")
    pages.picture("run")
    # As high as the figures are, and no higher: below them are paths of this machine.
    pages.page.set_viewport_size({**SIZE, "height": 560})
    pages.open("/assets/drift_report")
    pages.sees("shifted")
    pages.sees("pictures_in_full")
    pages.page.get_by_text("psi_over_days").filter(visible=True).first.scroll_into_view_if_needed()
    pages.picture("drift_report")


def test_a_month_is_backfilled(pages: Pages, house: Served) -> None:
    first = (date.fromisoformat(last_day(house)) - timedelta(30)).replace(day=1)
    last = (first + timedelta(31)).replace(day=1) - timedelta(1)
    materialize(pages, "shadow_report", f"[{first}...{last}]")
    pages.open("/runs?view=backfills")
    pages.sees(f"{last.day} partitions")
    pages.sees("Success")
    pages.picture("backfill")


def test_a_sensor_retrains(pages: Pages, house: Served) -> None:
    house.command("trigger", "other", "--reason", "asked for by the test", "--by", "the test")
    newest_run(pages, "external_trigger", "Success")
    pages.picture("retraining")


def test_the_model_on_trial_is_approved(pages: Pages, house: Served) -> None:
    house.command("approve", "3", "--by", "the test", "--reason", "the trial is long enough", "--accept", "first_days")
    pages.open("/assets/model_aliases/champion")
    pages.sees(re.compile("the trial is long enough"))
    pages.picture("approved")


def test_a_failed_gate_says_why(pages: Pages, house: Served) -> None:
    """The applications of the last day have amounts below zero."""
    day = last_day(house)
    with duckdb.connect(str(house.home / "warehouse.duckdb")) as connection:
        connection.execute("UPDATE loan_applications SET loan_amount = -1 WHERE application_date = ?", [day])
    materialize(pages, "raw_loan_data")
    newest_run(pages, re.compile(r"^\d+ checks$"), "Failure")
    pages.sees(re.compile("raw_loan_data .* is stopped by a gate: quarantined_share: .* Found .* allowed"))
    pages.picture("gate-failed-run")
    pages.open(f"/assets/raw_loan_data?view=partitions&partition={day}")
    pages.sees("Failed")
    pages.picture("gate-failed-partition")
    pages.open("/assets/raw_loan_data?view=checks")
    pages.page.get_by_placeholder("Filter checks").fill("quarantined_share")
    pages.clicks_text("quarantined_share")
    pages.page.wait_for_url(re.compile("checkDetail=quarantined_share"))
    pages.sees("threshold")
    pages.picture("gate-failed-check")


def last_day(house: Served) -> str:
    return max((house.home / "store" / "drift_report").glob("*.json")).stem
