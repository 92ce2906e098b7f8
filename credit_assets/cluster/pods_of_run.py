"""The Jobs and pods of a run's steps, asked for together.

One list of each serves all steps of a round of looks: a read for each step and its pods would be a thousand requests in
ten seconds for a run of 500 steps. What has not changed since the last list (its `resourceVersion`) is not read again,
since making objects of the answers is most of the work.

Belongs here: what the cluster has. Does not belong here: what it means (`credit_assets.cluster.losses`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_STEPS = "app.kubernetes.io/component=step_worker"
# Both are put on the pod by the Job's controller.
_JOB_LABEL = "job-name"


@dataclass
class PodsSeen:
    """What one look at a run's Jobs and pods found: Jobs by name, pods by Job, oldest first."""

    jobs: dict[str, Any] = field(default_factory=dict)
    pods: dict[str, list[Any]] = field(default_factory=dict)

    def pods_of(self, name: str) -> list[Any]:
        return self.pods.get(name, [])


class PodsOfRun:
    """Looks at the steps of a run. A look serves each Job once: whoever asks for one again begins a new round."""

    def __init__(self, batch_api: Any, core_api: Any) -> None:
        self._batch, self._core = batch_api, core_api
        self._look: PodsSeen | Exception | None = None
        self._served: set[str] = set()
        self._events: dict[str, str] | None = None
        self._known: dict[str, tuple[str, Any]] = {}

    def outdated(self) -> None:
        """What was seen does not hold any more: something was made or deleted."""
        self._look = None

    def look(self, name: str, run_id: str, namespace: str) -> PodsSeen:
        """What there is, seen since the Job was last asked for. Raises what the API client raises."""
        if self._look is None or name in self._served:
            self._served, self._events = set(), None
            try:
                self._look = self._list(run_id, namespace)
            except Exception as error:
                # An API that does not answer is waited for once a round, and not for each step.
                self._look = error
        self._served.add(name)
        if isinstance(self._look, Exception):
            raise self._look
        return self._look

    def _list(self, run_id: str, namespace: str) -> PodsSeen:
        selector = f"dagster/run-id={run_id},{_STEPS}"
        options = {"label_selector": selector, "_preload_content": False}
        known: dict[str, tuple[str, Any]] = {}
        # Jobs first: a pod that is made meanwhile is seen, and a Job without its pod is not.
        jobs = list(self._changed(self._batch.list_namespaced_job(namespace, **options), "V1Job", known))
        pods = list(self._changed(self._core.list_namespaced_pod(namespace, **options), "V1Pod", known))
        self._known = known
        look = PodsSeen({job.metadata.name: job for job in jobs})
        for pod in sorted(pods, key=lambda pod: pod.metadata.creation_timestamp):
            look.pods.setdefault(pod.metadata.labels.get(_JOB_LABEL, ""), []).append(pod)
        return look

    def _changed(self, answer: Any, kind: str, known: dict[str, tuple[str, Any]]) -> Iterator[Any]:
        for item in json.loads(answer.data)["items"]:
            uid, version = item["metadata"].get("uid", ""), item["metadata"].get("resourceVersion", "")
            before = self._known.get(uid)
            same = before is not None and version and before[0] == version
            found = before[1] if before is not None and same else self._object(item, kind)
            known[uid] = (version, found)
            yield found

    def _object(self, item: dict[str, Any], kind: str) -> Any:
        class Answer:
            data = json.dumps(item)

        return self._core.api_client.deserialize(Answer, kind)

    def refusal(self, name: str, namespace: str) -> str:
        """Why the controller of a Job could not make its pod, by the newest of the Job's events; empty where it could.

        The events of all Jobs are asked for once a look.
        """
        if self._events is None:
            found = self._core.list_namespaced_event(
                namespace,
                field_selector="involvedObject.kind=Job,reason=FailedCreate",
            ).items
            found.sort(key=lambda event: event.last_timestamp or event.metadata.creation_timestamp)
            self._events = {event.involved_object.name: event.message or "" for event in found}
        return self._events.get(name, "")

    def troubles(self, pod: Any) -> str:
        """What the kubelet says of a pod that is on its way for long, such as a volume that is not there."""
        found = self._core.list_namespaced_event(
            pod.metadata.namespace,
            field_selector=f"involvedObject.kind=Pod,involvedObject.name={pod.metadata.name},type=Warning",
        ).items
        found.sort(key=lambda event: event.last_timestamp or event.metadata.creation_timestamp)
        return f"{found[-1].reason}: {found[-1].message or ''}" if found else ""
