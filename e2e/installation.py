"""The chart on a cluster: what Helm would do with it, and commands in the code server.

Belongs here: applying and upgrading a release in Helm's order, and waiting until it stands. Helm itself is not needed;
what it would send is rendered by `chart` from the values of `trial_values`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from e2e.chart import RELEASE, Rendered, adapted, annotated, render, services
from e2e.cluster import Cluster, FailedError, NotReadyError, wait_for
from e2e.names import Forwarder
from e2e.trial_values import LOANS_A_DAY, LOCATION, START, WEBSERVER_URL, WINDOW_DAYS, Given, secrets, values

_INSIDE = Path(__file__).with_name("inside.py")
_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")
_CODE_SERVER = "app.kubernetes.io/component=code"
# Names of a kind that no namespace holds: taken away with the trial, one by one.
_CLUSTER_WIDE = ("PriorityClass", "ClusterRole", "ClusterRoleBinding")
STAND_SECONDS = 900


class Installation:
    """The release in a namespace of its own, and commands in its code server."""

    def __init__(self, cluster: Cluster, given: Given) -> None:
        self.cluster, self.given = cluster, given
        self._applied: Rendered | None = None
        self._forwarder: Forwarder | None = None
        self._targets: dict[int, tuple[str, int]] = {}
        self._looks: dict[int, Callable[[], Any]] = {}

    def install(self) -> None:
        """As `helm install --wait`: Secrets, hooks, objects, and all servers up."""
        self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.given.namespace}})
        for name, data in secrets(self.given).items():
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque"}
            self.cluster.apply({**secret, "stringData": data})
        self.upgrade()

    def upgrade(self, over: Mapping[str, Any] | None = None) -> None:
        """As `helm upgrade --wait` with these values over those of the trial."""
        new, old = render(values(self.given, over), self.given.namespace), self._applied
        if old is None or new.before != old.before:
            self._run_hooks(new.before)
        for manifest in new.release:
            self._apply(manifest)
        if old is not None:
            self._take_away(old.release, new.release)
        self._applied = new
        self._stand_in_for_services(new)
        for manifest in new.release:
            if manifest["kind"] == "Deployment":
                self._wait_until_rolled_out(manifest["metadata"]["name"])
        wait_for("the webserver to have the code location anew", STAND_SECONDS, self._known, every=2)
        # Known before the API server is away for the first time.
        for look in self._looks.values():
            look()
        if old is not None:
            self._run_hooks(new.upgraded)

    def helm_test(self) -> list[str]:
        """As `helm test`: the Jobs that did it, each a success. Raises FailedError with the log of one that failed."""
        assert self._applied is not None
        self._run_hooks(self._applied.tests)
        return [m["metadata"]["name"] for m in self._applied.tests if m["kind"] in ("Job", "Pod")]

    def run_now(self, cron_job: str) -> str:
        """As `kubectl create job --from=cronjob/...`: what its Job printed, once it has succeeded. Raises FailedError
        with the log of one that failed.
        """
        assert self._applied is not None
        wanted = next(m for m in self._applied.release if m["kind"] == "CronJob" and m["metadata"]["name"] == cron_job)
        template = self.cluster.read(self._adapted(wanted))["spec"]["jobTemplate"]
        name = f"{cron_job}-by-hand"
        about = {"name": name, "labels": (template.get("metadata") or {}).get("labels") or {}}
        about["annotations"] = {"cronjob.kubernetes.io/instantiate": "manual"}
        self._run_hooks([{"apiVersion": "batch/v1", "kind": "Job", "metadata": about, "spec": template["spec"]}])
        return self._log_of(f"job-name={name}")

    def uninstall(self) -> None:
        for manifest in self._applied.release if self._applied else []:
            if manifest["kind"] in _CLUSTER_WIDE:
                self.cluster.delete(manifest)
        self.cluster.delete_namespace()
        if self._forwarder:
            self._forwarder.close()

    def _apply(self, manifest: Mapping[str, Any]) -> None:
        self.cluster.apply(self._adapted(manifest))

    def _adapted(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        return adapted(manifest, self.cluster.minor, self.given.names)

    def _run_hooks(self, manifests: list[dict[str, Any]]) -> None:
        for manifest in manifests:
            if manifest["kind"] == "Job":
                self.cluster.delete(manifest)
            self._apply(manifest)
            if manifest["kind"] == "Job":
                name = manifest["metadata"]["name"]
                wait_for(f"Job {name} to end", STAND_SECONDS, lambda name=name: self._done(name), every=2)  # type: ignore[misc]

    def _done(self, job: str) -> bool:
        for condition in self.cluster.batch.read_namespaced_job(job, self.cluster.namespace).status.conditions or []:
            if condition.type == "Failed" and condition.status == "True":
                raise FailedError(f"Job {job} failed: {condition.message}\n{self._log_of(f'job-name={job}')}")
            if condition.type == "Complete" and condition.status == "True":
                return True
        self._look_at_images(f"job-name={job}")
        return False

    def _take_away(self, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
        kept = {(m["kind"], m["metadata"]["name"]) for m in new}
        for manifest in old:
            of_helm = annotated(manifest).get("helm.sh/resource-policy") != "keep"
            if of_helm and (manifest["kind"], manifest["metadata"]["name"]) not in kept:
                self.cluster.delete(self._adapted(manifest))

    def _wait_until_rolled_out(self, name: str) -> None:
        import kubernetes

        apps = kubernetes.client.AppsV1Api()

        def stands() -> bool:
            found = apps.read_namespaced_deployment(name, self.cluster.namespace)
            status, wanted = found.status, found.spec.replicas
            if (status.observed_generation or 0) >= found.metadata.generation and (
                status.updated_replicas,
                status.available_replicas,
                status.replicas,
            ) == (wanted, wanted, wanted):
                return True
            self._look_at_images(",".join(f"{k}={v}" for k, v in found.spec.selector.match_labels.items()))
            return False

        wait_for(f"Deployment {name} to stand", STAND_SECONDS, stands, every=2)

    def _known(self) -> bool:
        """Whether the webserver has read the code location since its server was ready: runs that it launches then have
        the settings of that one.
        """
        server = self.code_server()
        if server is None:
            return False
        ready = next(one for one in server.status.conditions if one.type == "Ready").last_transition_time
        return bool(self.ask("known", WEBSERVER_URL, LOCATION)["since"] >= ready.timestamp())

    def _look_at_images(self, selector: str) -> None:
        for pod in self.cluster.pods(selector):
            statuses = [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]
            for status in statuses:
                waiting = status.state.waiting if status.state else None
                if waiting and waiting.reason in _NO_IMAGE:
                    raise NotReadyError(f"the nodes cannot get {status.image}: {waiting.reason}: {waiting.message}")
                if status.restart_count > 6:
                    raise FailedError(f"{pod.metadata.name} does not stay up:\n{self._log_of(selector)}")

    def _log_of(self, selector: str) -> str:
        texts = []
        for pod in self.cluster.pods(selector):
            for container in [*(pod.spec.init_containers or []), *pod.spec.containers]:
                log = self.cluster.log(pod.metadata.name, container.name, lines=15)
                none = f"{pod.metadata.name} has no log of {container.name}: {pod.status.phase}"
                texts.append(none if log is None else log)
        return "\n".join(texts)

    # Without Services

    def _stand_in_for_services(self, rendered: Rendered) -> None:
        if not self.given.names_address:
            return
        self._forwarder = self._forwarder or Forwarder(self.given.names_address)
        for name, (selector, ports) in services(rendered.release).items():
            if name in self.given.names:
                labels = ",".join(f"{key}={value}" for key, value in selector.items())
                for port, leads_to in ports:
                    target = partial(self._target, port, labels, leads_to)
                    self._forwarder.listen(port, target)
                    self._looks[port] = target

    def _target(self, port: int, selector: str, leads_to: Any) -> tuple[str, int] | None:
        try:
            for pod in self.cluster.pods(selector):
                ready = all(status.ready for status in pod.status.container_statuses or [])
                if pod.status.phase == "Running" and ready and not pod.metadata.deletion_timestamp:
                    self._targets[port] = pod.status.pod_ip, _port_of(pod, leads_to)
                    break
        except Exception:
            # The API server is away: connections go where they went before, as kube-proxy's do.
            return self._targets.get(port)
        return self._targets.get(port)

    # Commands

    def code_server(self) -> Any:
        """The pod of the code server that is ready, the newest one of several."""
        pods = [
            pod
            for pod in self.cluster.pods(f"app.kubernetes.io/instance={RELEASE},{_CODE_SERVER}")
            if pod.status.phase == "Running"
            and not pod.metadata.deletion_timestamp
            and all(status.ready for status in pod.status.container_statuses or [])
        ]
        return max(pods, key=lambda pod: pod.metadata.creation_timestamp) if pods else None

    def run(self, *command: str, seconds: float = 1800) -> str:
        """The output of a command in the code server's pod, which has settings and rights of the code location."""
        pod = wait_for("the code server to be ready", STAND_SECONDS, self.code_server, every=2)
        return self.cluster.run(pod.metadata.name, command, seconds=seconds)

    def ask(self, *question: str) -> dict[str, Any]:
        """The answer of `inside.py`, sent to that pod."""
        text = self.run("python", "-c", _INSIDE.read_text("utf-8"), *question)
        line = next(line for line in reversed(text.splitlines()) if line.startswith("ANSWER "))
        return dict(json.loads(line.removeprefix("ANSWER ")))

    def load_history(self, last: date) -> str:
        """Loans up to `last` into the warehouse, and what trainings up to it read, by day."""
        days = (last - START).days + 1
        self.run(
            "credit-assets", "generate", "--rows", str(days * LOANS_A_DAY), "--start", START.isoformat(),
            "--end", last.isoformat(),
        )  # fmt: skip
        cohorts = last - timedelta(WINDOW_DAYS)
        parts = [
            ("raw_loan_data,processed_features", START, cohorts),
            ("loan_outcomes", START, last),
        ]
        messages = [
            self.run(
                "credit-assets", "backfill", "--assets", assets, "--start", first.isoformat(), "--end", end.isoformat()
            )
            for assets, first, end in parts
        ]
        return "; ".join(" ".join(text.split()) for text in messages)


def _port_of(pod: Any, leads_to: Any) -> int:
    if isinstance(leads_to, int):
        return leads_to
    return next(
        int(port.container_port) for c in pod.spec.containers for port in c.ports or [] if port.name == leads_to
    )
