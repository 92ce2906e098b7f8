"""A training and a day's scores as a Prefect flow (Prefect 3): `python prefect_flow.py /data/plan.json`.

`credit_scoring.serve()` or a deployment runs it on a schedule; the plan is its parameter.
"""

from __future__ import annotations

import os
import sys
from typing import Any

# A worker runs the flow from wherever it was put.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import steps
from prefect import flow, task
from prefect.futures import wait

VARIANTS = ["xgboost", "lightgbm", "catboost"]


def may_help(_task: Any, _run: Any, state: Any) -> bool:
    """Whether another try may: not where the data do not allow it."""
    try:
        state.result()
    except ValueError:
        return False
    except Exception:
        return True
    return False


step = task(retries=2, retry_delay_seconds=[30, 60], retry_condition_fn=may_help)

features = step(steps.make_features)
training_set = step(steps.make_training_set)
candidate = step(steps.train)
chosen = step(steps.choose)
scores = step(steps.score)


@flow(name="credit_scoring")
def credit_scoring(plan_file: str) -> str:
    plan = steps.read_plan(plan_file)
    made = training_set(plan, features(plan))
    trained = [candidate.submit(plan, variant, made) for variant in VARIANTS]
    wait(trained)
    return scores(plan, chosen([one.result() for one in trained]))


if __name__ == "__main__":
    print(credit_scoring(sys.argv[1]))
