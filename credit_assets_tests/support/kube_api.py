"""A Kubernetes API for tests: an HTTPS endpoint that takes Jobs, shows their pods, and runs them as processes here.

It speaks the batch and core calls that the executor makes, with tokens and a certificate as a cluster has. What a
cluster does with a Job (place, run, kill, replace) a test does by name: `Cluster.rules` says it for each step.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import yaml

TOKEN = "a-token-that-opens"
IMAGE = "registry.example.org/credit-assets:0.1.0"
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["credit_assets.preload", "credit_assets.preload_libraries", "dagster._cli.api"])


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1 and its key."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "api.crt", folder / "api.key"
    files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    pem, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, pem, plain))
    return files


def run_in_pod(args: list[str], environment: Mapping[str, str], log: str) -> None:
    """The container: the command of a Job in a process of its own, under its environment."""
    os.environ.update(environment)
    output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    from dagster._cli.api import api_cli

    assert args[:2] == ["dagster", "api"], args
    api_cli.main(args[2:], standalone_mode=True)


@dataclass
class Pod:
    job: dict[str, Any]
    number: int
    rule: Callable[[Pod], None]
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    node: str | None = None
    phase: str = "Pending"
    reason: str | None = None
    conditions: list[dict[str, Any]] = field(default_factory=list)
    message: str | None = None
    ended: dict[str, Any] | None = None
    # Of its container, while it does not start: reason and message.
    waiting: dict[str, str] | None = None
    deleted: datetime | None = None
    gone: bool = False
    # Whether it works on for its grace period when its Job is deleted.
    outlives: bool = False
    process: Any = None
    log: str = ""
    # What the pod's env_from and mounted files would give.
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.job['metadata']['name']}-{self.number:05d}"

    @property
    def template(self) -> dict[str, Any]:
        found: dict[str, Any] = self.job["spec"]["template"]
        return found

    @property
    def labels(self) -> dict[str, str]:
        return {**self.template["metadata"]["labels"], "job-name": self.job["metadata"]["name"]}

    @property
    def container(self) -> dict[str, Any]:
        found: dict[str, Any] = self.template["spec"]["containers"][0]
        return found

    def start(self, node: str = "node-0") -> None:
        self.node, self.phase = node, "Running"
        self.conditions = [{"type": "PodScheduled", "status": "True"}]
        given = {one["name"]: str(one["value"]) for one in self.container.get("env", []) if "value" in one}
        environment = {**self.environment, **given}
        process = _FORKS.Process(target=run_in_pod, args=(self.container["args"], environment, self.log))
        process.start()
        self.process = process

    def wait(self) -> None:
        """Until its process ends, with what the kubelet would say of it."""
        self.process.join()
        code = self.process.exitcode
        self.end(code if code >= 0 else 128 - code)

    def end(self, code: int, reason: str | None = None) -> None:
        self.phase = "Succeeded" if code == 0 else "Failed"
        self.ended = {"exitCode": code, "reason": reason or ("Completed" if code == 0 else "Error")}

    def until_started(self) -> None:
        """Until its step has begun to work, by its own log."""
        begun = False
        while not begun:
            alive = self.process.is_alive()
            begun = bool(re.search("STEP_(RE)?START", Path(self.log).read_text() if os.path.exists(self.log) else ""))
            assert begun or alive, "the process ended before its step began"
            time.sleep(0.05)

    def kill(self, signum: int = signal.SIGKILL) -> None:
        os.kill(self.process.pid, signum)
        self.process.join()

    @property
    def as_json(self) -> dict[str, Any]:
        state = {"terminated": self.ended} if self.ended else {"running": {}} if self.phase == "Running" else None
        metadata: dict[str, Any] = {
            "name": self.name,
            "uid": self.name,
            "namespace": "credit",
            "labels": self.labels,
            "creationTimestamp": _stamp(self.created),
        }
        if self.deleted:
            metadata["deletionTimestamp"] = _stamp(self.deleted)
        status: dict[str, Any] = {"phase": self.phase, "conditions": self.conditions}
        if self.reason:
            status["reason"] = self.reason
        if self.message:
            status["message"] = self.message
        if self.waiting and not self.ended:
            state = {"waiting": self.waiting}
        if state:
            status["containerStatuses"] = [
                {"name": "dagster", "image": "i", "imageID": "i", "ready": False, "restartCount": 0, "state": state}
            ]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {**self.template["spec"], **({"nodeName": self.node} if self.node else {})},
            "status": status,
        }


def run(pod: Pod) -> None:
    """The usual life of a pod."""
    pod.start()
    pod.wait()


class Cluster:
    """The endpoint. `jobs` holds every Job as it was sent, in order; `rules` what happens to the pods of a step, by its
    attempts: the last rule goes on for all later ones."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str] | None = None, replaces_deleted: bool = False
    ) -> None:
        self.folder = folder
        self.environment = dict(environment or {})
        self.replaces_deleted = replaces_deleted
        self.jobs: list[dict[str, Any]] = []
        self.pods: list[Pod] = []
        self.requests: list[str] = []
        self.queries: list[tuple[str, str]] = []
        self.rules: dict[str, list[Callable[[Pod], None]]] = {}
        self.alive: dict[str, dict[str, Any]] = {}
        # What is answered beside Jobs and their pods: by "METHOD path" the body, or what makes it of the body sent.
        self.answers: dict[str, Any] = {}
        self.denied: dict[str, Any] = {}
        # What the API answers to a Job that is to be made, in the place of making it: status, words and headers, or
        # nothing to make it. "lost" makes it and gives no answer.
        self.refuses: Callable[[dict[str, Any]], tuple[int, str, dict[str, str]] | str | None] = lambda job: None
        # Steps whose pods nobody may make, and what the Job's controller says of that.
        self.no_pods: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []
        self.away = False
        # Takes requests and answers none, until it is set again.
        self.speaks = threading.Event()
        self.speaks.set()
        self._lock = threading.Lock()
        cluster = self

        class Handler(_Handler):
            api = cluster

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        cert, key = certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                    "users": [{"name": "test", "user": {"token": TOKEN}}],
                    "clusters": [
                        {
                            "name": "test",
                            "cluster": {
                                "server": f"https://127.0.0.1:{self.server.server_address[1]}",
                                "certificate-authority": str(cert),
                            },
                        }
                    ],
                }
            )
        )

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.speaks.set()
        self.server.shutdown()
        self.server.server_close()
        for pod in self.pods:
            if pod.process is not None and pod.process.is_alive():
                pod.kill()

    def instance_config(self, home: Path) -> dict[str, Any]:
        """The run launcher's part of a dagster.yaml for this cluster."""
        return {
            "module": "credit_assets.cluster.run_launcher",
            "class": "PatientK8sRunLauncher",
            "config": {
                "load_incluster_config": False,
                "kubeconfig_file": str(self.kubeconfig),
                "job_namespace": "credit",
                "job_image": IMAGE,
                "image_pull_policy": "IfNotPresent",
                "service_account_name": "credit-assets-run",
                "dagster_home": str(home),
                "instance_config_map": "credit-assets-instance",
                "postgres_password_secret": "credit-assets-postgresql",
                "env_secrets": ["credit-assets-connections"],
                "env_config_maps": ["credit-assets-settings"],
            },
        }

    def instance_overrides(self, home: Path) -> dict[str, Any]:
        """The parts of a dagster.yaml by which runs become pods of this cluster."""
        queue = {"module": "credit_assets.cluster.run_queue", "class": "PatientRunCoordinator"}
        return {"run_launcher": self.instance_config(home), "run_coordinator": queue}

    def of_step(self, step: str) -> list[dict[str, Any]]:
        return [job for job in self.jobs if job["metadata"]["labels"]["dagster/op"] == step]

    # What the API is asked

    def create(self, job: dict[str, Any]) -> dict[str, Any] | None:
        """The Job as it was made; None where there is one of its name."""
        name = job["metadata"]["name"]
        with self._lock:
            if name in self.alive:
                return None
            self.jobs.append(job)
            made = {**job["metadata"], "uid": name, "creationTimestamp": _stamp(datetime.now(UTC))}
            self.alive[name] = {**job, "metadata": made}
        why = self.no_pods.get(job["metadata"]["labels"].get("dagster/op", ""))
        if why is None:
            self.place(job, 0)
        else:
            self.events.append(event("Job", name, "FailedCreate", why))
        return {**job, "status": {}}

    def place(self, job: dict[str, Any], number: int) -> None:
        step = job["metadata"]["labels"]["dagster/op"]
        rules = self.rules.get(step) or [run]
        attempt = len(self.of_step(step)) - 1
        pod = Pod(job, number, rules[min(attempt, len(rules) - 1)])
        pod.log = str(self.folder / f"{pod.name}.log")
        pod.environment = self.environment
        self.pods.append(pod)

        def live() -> None:
            pod.rule(pod)
            if pod.gone and self.replaces_deleted and job["metadata"]["name"] in self.alive:
                self.place(job, number + 1)

        threading.Thread(target=live, daemon=True).start()

    def pods_of(self, name: str) -> list[Pod]:
        return [pod for pod in self.pods if pod.job["metadata"]["name"] == name and not pod.gone]

    def status(self, name: str) -> dict[str, Any] | None:
        job = self.alive.get(name)
        if job is None:
            return None
        made = [pod for pod in self.pods if pod.job["metadata"]["name"] == name]
        pods = [pod for pod in made if not pod.gone]
        leaving = [pod for pod in pods if pod.deleted and pod.phase in ("Pending", "Running")]
        at_work = [pod for pod in pods if pod.phase in ("Pending", "Running") and not pod.deleted]
        # Since Kubernetes 1.26 a pod that is to go counts as failed at once, unless the Job says to wait for its end.
        waits = job["spec"].get("podReplacementPolicy") == "Failed"
        status: dict[str, Any] = {"active": len(at_work), "terminating": len(leaving)}
        if any(pod.phase == "Succeeded" for pod in pods):
            status |= {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}
        elif any(pod.phase == "Failed" for pod in pods) or (leaving and not waits) or (made and not pods):
            why = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
            status |= {"failed": 1, "conditions": [why]}
        return {**job, "status": status}

    def delete(self, name: str) -> dict[str, Any] | None:
        job = self.alive.pop(name, None)
        for pod in self.pods_of(name):
            pod.gone = not pod.outlives
            if pod.outlives and not pod.deleted:
                pod.deleted = datetime.now(UTC) + timedelta(seconds=30)
            if pod.process is not None and pod.process.is_alive():
                pod.kill(signal.SIGTERM)
        return job

    def found(self, kind: str, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        """A list of Jobs, pods or events by label or field selectors, each with a version that changes with it."""
        asked = dict(part.split("=") for part in query.get("labelSelector", [""])[0].split(",") if part)
        if kind == "events":
            fields = dict(part.split("=") for part in query.get("fieldSelector", [""])[0].split(","))
            fields = {name.removeprefix("involvedObject."): value for name, value in fields.items()}
            return [one for one in self.events if fields.items() <= {**one, **one["involvedObject"]}.items()]
        items = (
            [self.status(name) or {} for name in list(self.alive)]
            if kind == "jobs"
            else [pod.as_json for pod in list(self.pods) if not pod.gone]
        )
        found = [one for one in items if one and asked.items() <= one["metadata"]["labels"].items()]
        for one in found:
            one["metadata"] = {**one["metadata"], "resourceVersion": str(zlib.crc32(json.dumps(one).encode()))}
        return found


class _Handler(BaseHTTPRequestHandler):
    api: Cluster
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def _answer(self, code: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _found(self, body: dict[str, Any] | None) -> None:
        if body is None:
            self._answer(404, {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})
        else:
            self._answer(200, body)

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        asked = urlsplit(self.path)
        heard = self.api.speaks.is_set()
        self.api.speaks.wait()
        if self.api.away or not heard:
            self.close_connection = True
            return
        self.api.requests.append(f"{self.command} {re.sub('/dagster-step-[^/]*', '/NAME', asked.path)}")
        self.api.queries.append((f"{self.command} {asked.path}", asked.query))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"kind": "Status", "status": "Failure", "reason": "Unauthorized", "code": 401})
            return
        if (denied := self.api.denied.get(f"{self.command} {asked.path}")) is not None:
            self._answer(denied["code"], denied)
            return
        other = self.api.answers.get(f"{self.command} {asked.path}")
        if other is not None:
            self._answer(200 if self.command == "GET" else 201, other(body) if callable(other) else other)
            return
        jobs = re.fullmatch(r"/apis/batch/v1/namespaces/credit/jobs(?:/([^/]+))?(/status)?", asked.path)
        lists = re.fullmatch(r"/(?:api|apis/batch)/v1/namespaces/credit/(jobs|pods|events)", asked.path)
        if jobs and self.command == "POST" and body is not None:
            self._create(body)
        elif lists and self.command == "GET":
            items = self.api.found(lists.group(1), parse_qs(asked.query))
            kind = {"jobs": "JobList", "pods": "PodList", "events": "EventList"}[lists.group(1)]
            self._answer(200, {"kind": kind, "metadata": {}, "items": items})
        elif jobs and self.command == "GET" and jobs.group(1):
            self._found(self.api.status(jobs.group(1)))
        elif jobs and self.command == "PATCH" and jobs.group(1) in self.api.alive:
            job = self.api.alive[jobs.group(1)]
            job["metadata"] = {**job["metadata"], **(body or {})["metadata"]}
            self._answer(200, job)
        elif jobs and self.command == "DELETE" and jobs.group(1):
            self._found(self.api.delete(jobs.group(1)))
        else:
            self._answer(404, {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})

    def _create(self, body: dict[str, Any]) -> None:
        refusal = self.api.refuses(body)
        if isinstance(refusal, tuple):
            code, words, headers = refusal
            self._answer(code, {"kind": "Status", "status": "Failure", "message": words, "code": code}, headers)
            return
        made = self.api.create(body)
        if refusal == "lost":
            self.close_connection = True
        elif made is None:
            self._answer(409, {"kind": "Status", "status": "Failure", "reason": "AlreadyExists", "code": 409})
        else:
            self._answer(201, made)

    do_GET = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815


def event(kind: str, name: str, reason: str, message: str) -> dict[str, Any]:
    """An event about an object, as its controller writes it."""
    now = _stamp(datetime.now(UTC))
    return {
        "metadata": {"name": f"{name}.17a", "namespace": "credit", "creationTimestamp": now},
        "involvedObject": {"kind": kind, "name": name, "namespace": "credit"},
        "reason": reason,
        "message": message,
        "type": "Warning",
        "lastTimestamp": now,
    }


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
