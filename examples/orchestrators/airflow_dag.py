"""A training and a day's scores as an Airflow DAG (Airflow 3): put this file and `steps.py` in the DAGs folder.

    airflow dags trigger credit_scoring --conf '{"plan": "/data/plan.json"}'

or in one process, without scheduler: `python airflow_dag.py /data/plan.json`.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

# Airflow puts the DAGs folder on the path, and a worker in another process its own.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import steps
from airflow.sdk import Param, dag, task
from airflow.sdk.exceptions import AirflowFailException

VARIANTS = ["xgboost", "lightgbm", "catboost"]


def step(function: Callable[..., Any]) -> Any:
    """A task that is tried again, but where the data do not allow it."""

    @functools.wraps(function)
    def once(*given: Any, **named: Any) -> Any:
        try:
            return function(*given, **named)
        except ValueError as error:
            raise AirflowFailException(str(error)) from error

    return task(retries=2, retry_delay=timedelta(seconds=30), retry_exponential_backoff=True)(once)


@step
def features(params: dict[str, Any] | None = None) -> str:
    return steps.make_features(_plan(params))


@step
def training_set(of: str, params: dict[str, Any] | None = None) -> str:
    return steps.make_training_set(_plan(params), of)


@step
def candidate(variant: str, of: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    return steps.train(_plan(params), variant, of)


@step
def chosen(candidates: list[dict[str, Any]]) -> dict[str, Any]:
    return steps.choose(candidates)


@step
def scores(model: dict[str, Any], params: dict[str, Any] | None = None) -> str:
    return steps.score(_plan(params), model)


def _plan(params: dict[str, Any] | None) -> dict[str, Any]:
    return steps.read_plan((params or {})["plan"])


@dag(schedule=None, catchup=False, params={"plan": Param("", type="string")}, tags=["credit_scoring"])
def credit_scoring() -> None:
    made = training_set(features())
    scores(chosen(candidate.partial(of=made).expand(variant=VARIANTS)))


loans = credit_scoring()

if __name__ == "__main__":
    run = loans.test(run_conf={"plan": sys.argv[1]})
    sys.exit(0 if str(run.state) == "success" else f"the run of {loans.dag_id} ended as {run.state}")
