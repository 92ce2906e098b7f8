"""The code location on a cluster, as small as it goes: a namespace with rights, settings, an instance and a daemon.

Belongs here: the objects and the settings of the end-to-end run. A lender installs the Helm chart instead; here only
what steps need is there, so that what is shown is due to the code location and not to a chart.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlsplit

from e2e.cluster import Cluster, FailedError, NotReadyError, wait_for

NAME = "credit-assets-e2e"
# Loans from START on; the days that are trained on come a performance window of a year later.
START = date(2024, 1, 1)
FIRST_DAY = date(2025, 1, 30)
LOOKBACK_DAYS, WINDOW_DAYS, LOANS_A_DAY = 30, 365, 200
_USER = 10001
_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")
_HOME = "/opt/dagster/dagster_home"
# What the pods get from the environment of whoever starts this; the store's and tracking server's own credentials.
_PASSED_ON = ("AWS_", "MLFLOW_TRACKING_", "GOOGLE_", "AZURE_")
NEEDED = {
    "CREDIT_E2E_IMAGE": "the image of this code location, as the nodes name it",
    "CREDIT_E2E_POSTGRES_URL": "postgresql://user:password@host:port, with databases `dagster` and `loans` to write to",
    "CREDIT_E2E_STORE_URI": "a place for files that all pods reach, for instance s3://bucket",
    "MLFLOW_TRACKING_URI": "an MLflow server that all pods reach",
}


@dataclass(frozen=True)
class Given:
    """What the environment says. Raises NotReadyError naming everything that is missing."""

    image: str
    postgres: str
    store: str
    tracking: str
    namespace: str
    pull_policy: str
    gpu_type: str
    passed_on: Mapping[str, str]

    @classmethod
    def of_environment(cls, env: Mapping[str, str] = os.environ) -> Given:
        missing = [f"{name} ({what})" for name, what in NEEDED.items() if not env.get(name)]
        if missing:
            raise NotReadyError(f"set {'; '.join(missing)}. `python -m e2e.services --help` starts these services")
        url = env["CREDIT_E2E_POSTGRES_URL"].rstrip("/")
        parts = urlsplit(url)
        if parts.scheme not in ("postgresql", "postgres") or not parts.hostname or not parts.password or parts.path:
            raise NotReadyError(
                "CREDIT_E2E_POSTGRES_URL must be postgresql://user:password@host:port without a database: "
                "the run uses its databases `dagster` and `loans`"
            )
        return cls(
            env["CREDIT_E2E_IMAGE"],
            url,
            env["CREDIT_E2E_STORE_URI"].rstrip("/"),
            env["MLFLOW_TRACKING_URI"],
            env.get("CREDIT_E2E_NAMESPACE") or NAME,
            env.get("CREDIT_E2E_PULL_POLICY") or "IfNotPresent",
            env.get("CREDIT_E2E_GPU_TYPE") or "a100",
            {name: value for name, value in env.items() if name.startswith(_PASSED_ON)},
        )


def profiles(given: Given, **more: Mapping[str, Any]) -> dict[str, Any]:
    """Resource profiles that fit a laptop's nodes; still a GPU for XGBoost and CatBoost. `more`: fields over these."""
    small = {"cpu": "500m", "memory": "1Gi", "scratch": "512Mi", "grace_seconds": 30}
    own: dict[str, dict[str, Any]] = {
        "small": dict(small),
        "data": {**small, "memory": "1536Mi"},
        "train-cpu": {**small, "memory": "1536Mi"},
        "train-gpu": {
            **small,
            "memory": "1536Mi",
            "gpu": 1,
            "shm": "128Mi",
            "gpu_node_selector": {"gpu-type": given.gpu_type},
        },
    }
    return {name: {**fields, **more.get(name.replace("-", "_"), {})} for name, fields in own.items()}


def settings(given: Given) -> dict[str, str]:
    """Settings of all pods that are no secrets: short trainings, quick retries."""
    return {
        "CREDIT_EXECUTOR": "k8s",
        "CREDIT_HOME": "/tmp/credit_assets",
        "CREDIT_STORE_URI": f"{given.store}/{given.namespace}",
        "CREDIT_START_DATE": START.isoformat(),
        "CREDIT_LOOKBACK_DAYS": str(LOOKBACK_DAYS),
        "CREDIT_PERFORMANCE_WINDOW_DAYS": str(WINDOW_DAYS),
        "CREDIT_MAX_ROUNDS": "60",
        "CREDIT_EARLY_STOPPING_ROUNDS": "10",
        "CREDIT_VARIANT_PARAMS": json.dumps(
            {
                "xgboost": {"max_depth": 3, "learning_rate": 0.1},
                "lightgbm": {"num_leaves": 7},
                "catboost": {"depth": 3, "learning_rate": 0.1},
            }
        ),
        # A few thousand loans: the gates are not what is shown here.
        "CREDIT_MIN_AUC": "0.52",
        "CREDIT_MAX_ECE": "0.2",
        "CREDIT_PROMOTION_FIRST_LEVEL": "0.5",
        "CREDIT_PROMOTION_ALPHA": "0.5",
        "CREDIT_PROFILES": json.dumps(profiles(given)),
        # Device plugins of trials offer GPUs by name only.
        "CREDIT_GPU_FALLBACK": "cpu",
        "CREDIT_COST_CENTRE": "e2e",
        "CREDIT_RETRIES": "3",
        "CREDIT_RETRY_DELAY_SECONDS": "2",
        "CREDIT_PENDING_MINUTES": "20",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
    }


def secret(given: Given) -> dict[str, str]:
    parts = urlsplit(given.postgres)
    return {
        "CREDIT_WAREHOUSE_URL": f"{given.postgres}/loans",
        "DAGSTER_PG_PASSWORD": parts.password or "",
        "MLFLOW_TRACKING_URI": given.tracking,
        **given.passed_on,
    }


def _pod(memory: str) -> dict[str, Any]:
    """What holds for every pod: not root, nothing writable but /tmp. In dagster-k8s's words."""
    return {
        "container_config": {
            "security_context": {
                "read_only_root_filesystem": True,
                "allow_privilege_escalation": False,
                "capabilities": {"drop": ["ALL"]},
            },
            "env": [{"name": "HOME", "value": "/tmp"}],
            "resources": {"requests": {"cpu": "100m", "memory": memory}, "limits": {"memory": memory}},
            "volume_mounts": [{"name": "tmp", "mount_path": "/tmp"}],
        },
        "pod_spec_config": {
            "security_context": {"run_as_non_root": True, "run_as_user": _USER, "run_as_group": _USER},
            "volumes": [{"name": "tmp", "empty_dir": {}}],
        },
        "job_spec_config": {"backoff_limit": 0},
    }


def instance(given: Given) -> dict[str, Any]:
    """dagster.yaml of all pods."""
    parts = urlsplit(given.postgres)
    return {
        "storage": {
            "postgres": {
                "postgres_db": {
                    "hostname": parts.hostname,
                    "port": parts.port or 5432,
                    "db_name": "dagster",
                    "username": parts.username,
                    "password": {"env": "DAGSTER_PG_PASSWORD"},
                    "scheme": "postgresql+psycopg2",
                }
            }
        },
        "run_launcher": {
            "module": "dagster_k8s",
            "class": "K8sRunLauncher",
            "config": {
                "service_account_name": NAME,
                "instance_config_map": f"{NAME}-instance",
                "dagster_home": _HOME,
                "job_namespace": given.namespace,
                "job_image": given.image,
                "image_pull_policy": given.pull_policy,
                "env_config_maps": [f"{NAME}-settings"],
                "env_secrets": [f"{NAME}-secrets"],
                "run_k8s_config": _pod("1Gi"),
            },
        },
        "run_coordinator": {"module": "dagster.core.run_coordinator", "class": "DefaultRunCoordinator"},
        # Into the pods' own logs: `kubectl logs` then tells all that a step printed.
        "compute_logs": {
            "module": "dagster.core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        },
        "concurrency": {"pools": {"default_limit": 4, "granularity": "op"}},
        "run_monitoring": {"enabled": True, "poll_interval_seconds": 15, "start_timeout_seconds": 600},
        "run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False},
        "telemetry": {"enabled": False},
    }


def manifests(given: Given) -> list[dict[str, Any]]:
    """Everything that is installed, in order."""

    def named(api: str, kind: str, name: str = NAME, **rest: Any) -> dict[str, Any]:
        return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **rest}

    def rule(group: str, resources: list[str], verbs: list[str]) -> dict[str, Any]:
        return {"apiGroups": [group], "resources": resources, "verbs": verbs}

    rbac = "rbac.authorization.k8s.io"
    return [
        named("v1", "Namespace", given.namespace),
        named("v1", "ServiceAccount"),
        named(
            f"{rbac}/v1",
            "Role",
            rules=[
                rule("batch", ["jobs"], ["create", "get", "list", "watch", "delete"]),
                rule("batch", ["jobs/status"], ["get"]),
                rule("", ["pods"], ["get", "list", "watch"]),
                rule("", ["pods/log", "pods/status"], ["get"]),
                rule("", ["events"], ["list"]),
            ],
        ),
        named(
            f"{rbac}/v1",
            "RoleBinding",
            roleRef={"apiGroup": rbac, "kind": "Role", "name": NAME},
            subjects=[{"kind": "ServiceAccount", "name": NAME, "namespace": given.namespace}],
        ),
        named("v1", "ConfigMap", f"{NAME}-instance", data={"dagster.yaml": json.dumps(instance(given), indent=1)}),
        named("v1", "ConfigMap", f"{NAME}-settings", data=settings(given)),
        named("v1", "Secret", f"{NAME}-secrets", type="Opaque", stringData=secret(given)),
        named("apps/v1", "Deployment", spec=_daemon(given)),
    ]


def _daemon(given: Given) -> dict[str, Any]:
    """Dagster's daemon with the code location, which also takes the commands of this run."""
    labels = {"app": NAME}
    # Another image or other settings are another pod, and it differs from the one that it replaces.
    version = {"version": _version(given)}
    return {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "strategy": {"type": "Recreate"},
        "template": {
            "metadata": {"labels": {**labels, **version}},
            "spec": {
                "serviceAccountName": NAME,
                "terminationGracePeriodSeconds": 5,
                "securityContext": {"runAsNonRoot": True, "runAsUser": _USER, "runAsGroup": _USER},
                "volumes": [
                    {"name": "tmp", "emptyDir": {}},
                    {"name": "home", "emptyDir": {}},
                    {"name": "instance", "configMap": {"name": f"{NAME}-instance"}},
                ],
                "containers": [
                    {
                        "name": "daemon",
                        "image": given.image,
                        "imagePullPolicy": given.pull_policy,
                        "command": ["dagster-daemon", "run", "-m", "credit_assets.definitions"],
                        "workingDir": "/tmp",
                        "env": [
                            {"name": "DAGSTER_HOME", "value": _HOME},
                            {"name": "HOME", "value": "/tmp"},
                        ],
                        "envFrom": [
                            {"configMapRef": {"name": f"{NAME}-settings"}},
                            {"secretRef": {"name": f"{NAME}-secrets"}},
                        ],
                        "resources": {
                            "requests": {"cpu": "100m", "memory": "1Gi"},
                            "limits": {"memory": "3Gi"},
                        },
                        "securityContext": {
                            "readOnlyRootFilesystem": True,
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                        },
                        "volumeMounts": [
                            {"name": "tmp", "mountPath": "/tmp"},
                            {"name": "home", "mountPath": _HOME},
                            {"name": "instance", "mountPath": f"{_HOME}/dagster.yaml", "subPath": "dagster.yaml"},
                        ],
                    }
                ],
            },
        },
    }


def _version(given: Given) -> str:
    text = json.dumps([given.image, instance(given), settings(given), secret(given)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Installation:
    """The code location in a namespace of its own, and commands in it."""

    def __init__(self, cluster: Cluster, given: Given) -> None:
        self.cluster, self.given = cluster, given
        self._pod = ""

    def install(self) -> None:
        for manifest in manifests(self.given):
            self.cluster.apply(manifest)
        wait_for(f"the pod of {NAME} to run (image {self.given.image})", 300, self._find_pod)

    def _find_pod(self) -> bool:
        for pod in self.cluster.pods(f"app={NAME},version={_version(self.given)}"):
            status = next(iter(pod.status.container_statuses or []), None)
            waiting = status.state.waiting if status and status.state else None
            if waiting and waiting.reason in _NO_IMAGE:
                raise NotReadyError(f"the nodes cannot get {self.given.image}: {waiting.reason}: {waiting.message}")
            if status and status.restart_count > 2:
                log = self.cluster.core.read_namespaced_pod_log(
                    pod.metadata.name, self.cluster.namespace, previous=True, tail_lines=15
                )
                raise FailedError(f"{pod.metadata.name} does not stay up:\n{log}")
            if pod.status.phase == "Running" and status and status.ready and not pod.metadata.deletion_timestamp:
                self._pod = pod.metadata.name
                return True
        return False

    def run(self, *command: str, text: str = "", env: Mapping[str, str] | None = None, seconds: float = 900) -> str:
        """The output of a command in the daemon's pod, which has the settings and the rights of the code location."""
        self._find_pod()
        prefix = ["env", *(f"{name}={value}" for name, value in env.items())] if env else []
        return self.cluster.run(self._pod, [*prefix, *command], text, seconds)

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
