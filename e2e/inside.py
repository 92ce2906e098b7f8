"""What the end-to-end run asks from inside the cluster, where the event log and MLflow can be reached.

Belongs here: questions whose answer is one line of JSON on standard output. Sent to a pod of the code location as it
stands, so that it imports nothing of this folder; the image need not contain it.

    python - launch URL LOCATION JOB DAY    asks the webserver for a run of this job for this day, as its launchpad does
    python - known URL LOCATION             since when the webserver has the code location as it shows it
    python - run RUN_ID        the run's status and what its event log tells of steps
    python - again RUN_ID      the run that goes on with a lost one
    python - models DAY ...    registered versions, counted MLflow runs of candidates and where they were trained, by
                               as-of date
    python - workers ADDRESS   how many workers the Dask scheduler at this address has
"""

from __future__ import annotations

import json
import sys
from typing import Any

_TOLD = {
    "STEP_START",
    "STEP_SUCCESS",
    "STEP_FAILURE",
    "STEP_UP_FOR_RETRY",
    "STEP_RESTARTED",
    "ASSET_MATERIALIZATION",
    "ENGINE_EVENT",
    "RUN_FAILURE",
    "STEP_WORKER_STARTING",
}


_LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on Error { message }
  }
}
"""


_KNOWN = """
query Known {
  workspaceOrError {
    ... on Workspace { locationEntries { name updatedTimestamp locationOrLoadError { __typename } } }
  }
}
"""


def launched(webserver: str, location: str, job: str, day: str) -> dict[str, Any]:
    selector = {"repositoryLocationName": location, "repositoryName": "__repository__", "jobName": job}
    tags = [{"key": "dagster/partition", "value": day}]
    params = {"selector": selector, "runConfigData": {}, "executionMetadata": {"tags": tags}}
    answer = _asked(webserver, _LAUNCH, params=params)
    result = (answer.get("data") or {}).get("launchRun") or {}
    if "run" not in result:
        raise RuntimeError(f"the webserver did not launch {job}: {json.dumps(answer)[:1000]}")
    return {"run_id": result["run"]["runId"]}


def known_since(webserver: str, location: str) -> dict[str, Any]:
    """When the webserver read the code location as it shows it now; 0 where it could not."""
    answer = _asked(webserver, _KNOWN)
    for entry in ((answer.get("data") or {}).get("workspaceOrError") or {}).get("locationEntries") or []:
        if entry["name"] == location and entry["locationOrLoadError"]["__typename"] == "RepositoryLocation":
            return {"since": entry["updatedTimestamp"]}
    return {"since": 0}


def _asked(webserver: str, query: str, **variables: Any) -> dict[str, Any]:
    from urllib.request import Request, urlopen

    body = json.dumps({"query": query, "variables": variables}).encode()
    # The webserver's first answer waits until it has loaded the code location.
    with urlopen(Request(webserver, body, {"Content-Type": "application/json"}), timeout=300) as response:
        return dict(json.load(response))


def run_record(run_id: str) -> dict[str, Any]:
    from dagster import DagsterInstance

    with DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
        if run is None:
            return {"status": None, "tags": {}, "events": []}
        events = []
        for entry in instance.all_logs(run_id):
            event = entry.dagster_event
            if event is None or event.event_type_value not in _TOLD:
                continue
            words, error = [event.message or ""], _error(event.event_specific_data)
            while error is not None:
                words.append(f"{error.cls_name}: {error.message}".strip())
                error = error.cause
            events.append(
                {
                    "at": entry.timestamp,
                    "type": event.event_type_value,
                    "step": event.step_key,
                    "text": " | ".join(word.strip() for word in words if word.strip())[:2000],
                    "engine": _engine(event),
                }
            )
        return {"status": run.status.value, "tags": dict(run.tags), "events": events}


def _engine(event: Any) -> str | None:
    """Where a materialization says that its model was trained."""
    if event.event_type_value != "ASSET_MATERIALIZATION":
        return None
    value = event.step_materialization_data.materialization.metadata.get("engine")
    return None if value is None else str(value.value)


def _error(data: Any) -> Any:
    return getattr(data, "error", None)


def again_record(run_id: str) -> dict[str, Any]:
    from dagster import DagsterInstance, RunsFilter

    with DagsterInstance.get() as instance:
        runs = instance.get_runs(RunsFilter(tags={"dagster/parent_run_id": run_id}))
        return {"run_id": runs[0].run_id if runs else None}


def models_record(days: list[str]) -> dict[str, Any]:
    from credit_assets.resources import build_resources
    from credit_assets.settings import load_settings

    resources = build_resources(load_settings())
    server = resources["tracking"].server
    versions: dict[str, list[str]] = {day: [] for day in days}
    for version in resources["registry"].versions():
        if version.as_of.isoformat() in versions:
            versions[version.as_of.isoformat()].append(str(version.version))
    counted: dict[str, dict[str, int]] = {}
    engines: dict[str, dict[str, str]] = {}
    for day in days:
        runs = server.client.search_runs(
            [server.experiment_id],
            f"tags.role = 'candidate' and tags.partition = '{day}' and attributes.status = 'FINISHED'",
        )
        counted[day], engines[day] = {}, {}
        for run in runs:
            if "superseded_by" not in run.data.tags:
                asset = run.data.tags["asset"]
                counted[day][asset] = counted[day].get(asset, 0) + 1
                engines[day][asset] = run.data.tags.get("engine", "")
    return {"versions": versions, "candidates": counted, "engines": engines}


def dask_workers(scheduler: str) -> dict[str, Any]:
    from distributed import Client

    with Client(scheduler, timeout=60) as client:
        return {"workers": len(client.scheduler_info(n_workers=-1)["workers"])}


if __name__ == "__main__":
    question, *rest = sys.argv[1:]
    if question == "models":
        answer = models_record(rest)
    elif question in ("launch", "known"):
        answer = {"launch": launched, "known": known_since}[question](*rest)
    else:
        answer = {"run": run_record, "again": again_record, "workers": dask_workers}[question](rest[0])
    # Marked, since libraries may print as well.
    sys.stdout.write(f"\nANSWER {json.dumps(answer)}\n")
