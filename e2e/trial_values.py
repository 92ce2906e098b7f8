"""The chart's values of a trial: small requests, short trainings, the services that the environment names.

Belongs here: what `helm install -f` would be given, and the Secrets that a lender makes beforehand.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from e2e.chart import RELEASE, defaults, merge, official_chart, without_dns
from e2e.cluster import NotReadyError

NAMESPACE = "credit-assets-e2e"
# Loans from START on; the days that are trained on come a performance window of a year later.
START = date(2024, 1, 1)
FIRST_DAY = date(2025, 1, 30)
LOOKBACK_DAYS, WINDOW_DAYS, LOANS_A_DAY = 30, 365, 200
LOCATION = "credit-assets"
CODE_SERVER, WEBSERVER, MLFLOW = "credit-assets-code", f"{RELEASE}-dagster-webserver", "credit-assets-mlflow"
DASK = "credit-assets-dask"
WEBSERVER_URL = f"http://{WEBSERVER}:3000/graphql"
# What the pods get from the environment of whoever starts this: the store's own credentials.
_PASSED_ON = ("AWS_", "GOOGLE_", "AZURE_")
NEEDED = {
    "CREDIT_E2E_IMAGE": "the image of this code location, as the nodes name it",
    "CREDIT_E2E_POSTGRES_URL": "postgresql://user:password@host:port, with databases `dagster`, `mlflow` and `loans`",
    "CREDIT_E2E_STORE_URI": "a place for files that all pods reach, for instance s3://bucket",
}


@dataclass(frozen=True)
class Given:
    """What the environment says. Raises NotReadyError naming everything that is missing."""

    image: str
    postgres: str
    store: str
    namespace: str
    pull_policy: str
    gpu_type: str
    # An address of this machine that pods reach, where the cluster has neither DNS nor Services.
    names_address: str
    # Commands of a shell: those that make the API server go and come back, a node go, and that node come back.
    restart_api: str
    lose_node: str
    return_node: str
    # An image with PostgreSQL's programs, where the cluster cannot get the chart's.
    postgres_image: str
    passed_on: Mapping[str, str]

    @classmethod
    def of_environment(cls, env: Mapping[str, str] = os.environ) -> Given:
        missing = [f"{name} ({what})" for name, what in NEEDED.items() if not env.get(name)]
        if missing:
            raise NotReadyError(f"set {'; '.join(missing)}. `python -m e2e.services --help` starts these services")
        if official_chart() is None:
            raise NotReadyError(
                "the official Dagster chart is not here: run `helm dependency build helm`, or name an archive of it in "
                "DAGSTER_HELM_CHART"
            )
        url = env["CREDIT_E2E_POSTGRES_URL"].rstrip("/")
        parts = urlsplit(url)
        if parts.scheme not in ("postgresql", "postgres") or not parts.hostname or not parts.password or parts.path:
            raise NotReadyError(
                "CREDIT_E2E_POSTGRES_URL must be postgresql://user:password@host:port without a database: "
                "the run uses its databases `dagster`, `mlflow` and `loans`"
            )
        return cls(
            env["CREDIT_E2E_IMAGE"],
            url,
            env["CREDIT_E2E_STORE_URI"].rstrip("/"),
            env.get("CREDIT_E2E_NAMESPACE") or NAMESPACE,
            env.get("CREDIT_E2E_PULL_POLICY") or "IfNotPresent",
            env.get("CREDIT_E2E_GPU_TYPE") or "a100",
            env.get("CREDIT_E2E_NAMES_ADDRESS") or "",
            env.get("CREDIT_E2E_RESTART_API") or "",
            env.get("CREDIT_E2E_LOSE_NODE") or "",
            env.get("CREDIT_E2E_RETURN_NODE") or "",
            env.get("CREDIT_E2E_POSTGRES_IMAGE") or defaults()["backup"]["postgresImage"],
            {name: value for name, value in env.items() if name.startswith(_PASSED_ON)},
        )

    @property
    def names(self) -> dict[str, str]:
        """Names of the chart's services that pods find by `hostAliases`; empty where the cluster resolves them."""
        services = (CODE_SERVER, WEBSERVER, MLFLOW, DASK)
        return dict.fromkeys(services, self.names_address) if self.names_address else {}


def profiles(given: Given) -> dict[str, Any]:
    """Resource profiles that fit a laptop's nodes; still a GPU for XGBoost and CatBoost."""
    small = {"cpu": "200m", "memory": "1Gi", "max_memory": "2Gi", "scratch": "512Mi", "grace_seconds": 30}
    larger = {**small, "memory": "1536Mi"}
    gpu = {"gpu": 1, "shm": "128Mi", "gpu_node_selector": {"gpu-type": given.gpu_type}}
    return {"small": small, "data": larger, "train-cpu": larger, "train-gpu": {**larger, **gpu}}


def settings(given: Given) -> dict[str, str]:
    """Settings of all pods that are no secrets: short trainings, quick retries."""
    return {
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
        # Device plugins of trials offer GPUs by name only.
        "CREDIT_GPU_FALLBACK": "cpu",
        "CREDIT_RETRIES": "3",
        "CREDIT_RETRY_DELAY_SECONDS": "2",
        "CREDIT_PENDING_MINUTES": "20",
    }


def dask_values() -> dict[str, Any]:
    """A Dask cluster of two workers, small enough for a laptop's nodes."""
    small = {
        "requests": {"cpu": "100m", "memory": "512Mi", "ephemeral-storage": "64Mi"},
        "limits": {"cpu": "1", "memory": "2Gi", "ephemeral-storage": "2Gi"},
    }
    cluster = {"workers": 2, "threads": 1, "scratch": "1Gi", "scheduler": {"resources": small}, "resources": small}
    return {"dask": {"enabled": True, **cluster}}


def backup_values(given: Given) -> dict[str, Any]:
    """A backup beside the store, of a schedule that does not come by itself while this is tried."""
    small = {
        "requests": {"cpu": "100m", "memory": "512Mi", "ephemeral-storage": "64Mi"},
        "limits": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "4Gi"},
    }
    place = {"destination": f"{given.store}/backups-of-{given.namespace}", "schedule": "0 4 29 2 *"}
    image = {"postgresImage": given.postgres_image, "scratch": "1Gi", "resources": small}
    return {"backup": {"enabled": True, **place, **image}}


def secrets(given: Given) -> dict[str, dict[str, str]]:
    """The Secrets that the chart wants there before it, by name, with what each holds."""
    parts, names = urlsplit(given.postgres), defaults()["secrets"]
    mlflow = f"postgresql+psycopg2://{parts.netloc}/mlflow"
    return {
        names["warehouse"]: {"CREDIT_WAREHOUSE_URL": f"{given.postgres}/loans"},
        names["objectStore"]: dict(given.passed_on),
        names["mlflowLogin"]: {
            "MLFLOW_TRACKING_USERNAME": "pipeline",
            "MLFLOW_TRACKING_PASSWORD": "of-a-trial-that-is-thrown-away",
        },
        names["alerts"]: {"CREDIT_ALERT_URLS": ""},
        names["assignment"]: {"CREDIT_ASSIGNMENT_KEY": "of-a-trial-that-is-thrown-away"},
        names["postgresql"]: {"postgresql-password": parts.password or ""},
        names["mlflow"]: {"MLFLOW_BACKEND_STORE_URI": mlflow},
    }


def values(given: Given, over: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All values of the release: the chart's own, those of the trial over them, and `over` over both."""
    parts, base = urlsplit(given.postgres), defaults()
    repository, _, tag = given.image.rpartition(":")
    image = {"repository": repository, "tag": tag, "pullPolicy": given.pull_policy}
    server = {"requests": {"cpu": "100m", "memory": "768Mi", "ephemeral-storage": "64Mi"}}
    limits = {"limits": {"cpu": "2", "memory": "3Gi", "ephemeral-storage": "2Gi"}}
    resources = {"resources": {**server, **limits}}
    alone = without_dns(given.names) if given.names else {}
    trial: dict[str, Any] = {
        "image": image,
        "settings": settings(given),
        "profiles": profiles(given),
        "costCentre": "e2e",
        "database": {"host": parts.hostname, "port": parts.port or 5432, "user": parts.username, "sslmode": "disable"},
        "mlflow": {"replicas": 1, "workers": 1, "artifacts": "s3://mlflow/artifacts", **resources},
        "migrations": resources,
        "codeServer": resources,
        "quota": {"hard": {"requests.cpu": "16", "requests.memory": "48Gi", "count/jobs.batch": "500"}},
        "dagster": {
            "postgresql": {
                "postgresqlHost": parts.hostname,
                "postgresqlUsername": parts.username,
                "postgresqlParams": {"sslmode": "disable"},
                "service": {"port": parts.port or 5432},
            },
            "dagsterWebserver": {"replicaCount": 1, "image": image, **resources},
            "dagsterDaemon": {
                "image": image,
                **resources,
                "runMonitoring": {"pollIntervalSeconds": 15},
            },
            "runLauncher": {
                "config": {
                    "customRunLauncher": {
                        "config": {
                            "image_pull_policy": given.pull_policy,
                            "resources": {
                                "requests": {"cpu": "100m", "memory": "768Mi", "ephemeral-storage": "64Mi"},
                                "limits": {"cpu": "1", "memory": "2Gi", "ephemeral-storage": "2Gi"},
                            },
                            "run_k8s_config": {"pod_spec_config": alone},
                        }
                    }
                }
            },
            # Into the pods' own logs: `kubectl logs` then tells all that a step printed.
            "computeLogManager": {"type": "NoOpComputeLogManager"},
        },
    }
    return merge(merge(base, trial), over or {})
