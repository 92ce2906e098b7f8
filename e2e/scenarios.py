"""What is shown on the cluster: one function a scenario, each a run of its own for a day of its own.

Belongs here: what is done to a run and what must come of it. Every scenario ends with `Run.must_be_whole`: the run
succeeded, each asset was materialized once, and there is one model version of the day, whatever happened to its pods.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from e2e.backups import SCRIPT, drill
from e2e.chart import defaults
from e2e.cluster import GPU, FailedError, wait_for
from e2e.runs import TRAINED, Run, Stage
from e2e.trial_values import DASK, backup_values, dask_values

ON_GPU = {"xgboost_candidate", "catboost_candidate"}
ON_DASK = {"xgboost_candidate", "lightgbm_candidate"}
DAILY = {
    "restated_days", "raw_loan_data", "loan_outcomes", "processed_features", "training_set", *TRAINED, "trained_model",
    "registered_model", "deployed_model", "model_dossier", "loan_scores", "drift_report", "performance_report",
    "shadow_report",
}  # fmt: skip
INGESTED = {"raw_loan_data", "loan_outcomes", "processed_features"}
RETRAINED = {"training_set", *TRAINED, "trained_model", "registered_model", "deployed_model", "model_dossier"}


def daily_run_on_its_nodes(stage: Stage) -> None:
    """The daily run: a pod a step, XGBoost and CatBoost on a GPU node with a GPU, everything else elsewhere."""
    run = stage.launch("credit_scoring_daily")
    run.must_be_whole(DAILY)
    seen = {one.step: one for one in run.watch.seen.values()}
    for step in sorted(DAILY):
        if step not in seen:
            raise FailedError(f"no pod of step {step} was seen")
        one = seen[step]
        stage.report(f"{step}: node {one.node}, {GPU} {one.gpus}, {one.ended}, {_seconds(one)}")
        if (one.node in stage.gpu_nodes) != (step in ON_GPU) or one.gpus != int(step in ON_GPU):
            raise FailedError(f"{step} ran on node {one.node} with {one.gpus} GPUs")
        expected = {"asset": step, "partition": stage.day.isoformat(), "cost-centre": "e2e", "attempt": "1"}
        wrong = {k: one.labels.get(f"credit-assets/{k}") for k, v in expected.items()} != expected
        if wrong:
            raise FailedError(f"labels of {step}'s pod: {one.labels}, expected {expected}")


def step_without_a_fitting_node(stage: Stage) -> None:
    """With every GPU node cordoned the GPU's steps wait, their event says why, and they start once a node is there."""
    for node in stage.gpu_nodes:
        stage.cluster.cordon(node)
    try:
        run = stage.launch("retrain_model")
        event = run.says("The pod of step xgboost_candidate waits", "no node fits")
        stage.report(f"event: {event}")
        # Asking the event log took longer than the pod took to appear.
        run.watch.look()
        (pod,) = run.watch.of("xgboost_candidate")
        reasons = [text for text in stage.cluster.events(pod.name) if text.startswith("FailedScheduling")]
        if not reasons:
            raise FailedError(f"Kubernetes has no FailedScheduling event of {pod.name}")
        stage.report(f"Kubernetes: {reasons[0]}")
    finally:
        for node in stage.gpu_nodes:
            stage.cluster.cordon(node, on=False)
    run.must_be_whole(RETRAINED)
    (pod,) = run.watch.of("xgboost_candidate")
    if pod.node not in stage.gpu_nodes:
        raise FailedError(f"xgboost_candidate ran on {pod.node}")


def deleted_pods(stage: Stage) -> None:
    """Pods of a training and of the registration are deleted at work, without grace: each is tried again."""
    run = stage.launch("retrain_model")
    victims = {}
    for step in ("lightgbm_candidate", "registered_model"):
        pod = run.running(step)
        victims[step] = pod.metadata.name
        stage.cluster.delete_pod(pod.metadata.name, grace_seconds=0)
        stage.report(f"deleted {pod.metadata.name} of {step}")
    record = run.must_be_whole(RETRAINED)
    for step in victims:
        stage.report(f"{step}: {run.retry_of(record, step)}")
        _report_attempts(stage, run, step)


def out_of_memory(stage: Stage) -> None:
    """A step gets too little memory and is killed; its next attempts ask for more until it is enough."""
    small = {"memory": "192Mi", "memory_growth": 3, "max_memory": "2Gi"}
    stage.installation.upgrade({"profiles": {"train-cpu": small}})
    try:
        run = stage.launch("retrain_model")
        record = run.must_be_whole(RETRAINED)
    finally:
        stage.installation.upgrade()
    stage.report(run.retry_of(record, "lightgbm_candidate", "out-of-memory", "192Mi"))
    attempts = _report_attempts(stage, run, "lightgbm_candidate")
    memories = [one.memory for one in attempts]
    if memories[:2] != ["192Mi", "576Mi"]:
        raise FailedError(f"the attempts asked for {memories}")
    if attempts[1].labels.get("credit-assets/retry-reason") != "out-of-memory":
        raise FailedError(f"labels of the second attempt: {attempts[1].labels}")


def drained_node(stage: Stage) -> None:
    """The GPU nodes are drained under a training: it waits until there is a node, and is trained there."""
    run = stage.launch("retrain_model")
    run.running("catboost_candidate")
    try:
        for node in stage.gpu_nodes:
            gone = stage.cluster.drain(node, run.watch.selector)
            stage.report(f"drained {node} of {', '.join(gone) or 'nothing'}")
        time.sleep(60)
        run.watch.look()
    finally:
        for node in stage.gpu_nodes:
            stage.cluster.cordon(node, on=False)
    record = run.must_be_whole(RETRAINED)
    for step in sorted(ON_GPU):
        _report_attempts(stage, run, step)
    retries = [f"{e['step']}: {e['text']}" for e in record["events"] if e["type"] == "STEP_UP_FOR_RETRY"]
    for text in retries:
        stage.report(text)
    if not any(text.startswith("catboost_candidate") for text in retries):
        stage.report("catboost_candidate ended within its grace period")


def lost_run_pod(stage: Stage) -> None:
    """The pod of the run itself is deleted under a training: the run is given up, and another goes on from there."""
    run = stage.launch("retrain_model")
    run.running("lightgbm_candidate")
    for pod in run.run_pods():
        stage.cluster.delete_pod(pod.metadata.name, grace_seconds=0)
        stage.report(f"deleted {pod.metadata.name}")
    again = run.again()
    again.must_be_whole(RETRAINED, before=run)
    if "training_set" in {one.step for one in again.watch.seen.values()}:
        raise FailedError("the run that went on made training_set again")


def quota_refuses_a_pod(stage: Stage) -> None:
    """The namespace's quota has no memory left for a step's pod: the run's log says so, and it starts once there is."""
    run = stage.launch("retrain_model")
    run.begun()
    with _quota(stage, "requests.memory", 256 << 20):
        stage.report(f"event: {run.says('training_set', 'exceeded quota')}")
        if run.watch.of("training_set"):
            raise FailedError("there is a pod of training_set, which the quota should have refused")
    run.must_be_whole(RETRAINED)
    _report_attempts(stage, run, "training_set")


def quota_refuses_a_job(stage: Stage) -> None:
    """The quota has no Job left for a step, which is refused with 403: the step waits, and the run goes on with it."""
    run = stage.launch("retrain_model")
    run.begun()
    with _quota(stage, "count/jobs.batch", 0):
        stage.report(f"event: {run.says('training_set', 'exceeded quota')}")
    run.must_be_whole(RETRAINED)
    _report_attempts(stage, run, "training_set")


def quota_refuses_a_run(stage: Stage) -> None:
    """The quota has no Job left for a run itself: it waits in the queue and says why, and starts once there is room."""
    with _quota(stage, "count/jobs.batch", 0):
        run = stage.launch("ingest_loans")
        stage.report(f"event: {run.says('waits for its Job', 'exceeded quota')}")
        if (status := run.record()["status"]) != "QUEUED":
            raise FailedError(f"the run whose Job was refused is {status}")
        if run.run_pods():
            raise FailedError("there is a pod of the run, whose Job the quota should have refused")
    run.must_be_whole(INGESTED)


def api_server_restarted(stage: Stage) -> None:
    """The API server is away under the trainings: neither they nor the run take harm."""
    run = stage.launch("retrain_model")
    run.running("lightgbm_candidate")
    stage.shell("CREDIT_E2E_RESTART_API", stage.given.restart_api)
    wait_for("the API server to answer", 300, lambda: _answers(stage), every=2)
    record = run.must_be_whole(RETRAINED)
    for step in TRAINED:
        _report_attempts(stage, run, step)
    again = {e["step"]: e["text"] for e in record["events"] if e["type"] == "STEP_UP_FOR_RETRY"}
    if again:
        raise FailedError(f"steps were tried again: {again}")


def node_lost(stage: Stage) -> None:
    """A node is gone under a GPU training, and comes back: the step is told as lost, and tried again."""
    run = stage.launch("retrain_model")
    pod = run.running("catboost_candidate")
    node = pod.spec.node_name
    stage.shell("CREDIT_E2E_LOSE_NODE", stage.given.lose_node, node)
    try:
        stage.report(f"event: {run.says('catboost_candidate', 'node-lost')}")
    finally:
        stage.shell("CREDIT_E2E_RETURN_NODE", stage.given.return_node, node)
    record = run.must_be_whole(RETRAINED)
    stage.report(run.retry_of(record, "catboost_candidate", "node-lost"))
    _report_attempts(stage, run, "catboost_candidate")


def settings_changed(stage: Stage) -> None:
    """The release is upgraded with another setting under a run: its pods keep the old one, later runs have the new."""
    name, before, after = "CREDIT_EARLY_STOPPING_ROUNDS", "10", "9"
    run = stage.launch("retrain_model")
    run.running("training_set")
    server = stage.installation.code_server()
    stage.installation.upgrade({"settings": {name: after}})
    try:
        now = stage.installation.code_server()
        if now.metadata.name == server.metadata.name:
            raise FailedError(f"the code server was not started again: {now.metadata.name}")
        late = run.running("lightgbm_candidate")
        found = {
            "of the run": stage.cluster.variables(late)[name],
            "of the code server": stage.cluster.variables(now)[name],
        }
        stage.report(f"{name} after the upgrade: {found}")
        if found != {"of the run": before, "of the code server": after}:
            raise FailedError(f"{name} after the upgrade: {found}, wanted {before} and {after}")
        run.must_be_whole(RETRAINED)
        next_one = stage.launch("ingest_loans")
        if (seen := stage.cluster.variables(next_one.begun())[name]) != after:
            raise FailedError(f"the next run has {name}={seen}, wanted {after}")
        next_one.must_be_whole(INGESTED)
    finally:
        stage.installation.upgrade()


def helm_tests(stage: Stage) -> None:
    """`helm test`: the release judges itself, with the rights and the settings of a step."""
    for name in stage.installation.helm_test():
        stage.report(f"Job {name} succeeded")


def trained_on_dask(stage: Stage) -> None:
    """With the chart's Dask, XGBoost and LightGBM are trained on its workers, and their records say so."""
    over = dask_values()
    workers, there = over["dask"]["workers"], f"tcp://{DASK}:{defaults()['dask']['port']}"
    stage.installation.upgrade(over)
    try:
        wait_for(f"{workers} Dask workers", 600, lambda: _workers(stage, there) == workers, every=5)
        run = stage.launch("retrain_model")
        record = run.must_be_whole(RETRAINED)
    finally:
        stage.installation.upgrade()
    told = {event["step"]: event["engine"] for event in record["events"] if event["engine"]}
    tagged = stage.installation.ask("models", stage.day.isoformat())["engines"][stage.day.isoformat()]
    stage.report(f"trained on, by materialization: {told}; by MLflow run: {tagged}")
    cluster = f"dask ({workers} workers)"
    expected = {step: cluster if step in ON_DASK else "one node" for step in TRAINED}
    if told != expected or tagged != expected:
        raise FailedError(f"trained on {told} (materializations) and {tagged} (MLflow runs), wanted {expected}")


def _workers(stage: Stage, scheduler: str) -> int:
    try:
        return int(stage.installation.ask("workers", scheduler)["workers"])
    except FailedError:
        # Nobody answers at its name yet.
        return 0


def backup_by_hand(stage: Stage) -> None:
    """The backup's CronJob, run at once as a Job: what it made is checked, brought back, and fits together there."""
    stage.installation.upgrade(backup_values(stage.given))
    try:
        printed = stage.installation.run_now("credit-assets-backup")
    finally:
        stage.installation.upgrade()
    kept = [line for line in printed.splitlines() if line.startswith(stage.given.store)]
    if not kept:
        raise FailedError(f"the Job says of no backup where it is: {printed}")
    stage.report(f"kept: {kept[-1]}")
    checked = stage.installation.run("python", "-c", SCRIPT.read_text("utf-8"), "check", kept[-1])
    stage.report(f"checked: {checked.strip()}")
    for line in drill(stage.given, kept[-1]).strip().splitlines():
        stage.report(f"brought back: {line}")


@contextmanager
def _quota(stage: Stage, resource: str, spare: int) -> Iterator[None]:
    """Less is left of the quota than a step needs: what is used now and `spare` beyond it."""
    found = stage.cluster.quotas_of(resource)
    if not found:
        raise FailedError(f"no ResourceQuota of {resource}")
    for name, _, used in found:
        less = str(_number(used) + spare)
        stage.cluster.allow(name, {resource: less})
        stage.report(f"quota {name} of {resource}: {less}, {used} are used")
    try:
        yield
    finally:
        for name, hard, _ in found:
            stage.cluster.allow(name, {resource: hard})
            stage.report(f"quota {name} of {resource}: {hard}")


def _number(quantity: str) -> int:
    from kubernetes.utils.quantity import parse_quantity

    return int(parse_quantity(quantity))


def _answers(stage: Stage) -> bool:
    try:
        stage.cluster.nodes()
    except Exception:
        # Refused and cut connections, and errors of an API server that is not ready yet, have no base in common.
        return False
    return True


def _report_attempts(stage: Stage, run: Run, step: str) -> list[Any]:
    never = datetime.max.replace(tzinfo=UTC)
    attempts = sorted(run.watch.of(step), key=lambda one: one.since or never)
    for one in attempts:
        number, reason = (one.labels.get(f"credit-assets/{name}", "none") for name in ("attempt", "retry-reason"))
        stage.report(
            f"{step} attempt {number} (retry reason {reason}): {one.name}, node {one.node}, memory {one.memory}, "
            f"{' > '.join(one.phases)}, {one.ended or 'deleted'}"
        )
    return attempts


def _seconds(one: Any) -> str:
    return f"{(one.until - one.since).total_seconds():.0f} s" if one.since and one.until else "no end seen"


SCENARIOS: dict[str, Callable[[Stage], None]] = {
    "daily": daily_run_on_its_nodes,
    "waiting": step_without_a_fitting_node,
    "deleted": deleted_pods,
    "out-of-memory": out_of_memory,
    "drained": drained_node,
    "lost-run": lost_run_pod,
    "pod-refused": quota_refuses_a_pod,
    "job-refused": quota_refuses_a_job,
    "api-restarted": api_server_restarted,
    "node-lost": node_lost,
    "settings-changed": settings_changed,
    "helm-test": helm_tests,
    "dask": trained_on_dask,
    "backup": backup_by_hand,
    "run-refused": quota_refuses_a_run,
}
