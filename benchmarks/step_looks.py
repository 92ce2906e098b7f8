"""What it costs to look at many steps at once on Kubernetes: requests a second, and CPU of the run's process.

`python -m benchmarks.step_looks 500` starts a run of so many steps on the endpoint that plays the API in the tests,
waits until each has a pod at work, and measures for a minute. The figures are in docs/kubernetes.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dagster as dg
import psutil
import yaml

from credit_assets.cluster.op_tags import op_tags
from credit_assets.executors import executor
from credit_assets.settings import load_settings
from credit_assets_tests.support.kube_api import Cluster, Pod

SECONDS = 60
_STEPS = "STEP_LOOKS"


def make_job() -> dg.JobDefinition:
    """So many trainings, none of which waits for another."""
    number = int(os.environ[_STEPS])
    # As many at once as there are; the setting's bound is for real runs.
    settings = load_settings(executor="k8s").model_copy(update={"max_concurrent": number})
    tags = op_tags(settings, "xgboost_candidate")

    def training(name: str) -> dg.OpDefinition:
        @dg.op(name=name, tags=tags)
        def step() -> None: ...

        return step

    steps = [training(f"training_{one}") for one in range(number)]

    @dg.job(name="looks", executor_def=executor(settings))
    def looks() -> None:
        for step in steps:
            step()

    return looks


def run() -> None:
    """The run's process."""
    with dg.DagsterInstance.get() as instance:
        dg.execute_job(dg.reconstructable(make_job), instance)


def at_work(pod: Pod) -> None:
    pod.node, pod.phase = "node-0", "Running"


def measure(number: int) -> str:
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder)) as cluster:
        cluster.rules = {f"training_{one}": [at_work] for one in range(number)}
        config = {"run_launcher": cluster.instance_config(Path(folder))}
        (Path(folder) / "dagster.yaml").write_text(yaml.safe_dump(config))
        environment = {**os.environ, "DAGSTER_HOME": folder, _STEPS: str(number)}
        command = [sys.executable, "-c", "from benchmarks.step_looks import run; run()"]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            while len(cluster.jobs) < number:
                if process.poll() is not None:
                    raise RuntimeError("the run ended before all its steps were at work")
                time.sleep(0.5)
            time.sleep(15)
            seen, used = len(cluster.requests), _cpu(process.pid)
            start = time.monotonic()
            time.sleep(SECONDS)
            took = time.monotonic() - start
            requests, cpu = len(cluster.requests) - seen, _cpu(process.pid) - used
        finally:
            process.kill()
            process.wait()
    return f"{number} steps: {requests / took:.1f} requests/s, {100 * cpu / took:.1f}% of a core"


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    for one in sys.argv[1:] or ["500"]:
        print(measure(int(one)))
