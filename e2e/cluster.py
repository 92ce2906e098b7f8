"""A Kubernetes cluster as the end-to-end run needs it: objects, commands in pods, nodes that are cordoned and drained.

Belongs here: calls of the Kubernetes API. Does not belong here: what is installed (`installation`) and what is shown
(`scenarios`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import kubernetes
from kubernetes.client import ApiException
from kubernetes.config import ConfigException
from kubernetes.stream import stream

GPU = "nvidia.com/gpu"
GPU_LABEL = "gpu-type"
# Where `kubectl apply` keeps what it applied.
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
T = TypeVar("T")


class NotReadyError(RuntimeError):
    """Something that the run needs is not there; the message says what."""


class FailedError(AssertionError):
    """The cluster did not do what it should; the message says what it did."""


def refusal(error: ApiException) -> str:
    """What the Kubernetes API answered, in a line."""
    try:
        message = json.loads(error.body or "")["message"]
    except (ValueError, KeyError, TypeError):
        message = str(error.body or "").strip()[:300]
    return f"the Kubernetes API answered {error.status} {error.reason}: {message}"


def wait_for(what: str, seconds: float, look: Callable[[], T | None], every: float = 1.0) -> T:
    """What `look` finds, once it finds something. Raises FailedError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        if result := look():
            return result
        if time.monotonic() > deadline:
            raise FailedError(f"waited {seconds:.0f} s for {what} in vain")
        time.sleep(every)


def remembered(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The object with a note of what it says, by which the next one is told what is not said any more; Secrets have
    none, which would hold their content a second time.
    """
    if manifest["kind"] == "Secret":
        return dict(manifest)
    about = manifest["metadata"]
    note = {_APPLIED: json.dumps(manifest, sort_keys=True)}
    return {**manifest, "metadata": {**about, "annotations": {**(about.get("annotations") or {}), **note}}}


def applied_before(found: Mapping[str, Any]) -> dict[str, Any]:
    """What was applied last time, by the object's note; nothing where it has none."""
    return dict(json.loads((found["metadata"].get("annotations") or {}).get(_APPLIED, "{}")))


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """A merge patch that says all of `now`, and takes out what only `before` said."""
    patch: dict[str, Any] = {key: None for key in before if key not in now}
    for key, value in now.items():
        both = isinstance(value, Mapping) and isinstance(before.get(key), Mapping)
        patch[key] = changes(before[key], value) if both else value
    return patch


class Cluster:
    """The cluster that KUBECONFIG names. Raises NotReadyError where there is none."""

    def __init__(self, namespace: str, context: str | None = None) -> None:
        self.namespace = namespace
        try:
            kubernetes.config.load_kube_config(context=context)
            code = kubernetes.client.VersionApi().get_code()
            self.version = code.git_version
            # Managed clusters say "27+".
            self.minor = int(code.major), int(code.minor.rstrip("+"))
        except ConfigException as error:
            raise NotReadyError(f"no cluster: {error}; point KUBECONFIG at one") from error
        except Exception as error:
            # The API's own errors, urllib3's and the operating system's have no base in common.
            text = " ".join(str(error).split())[:300]
            raise NotReadyError(f"the cluster of KUBECONFIG does not answer: {text}") from error
        self.core, self.batch = kubernetes.client.CoreV1Api(), kubernetes.client.BatchV1Api()
        self._dynamic: Any = None

    # Objects

    def apply(self, manifest: Mapping[str, Any]) -> None:
        """Create an object, or change the one of its name as `kubectl apply` does."""
        resource, where = self._resource(manifest)
        body = remembered(manifest)
        try:
            resource.create(body=body, **where)
        except ApiException as error:
            if error.status != 409:
                raise
            patch = changes(applied_before(self.read(manifest)), body)
            name = manifest["metadata"]["name"]
            resource.patch(name=name, body=patch, content_type="application/merge-patch+json", **where)

    def read(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """The object of this kind and name, as it is on the cluster."""
        resource, where = self._resource(manifest)
        return dict(resource.get(name=manifest["metadata"]["name"], **where).to_dict())

    def delete(self, manifest: Mapping[str, Any]) -> None:
        """Delete an object with what belongs to it, and wait until it is gone."""
        resource, where = self._resource(manifest)
        name = manifest["metadata"]["name"]

        def gone() -> bool:
            try:
                resource.delete(name=name, body={"propagationPolicy": "Background"}, **where)
            except ApiException as error:
                if error.status != 404:
                    raise
                return True
            return False

        wait_for(f"{manifest['kind']} {name} to go", 120, gone)

    def _resource(self, manifest: Mapping[str, Any]) -> tuple[Any, dict[str, str]]:
        from kubernetes.dynamic import DynamicClient

        self._dynamic = self._dynamic or DynamicClient(kubernetes.client.ApiClient())
        resource = self._dynamic.resources.get(api_version=manifest["apiVersion"], kind=manifest["kind"])
        return resource, {"namespace": self.namespace} if resource.namespaced else {}

    def delete_namespace(self) -> None:
        """Delete everything that was installed, and wait until it is gone."""
        if not self._namespace_exists():
            return
        self.core.delete_namespace(self.namespace)
        wait_for(f"namespace {self.namespace} to go", 300, lambda: not self._namespace_exists())

    def _namespace_exists(self) -> bool:
        try:
            self.core.read_namespace(self.namespace)
            return True
        except ApiException as error:
            if error.status == 404:
                return False
            raise

    def quotas_of(self, resource: str) -> list[tuple[str, str, str]]:
        """The namespace's ResourceQuotas of a resource: of each its name, what it allows and what of that is used."""
        quotas = self.core.list_namespaced_resource_quota(self.namespace).items
        return [
            (one.metadata.name, one.spec.hard[resource], (one.status.used or {}).get(resource, "0"))
            for one in quotas
            if resource in (one.spec.hard or {})
        ]

    def allow(self, name: str, hard: Mapping[str, str]) -> None:
        """Change what a ResourceQuota allows."""
        self.core.patch_namespaced_resource_quota(name, self.namespace, {"spec": {"hard": dict(hard)}})

    def variables(self, pod: Any) -> dict[str, str]:
        """The environment of a pod's first container that comes from ConfigMaps, as it stands there now."""
        found: dict[str, str] = {}
        for source in pod.spec.containers[0].env_from or []:
            if source.config_map_ref:
                read = self.core.read_namespaced_config_map(source.config_map_ref.name, self.namespace)
                found |= read.data or {}
        return found

    # Pods

    def pods(self, selector: str) -> list[Any]:
        return list(self.core.list_namespaced_pod(self.namespace, label_selector=selector).items)

    def delete_pod(self, name: str, grace_seconds: int | None = None) -> None:
        self.core.delete_namespaced_pod(name, self.namespace, grace_period_seconds=grace_seconds)

    def log(self, pod: str, container: str | None = None, lines: int | None = None) -> str | None:
        """What a container has printed, or the last lines of it; None where it has no log."""
        only = {name: value for name, value in (("container", container), ("tail_lines", lines)) if value is not None}
        try:
            # Taken as it comes: the client makes of the bytes a text that shows bytes.
            answer = self.core.read_namespaced_pod_log(pod, self.namespace, _preload_content=False, **only)
        except ApiException as error:
            if error.status in (400, 404):
                return None
            raise
        return bytes(answer.data).decode("utf-8", "replace")

    def events(self, name: str) -> list[str]:
        """Reasons and messages of what happened to a pod or a Job, oldest first."""
        events = self.core.list_namespaced_event(self.namespace, field_selector=f"involvedObject.name={name}").items
        start = datetime.min.replace(tzinfo=UTC)
        events.sort(key=lambda event: event.first_timestamp or event.event_time or start)
        return [f"{event.reason}: {event.message}" for event in events]

    def run(self, pod: str, command: Sequence[str], seconds: float = 900) -> str:
        """The standard output of a command in a pod. Raises FailedError, with its last lines, where it fails."""
        session = stream(
            self.core.connect_get_namespaced_pod_exec,
            pod,
            self.namespace,
            command=list(command),
            stdin=False,
            stdout=True,
            stderr=True,
            tty=False,
            _preload_content=False,
        )
        out, err = [], []
        deadline = time.monotonic() + seconds
        try:
            while session.is_open():
                session.update(timeout=2)
                out.append(session.read_stdout() if session.peek_stdout() else "")
                err.append(session.read_stderr() if session.peek_stderr() else "")
                if time.monotonic() > deadline:
                    raise FailedError(f"{' '.join(command)[:100]} in pod {pod} took more than {seconds:.0f} s")
            code = session.returncode
        finally:
            session.close()
        if code:
            tail = "\n".join("".join([*out, *err]).splitlines()[-15:])
            raise FailedError(f"{' '.join(command)[:100]} in pod {pod} ended with exit code {code}:\n{tail}")
        return "".join(out)

    # Nodes

    def nodes(self) -> list[Any]:
        return list(self.core.list_node().items)

    def gpu_nodes(self, kind: str) -> list[str]:
        """Names of nodes that are labelled with this type of GPU and offer at least one."""
        return [
            node.metadata.name
            for node in self.nodes()
            if (node.metadata.labels or {}).get(GPU_LABEL) == kind and int((node.status.allocatable or {}).get(GPU, 0))
        ]

    def cordon(self, node: str, on: bool = True) -> None:
        self.core.patch_node(node, {"spec": {"unschedulable": on}})

    def drain(self, node: str, selector: str) -> list[str]:
        """Cordon a node and evict the pods of this selector from it, as `kubectl drain` does. Returns their names."""
        self.cordon(node)
        names = [pod.metadata.name for pod in self.pods(selector) if pod.spec.node_name == node and _alive(pod)]
        for name in names:
            self._evict(name)
        return names

    def _evict(self, pod: str) -> None:
        # The API answered to v1beta1 alone before 1.22, and to v1 alone from 1.25 on.
        for version in ("policy/v1", "policy/v1beta1"):
            body = {"apiVersion": version, "kind": "Eviction", "metadata": {"name": pod, "namespace": self.namespace}}
            try:
                self.core.create_namespaced_pod_eviction(pod, self.namespace, body, _preload_content=False)
                return
            except ApiException as error:
                if version == "policy/v1beta1" or error.status not in (400, 404, 415):
                    raise


def _alive(pod: Any) -> bool:
    return pod.status.phase not in ("Succeeded", "Failed") and pod.metadata.deletion_timestamp is None


@dataclass
class Seen:
    """What was seen of a pod of a run while it was there."""

    name: str
    step: str
    labels: dict[str, str]
    node: str | None = None
    phases: list[str] = field(default_factory=list)
    ended: str = ""
    memory: str = ""
    selector: dict[str, str] = field(default_factory=dict)
    gpus: int = 0
    since: datetime | None = None
    until: datetime | None = None


class Watch:
    """Remembers the step pods of a run: a pod that was deleted is not there to be looked at any more."""

    def __init__(self, cluster: Cluster, run_id: str) -> None:
        self.cluster, self.selector = cluster, f"dagster/run-id={run_id},dagster/op"
        self.seen: dict[str, Seen] = {}

    def look(self) -> list[Any]:
        """The step pods as they are now, oldest first."""
        pods = sorted(self.cluster.pods(self.selector), key=lambda pod: pod.metadata.creation_timestamp)
        for pod in pods:
            labels = pod.metadata.labels
            container = pod.spec.containers[0]
            one = self.seen.setdefault(
                pod.metadata.name,
                Seen(
                    pod.metadata.name,
                    labels["dagster/op"],
                    labels,
                    memory=(container.resources.limits or {}).get("memory", ""),
                    gpus=int((container.resources.limits or {}).get(GPU, 0)),
                    selector=dict(pod.spec.node_selector or {}),
                    since=pod.metadata.creation_timestamp,
                ),
            )
            one.node = pod.spec.node_name or one.node
            if not one.phases or one.phases[-1] != pod.status.phase:
                one.phases.append(pod.status.phase)
            for status in pod.status.container_statuses or []:
                over = status.state and status.state.terminated
                if over:
                    one.ended, one.until = f"{over.reason} ({over.exit_code})", over.finished_at
        return pods

    def of(self, step: str) -> list[Seen]:
        return [one for one in self.seen.values() if one.step == step]

    def running(self, step: str) -> Any | None:
        """The pod in which this step is at work; None while there is none."""
        for pod in self.look():
            if pod.metadata.labels["dagster/op"] == step and pod.status.phase == "Running" and _alive(pod):
                return pod
        return None
