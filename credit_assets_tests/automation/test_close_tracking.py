"""Every end of a run closes what it left open in MLflow."""

from __future__ import annotations

import dagster as dg

from credit_assets.automation.close_tracking import tracking_close_sensors
from credit_assets_tests.support.sensors import DAYS, Ticker, run


class Closed:
    """Stands in for the tracking resource and remembers what was closed."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.runs = self

    def close(self, dagster_run_id: str, status: str) -> None:
        self.calls.append((dagster_run_id, status))


@dg.asset(partitions_def=DAYS)
def broken() -> None:
    raise ValueError("broken")


@dg.asset(partitions_def=DAYS)
def fine() -> None: ...


def test_each_final_status_closes_the_tracking_of_its_runs() -> None:
    tracking = Closed()
    defs = dg.Definitions(
        [broken, fine],
        jobs=[dg.define_asset_job(f"{name}_job", selection=[name]) for name in ("broken", "fine")],
        sensors=tracking_close_sensors(),
        resources={"tracking": tracking},
    )
    with dg.DagsterInstance.ephemeral() as instance:
        tickers = [Ticker(defs, f"close_tracking_{name}", instance) for name in ("success", "failure", "canceled")]
        good, bad = run(defs, "fine_job", instance), run(defs, "broken_job", instance)
        lost = instance.create_run_for_job(defs.resolve_job_def("fine_job"))
        instance.report_run_canceled(lost)
        for ticker in tickers * 2:
            ticker.tick()
    assert tracking.calls == [(good, "SUCCESS"), (bad, "FAILURE"), (lost.run_id, "CANCELED")]


def test_the_sensors_run_by_default() -> None:
    for sensor in tracking_close_sensors():
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
