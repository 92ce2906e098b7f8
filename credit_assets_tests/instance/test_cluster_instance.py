"""The instance file of a cluster: Dagster takes every key of it, and it says what the chart says."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance import InstanceRef
from dagster._core.instance.config import dagster_instance_config

import credit_assets
from credit_assets.cluster.op_tags import op_tags
from credit_assets.settings import load_settings

FILE = Path(credit_assets.__file__ or "").parent / "cluster.dagster.yaml"
CHART = Path(__file__).resolve().parents[2] / "helm"
ENVIRONMENT = {
    "DAGSTER_PG_HOST": "postgresql.example.org",
    "DAGSTER_PG_DB": "dagster",
    "DAGSTER_PG_USERNAME": "dagster",
    "DAGSTER_PG_PASSWORD": "of-the-test",
    "CREDIT_NAMESPACE": "lending",
    "CREDIT_LOG_BUCKET": "lending-logs",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    shutil.copy(FILE, tmp_path / "dagster.yaml")
    return tmp_path


def accepted(part: Any) -> dict[str, Any]:
    """The config of a part of the instance as its class takes it, with values from the environment."""
    kind = importlib.import_module(part.module_name)
    found = process_config(
        resolve_to_config_type(getattr(kind, part.class_name).config_type()), yaml.safe_load(part.config_yaml)
    )
    assert found.success, found.errors
    value: dict[str, Any] = found.value
    return value


def test_dagster_takes_every_key(home: Path) -> None:
    config, _ = dagster_instance_config(str(home))
    assert config["run_retries"]["retry_on_asset_or_op_failure"] is False
    reference = InstanceRef.from_dir(str(home))
    storage = accepted(reference.event_storage_data)["postgres_db"]
    assert (storage["hostname"], storage["scheme"]) == ("postgresql.example.org", "postgresql+psycopg2")
    launcher = accepted(reference.run_launcher_data)
    assert launcher["job_namespace"] == "lending"
    assert launcher["env_secrets"] == ["credit-assets-connections"]
    assert not accepted(reference.run_coordinator_data).get("tag_concurrency_limits")
    assert accepted(reference.compute_logs_data)["bucket"] == "lending-logs"


def test_a_misspelt_key_is_refused(home: Path) -> None:
    file = home / "dagster.yaml"
    file.write_text(file.read_text().replace("run_monitoring:", "run_monitorin:"))
    with pytest.raises(Exception, match="run_monitorin"):
        dagster_instance_config(str(home))


def test_no_secret_stands_in_it() -> None:
    written = yaml.safe_load(FILE.read_text())
    assert written["storage"]["postgres"]["postgres_db"]["password"] == {"env": "DAGSTER_PG_PASSWORD"}
    assert "env_vars" not in written["run_launcher"]["config"]


def test_a_run_is_left_alone_as_its_steps_are() -> None:
    """By autoscalers, which would take its node to save one, and by meshes, whose proxy would work on after it."""
    step = op_tags(load_settings(), "loan_scores")["dagster-k8s/config"]["pod_template_spec_metadata"]
    mesh = {name: value for name, value in step["labels"].items() if name.startswith("sidecar.istio.io/")}
    launcher = yaml.safe_load(FILE.read_text())["run_launcher"]["config"]
    chart = yaml.safe_load((CHART / "values.yaml").read_text())["dagster"]["runLauncher"]["config"][
        "customRunLauncher"
    ]["config"]
    for labels, metadata in (
        (launcher["labels"], launcher["run_k8s_config"]["pod_template_spec_metadata"]),
        (chart["labels"], chart["run_k8s_config"]["pod_template_spec_metadata"]),
    ):
        assert mesh.items() <= labels.items()
        assert metadata["annotations"] == step["annotations"]
    assert {"cluster-autoscaler.kubernetes.io/safe-to-evict", "karpenter.sh/do-not-disrupt"} <= set(step["annotations"])


def test_the_chart_says_the_same() -> None:
    written = yaml.safe_load(FILE.read_text())
    chart = yaml.safe_load((CHART / "values.yaml").read_text())["dagster"]
    launcher, theirs = written["run_launcher"]["config"], chart["runLauncher"]["config"]["customRunLauncher"]["config"]
    assert launcher["resources"] == theirs["resources"]
    assert launcher["security_context"] == theirs["security_context"]
    assert (
        launcher["run_k8s_config"]["pod_spec_config"]["security_context"]
        == (theirs["run_k8s_config"]["pod_spec_config"]["securityContext"])
    )
    of_all = chart["global"]
    assert launcher["service_account_name"] == theirs["service_account_name"] == of_all["serviceAccountName"]
    assert theirs["instance_config_map"] == of_all["dagsterInstanceConfigMap"]
    assert theirs["postgres_password_secret"] == of_all["postgresqlSecretName"]
    assert theirs["dagster_home"] == of_all["dagsterHome"]
    own = {name: written["run_launcher"][name] for name in ("module", "class")}
    assert own.items() <= chart["runLauncher"]["config"]["customRunLauncher"].items()
    daemon = chart["dagsterDaemon"]
    assert written["run_coordinator"].items() <= daemon["runCoordinator"]["config"]["customRunCoordinator"].items()
    assert written["run_monitoring"]["start_timeout_seconds"] == daemon["runMonitoring"]["startTimeoutSeconds"]
    assert written["run_retries"]["max_retries"] == daemon["runRetries"]["maxRetries"]
    assert written["concurrency"]["pools"]["default_limit"] == chart["concurrency"]["pools"]["defaultLimit"]
    assert written["concurrency"]["runs"]["max_concurrent_runs"] == chart["concurrency"]["runs"]["maxConcurrentRuns"]
    for kind in ("schedule", "sensor"):
        assert written["retention"][kind]["purge_after_days"] == chart["retention"][kind]["purgeAfterDays"]
