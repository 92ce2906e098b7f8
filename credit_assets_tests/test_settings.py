"""Settings: precedence, refusals that say what is wrong, and secrets that stay secret."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import traceback
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from credit_assets.ml.learners import scorecard
from credit_assets.settings import (
    SETTINGS_FILE,
    Settings,
    SettingsError,
    load_settings,
    setting_sources,
    settings_file,
    variable,
)
from credit_assets.settings.policies import policy_of
from credit_assets_tests.support.lender import MODULES, Lender
from credit_assets_tests.support.signing import Signer

SECRET = "s3cr3tPassw0rd"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("CREDIT_HOME", str(folder))
    return folder


def write(home: Path, **values: str) -> Path:
    file = home / SETTINGS_FILE
    file.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    return file


def test_everything_has_a_working_default(home: Path) -> None:
    settings = load_settings()
    assert settings.warehouse == f"duckdb:///{home / 'warehouse.duckdb'}"
    assert settings.store == str(home / "store")
    assert settings.tracking_uri == f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"
    assert settings.dagster_dir == home / "dagster"
    assert settings.window_days == settings.portfolio_contract.performance_window_days == 365
    assert settings.variants == ("xgboost", "lightgbm", "catboost", "scorecard")
    assert settings.min_improvement is None
    assert policy_of(settings).comparison.min_improvement == 0.005
    assert settings.lookback_days == 90
    assert settings.alert_targets == ()
    assert set(setting_sources().values()) == {"default", "environment"}
    assert {name for name, source in setting_sources().items() if source == "environment"} == {"home"}


def test_every_setting_can_be_set_from_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lender = Lender(tmp_path, monkeypatch).write(**MODULES)
    portfolio = home / "own.yaml"
    portfolio.write_text(
        "name: own\ncolumns:\n- {name: id, type: integer, role: id, nullable: false}\n"
        "- {name: day, type: date, role: date, nullable: false}\n- {name: income, type: float}\n"
    )
    (approvers := home / "approvers").write_text(Signer("ann").ssh_line())
    values: dict[str, tuple[str, Any]] = {
        "home": (str(home), home),
        "portfolio": (str(portfolio), portfolio),
        "extensions": (f" {lender.name}.features ,", (f"{lender.name}.features",)),
        "start_date": ("2019-02-03", date(2019, 2, 3)),
        "timezone": ("Europe/Berlin", "Europe/Berlin"),
        "performance_window_days": ("540", 540),
        "lookback_days": ("30", 30),
        "recheck_days": ("60", 60),
        "owners": ("team:risk, ada@example.org", ("team:risk", "ada@example.org")),
        "asset_tags": ('{"domain": "cards"}', {"domain": "cards"}),
        "source_url": ("https://example.org/tree", "https://example.org/tree"),
        "scores_by": ("06:45", "06:45"),
        "test_share": ("0.3", 0.3),
        "validation_share": ("0.1", 0.1),
        "variants": (" catboost , xgboost", ("catboost", "xgboost")),
        "variant_params": ('{"xgboost": {"max_depth": 4}}', {"xgboost": {"max_depth": 4}}),
        "on_variant_failure": ("continue", "continue"),
        "max_rounds": ("10", 10),
        "early_stopping_rounds": ("5", 5),
        "search_trials": ("12", 12),
        "seed": ("1", 1),
        "threads": ("3", 3),
        "device": ("cuda", "cuda"),
        "gpu_fallback": ("cpu", "cpu"),
        "dask_scheduler": ("tls://dask.example.org:8786", "tls://dask.example.org:8786"),
        "reuse_days": ("30", 30),
        "min_improvement": ("0", 0.0),
        "min_auc": ("0.6", 0.6),
        "max_auc": ("0.8", 0.8),
        "calibration": ("beta", "beta"),
        "max_ece": ("0.1", 0.1),
        "promotion_rule": ("point", "point"),
        "promotion_alpha": ("0.1", 0.1),
        "promotion_first_level": ("0.1", 0.1),
        "promotion_min_bads": ("30", 30),
        "promotion_min_goods": ("40", 40),
        "refresh_against_first": ("false", False),
        "score_base": ("300", 300.0),
        "score_odds": ("30", 30.0),
        "score_pdo": ("40", 40.0),
        "promotion": ("manual", "manual"),
        "shadow_days": ("14", 14),
        "shadow_min_loans": ("100", 100),
        "shadow_min_correlation": ("0.5", 0.5),
        "shadow_max_psi": ("0.3", 0.3),
        "shadow_max_pd_ratio": ("1.5", 1.5),
        "restated": ("report", "report"),
        "first_days": ("14", 14),
        "first_days_min_rows": ("900", 900),
        "first_days_max_pd_ratio": ("1.3", 1.3),
        "first_days_max_psi": ("0.4", 0.4),
        "first_days_max_auc_loss": ("0.02", 0.02),
        "approval_rate": ("0.6", 0.6),
        "challenger_share": ("0.1", 0.1),
        "retraining": ("triggered", "triggered"),
        "drift_window_days": ("60", 60),
        "drift_min_rows": ("1000", 1000),
        "drift_watch": ("0.05", 0.05),
        "drift_shifted": ("0.2", 0.2),
        "drift_alpha": ("0.001", 0.001),
        "drift_trigger_days": ("2", 2),
        "drift_trigger_window": ("7", 7),
        "performance_cohort_days": ("30", 30),
        "performance_min_bads": ("20", 20),
        "performance_floor": ("0.6", 0.6),
        "performance_margin": ("0.02", 0.02),
        "performance_max_level_ratio": ("1.5", 1.5),
        "performance_false_alarms": ("0.05", 0.05),
        "volume_trigger_share": ("0.5", 0.5),
        "cooldown_days": ("10", 10),
        "repeat_days": ("20", 20),
        "refresh": ("none", "none"),
        "refresh_margin": ("0.01", 0.01),
        "names": ("bare", "bare"),
        "shared_pools": (" gpu , warehouse", ("gpu", "warehouse")),
        "executor": ("in_process", "in_process"),
        "days_per_run": ("31", 31),
        "profiles": ('{"small": {"gpu": 1}}', {"small": {"gpu": 1}}),
        "step_profiles": ('{"loan_scores": "small"}', {"loan_scores": "small"}),
        "cost_centre": ("retail-credit", "retail-credit"),
        "pending_minutes": ("5", 5),
        "step_service_account": ("credit-assets-step", "credit-assets-step"),
        "step_grants": ('{"mlflow": "login"}', {"mlflow": "login"}),
        "max_concurrent": ("7", 7),
        "daily_schedule": ("on", "on"),
        "keep_events_days": ("400", 400),
        "keep_output_days": ("90", 90),
        "keep_candidates_days": ("180", 180),
        "retries": ("0", 0),
        "retry_delay_seconds": ("1.5", 1.5),
        "dagster_url": ("https://dagster.example.org", "https://dagster.example.org"),
        "mlflow_url": ("https://mlflow.example.org/ui", "https://mlflow.example.org/ui"),
        "operator": ("risk desk", "risk desk"),
        "approvers": (str(approvers), approvers),
        "dev_port": ("3001", 3001),
        "dev_mlflow_port": ("5001", 5001),
        "file_access": ("group", "group"),
        "dev_hosts": ("dev.lender.example, box:3000", ("dev.lender.example", "box:3000")),
        "experiment": ("mine", "mine"),
        "dagster_home": (str(home / "d"), home / "d"),
        "store_uri": ("s3://bucket/credit", "s3://bucket/credit"),
    }
    secrets = {
        "assignment_key": "a key",
        "warehouse_url": "postgresql://u:p@h/db",
        "alert_urls": "mailto://localhost?to=a@b.org",
        "mlflow_tracking_uri": "http://h:5000",
    }
    assert set(values) | set(secrets) == set(Settings.model_fields)
    for field, (text, _) in values.items():
        monkeypatch.setenv(variable(field), text)
    for field, text in secrets.items():
        monkeypatch.setenv(variable(field), text)
    settings = load_settings()
    assert {field: getattr(settings, field) for field in values} == {f: wanted for f, (_, wanted) in values.items()}
    assert {field: getattr(settings, field).get_secret_value() for field in secrets} == secrets
    assert settings.portfolio_contract.name == "own"
    assert settings.window_days == 540
    assert set(setting_sources().values()) == {"environment"}


def test_environment_goes_before_file_and_file_before_default(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(home, CREDIT_SEED="5", CREDIT_RETRIES="1", MLFLOW_TRACKING_URI="http://file:5000", DAGSTER_HOME="/d")
    monkeypatch.setenv("CREDIT_SEED", "7")
    settings = load_settings()
    assert (settings.seed, settings.retries, settings.max_rounds) == (7, 1, 2000)
    assert settings.tracking_uri == "http://file:5000"
    assert settings.dagster_dir == Path("/d")
    sources = setting_sources()
    assert sources["seed"] == "environment"
    assert sources["retries"] == sources["mlflow_tracking_uri"] == sources["dagster_home"] == str(file)
    assert sources["max_rounds"] == "default"
    assert load_settings(seed=9).seed == 9


def test_a_variant_whose_package_is_not_installed_is_no_default_and_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scorecard, "find_spec", lambda _: None)
    assert load_settings().variants == ("xgboost", "lightgbm", "catboost")
    with pytest.raises(SettingsError) as refused:
        load_settings(variants="lightgbm,scorecard")
    assert "CREDIT_VARIANTS: variant scorecard is trained with the package optbinning, which is not installed" in str(
        refused.value
    )
    assert "install credit-assets[scorecard], or leave it out" in str(refused.value)


def test_empty_means_unset_in_environment_and_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, CREDIT_RETRIES="", CREDIT_SEED="5", CREDIT_PORTFOLIO="")
    for name in ("CREDIT_SEED", "CREDIT_VARIANTS", "CREDIT_WAREHOUSE_URL", "DAGSTER_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")
    settings = load_settings()
    assert settings.seed == 5
    assert settings.retries == 2
    assert settings.variants == ("xgboost", "lightgbm", "catboost", "scorecard")
    assert settings.portfolio is None
    assert settings.warehouse.startswith("duckdb:")
    assert setting_sources()["seed"] == str(home / SETTINGS_FILE)
    assert setting_sources()["retries"] == setting_sources()["variants"] == "default"


def test_an_empty_home_is_the_default_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CREDIT_HOME", "")
    monkeypatch.chdir(tmp_path)
    assert settings_file() == tmp_path / ".credit_assets" / SETTINGS_FILE
    assert load_settings().home_dir == tmp_path / ".credit_assets"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CREDIT_WAREHOUSE", "did you mean CREDIT_WAREHOUSE_URL?"),
        ("CREDIT_VARIENTS", "did you mean CREDIT_VARIANTS?"),
        ("credit_seed", "did you mean CREDIT_SEED?"),
        ("mlflow_tracking_uri", "did you mean MLFLOW_TRACKING_URI?"),
        ("CREDIT_XYZZY", "correct or unset it"),
    ],
)
def test_an_unknown_variable_is_refused_with_a_hint(name: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, SECRET)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert name in message
    assert hint in message
    assert SECRET not in message
    assert "\n" not in message


def test_all_unknown_variables_are_named_at_once_with_their_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(home, CREDIT_SEDE="5", OTHER="x")
    monkeypatch.setenv("CREDIT_FOO_BAR", "1")
    with pytest.raises(
        SettingsError, match=r"CREDIT_FOO_BAR.*CREDIT_SEDE in .*did you mean CREDIT_SEED.*OTHER in"
    ) as e:
        load_settings()
    assert str(file) in str(e.value)


# As a pod of the chart has them, for the services credit-assets and credit-assets-mlflow.
SERVICE_LINKS = {
    "CREDIT_ASSETS_SERVICE_HOST": "10.96.0.1",
    "CREDIT_ASSETS_SERVICE_PORT": "3030",
    "CREDIT_ASSETS_SERVICE_PORT_GRPC": "3030",
    "CREDIT_ASSETS_PORT": "tcp://10.96.0.1:3030",
    "CREDIT_ASSETS_PORT_3030_TCP": "tcp://10.96.0.1:3030",
    "CREDIT_ASSETS_PORT_3030_TCP_ADDR": "10.96.0.1",
    "CREDIT_ASSETS_PORT_3030_TCP_PORT": "3030",
    "CREDIT_ASSETS_PORT_3030_TCP_PROTO": "tcp",
    "CREDIT_ASSETS_MLFLOW_SERVICE_HOST": "10.96.0.2",
    "CREDIT_ASSETS_MLFLOW_SERVICE_PORT": "5000",
    "CREDIT_ASSETS_MLFLOW_PORT_5000_TCP": "tcp://10.96.0.2:5000",
}


def test_what_kubernetes_tells_of_services_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERVICE_LINKS.items():
        monkeypatch.setenv(name, value)
    load_settings()
    monkeypatch.setenv("CREDIT_ASSETS_PORTS", "1")
    with pytest.raises(SettingsError, match=r"^unknown setting CREDIT_ASSETS_PORTS[: ]"):
        load_settings()


def test_a_name_that_only_looks_like_a_service_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDIT_ASSETS_PORT", "3030")
    with pytest.raises(SettingsError, match="CREDIT_ASSETS_PORT"):
        load_settings()


def test_variables_of_others_and_of_the_tests_are_none_of_its_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDIT_TEST_DATA", "/somewhere")
    monkeypatch.setenv("CREDITCARD", "1")
    monkeypatch.setenv("DAGSTER_HOME_OTHER", "1")
    load_settings()


def test_the_home_cannot_be_moved_by_the_file_in_it(home: Path) -> None:
    write(home, CREDIT_HOME="/elsewhere")
    with pytest.raises(SettingsError, match=r"CREDIT_HOME decides where .* set it in the environment"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CREDIT_START_DATE", "soon", "valid date"),
        ("CREDIT_START_DATE", "2024-02-30", "valid date"),
        ("CREDIT_TIMEZONE", "Mars/Olympus", "no IANA time zone"),
        ("CREDIT_PERFORMANCE_WINDOW_DAYS", "0", "greater than or equal to 1"),
        ("CREDIT_LOOKBACK_DAYS", "-3", "greater than or equal to 1"),
        ("CREDIT_LOOKBACK_DAYS", "ninety", "valid integer"),
        ("CREDIT_TEST_SHARE", "1", "less than 1"),
        ("CREDIT_VALIDATION_SHARE", "0", "greater than 0"),
        ("CREDIT_VARIANTS", "xgboost,prophet", "must list some of xgboost, lightgbm, catboost"),
        ("CREDIT_VARIANTS", "xgboost,xgboost", "each once"),
        ("CREDIT_VARIANTS", " , ", "got nothing"),
        ("CREDIT_VARIANT_PARAMS", "{max_depth: 4}", "not valid JSON"),
        ("CREDIT_VARIANT_PARAMS", '{"prophet": {}}', "unknown variants prophet"),
        ("CREDIT_VARIANT_PARAMS", '["xgboost"]', "valid dictionary"),
        ("CREDIT_VARIANT_PARAMS", '{"xgboost": 4}', "valid dictionary"),
        ("CREDIT_ON_VARIANT_FAILURE", "ignore", "'fail' or 'continue'"),
        ("CREDIT_MAX_ROUNDS", "0", "greater than or equal to 1"),
        ("CREDIT_EARLY_STOPPING_ROUNDS", "0", "greater than or equal to 1"),
        ("CREDIT_SEED", "-1", "greater than or equal to 0"),
        ("CREDIT_SEED", "2147483648", "less than 2147483648"),
        ("CREDIT_THREADS", "-1", "greater than or equal to 0"),
        ("CREDIT_MIN_IMPROVEMENT", "nan", "less than 1"),
        ("CREDIT_MIN_IMPROVEMENT", "-0.1", "greater than or equal to 0"),
        ("CREDIT_MIN_AUC", "0.4", "greater than or equal to 0.5"),
        ("CREDIT_MAX_AUC", "1.1", "less than or equal to 1"),
        ("CREDIT_MAX_ECE", "0", "greater than 0"),
        ("CREDIT_SCORE_BASE", "inf", "finite"),
        ("CREDIT_SCORE_ODDS", "0", "greater than 0"),
        ("CREDIT_SCORE_PDO", "inf", "finite"),
        ("CREDIT_PROMOTION", "sometimes", "'immediate', 'shadow' or 'manual'"),
        ("CREDIT_DEVICE", "tpu", "'auto', 'cpu' or 'cuda'"),
        ("CREDIT_GPU_FALLBACK", "maybe", "'fail' or 'cpu'"),
        ("CREDIT_DASK_SCHEDULER", "scheduler", "tcp://scheduler:8786"),
        ("CREDIT_REUSE_DAYS", "-1", "greater than or equal to 0"),
        ("CREDIT_DAYS_PER_RUN", "0", "greater than or equal to 1"),
        ("CREDIT_EXECUTOR", "celery", "'in_process', 'multiprocess' or 'k8s'"),
        ("CREDIT_MAX_CONCURRENT", "0", "greater than or equal to 1"),
        ("CREDIT_RETRIES", "11", "less than or equal to 10"),
        ("CREDIT_RETRY_DELAY_SECONDS", "inf", "less than or equal to 86400"),
        ("CREDIT_DAGSTER_URL", "dagster.example.org", "http://"),
    ],
)
@pytest.mark.parametrize("place", ["environment", "file"])
def test_a_bad_value_is_refused_with_its_name_and_what_would_be_right(
    name: str, value: str, said: str, place: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "environment":
        monkeypatch.setenv(name, value)
    else:
        write(home, **{name: f"'{value}'"})
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert said in message
    assert "Value error" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("https://:c4naRy@mlflow", "has a password without a user"),
        ("https://risk:12/c4naRy@mlflow", "has an @ after its host"),
        ("http://risk:12?c4naRy@mlflow/x", "has an @ after its host"),
    ],
)
def test_an_address_of_mlflow_whose_login_is_unclear_is_refused_with_the_variables_to_set(
    uri: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(SettingsError, match=f"^MLFLOW_TRACKING_URI: {what}.*MLFLOW_TRACKING_PASSWORD") as caught:
        load_settings()
    assert "c4naRy" not in str(caught.value)


def test_several_bad_values_are_told_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDIT_SEED", "x")
    monkeypatch.setenv("CREDIT_RETRIES", "y")
    with pytest.raises(SettingsError, match=r"CREDIT_SEED: .*got 'x'.*; CREDIT_RETRIES: .*got 'y'"):
        load_settings()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"CREDIT_TEST_SHARE": "0.5", "CREDIT_VALIDATION_SHARE": "0.4"}, "together must stay below 0.9"),
        (
            {"CREDIT_MIN_AUC": "0.8", "CREDIT_MAX_AUC": "0.7"},
            "CREDIT_MIN_AUC, CREDIT_MAX_AUC with the policy .* comparison: min_auc must lie below",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused_without_a_secret(
    values: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDIT_WAREHOUSE_URL", f"postgresql://u:{SECRET}@h/db")
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings()
    # Nor in the traceback, which Dagster shows when a code location does not load.
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_secrets_stay_out_of_everything_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDIT_WAREHOUSE_URL", f"postgresql://u:{SECRET}@h/db")
    monkeypatch.setenv("CREDIT_ALERT_URLS", f"slack://{SECRET}/b/c")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://u:{SECRET}@h")
    settings = load_settings()
    # The resolved values are there to be used ...
    assert SECRET in settings.warehouse
    assert SECRET in settings.tracking_uri
    assert settings.alert_targets == (f"slack://{SECRET}/b/c",)
    # ... and show up nowhere else.
    for shown in (repr(settings), str(settings), settings.model_dump_json(), str(setting_sources())):
        assert SECRET not in shown
    monkeypatch.setenv("CREDIT_SEED", "x")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("mailto://a slack://b", ("mailto://a", "slack://b")),
        ("mailto://a, slack://b,json://c", ("mailto://a", "slack://b", "json://c")),
        ("mailto://a?to=x@y.org,z@y.org slack://b", ("mailto://a?to=x@y.org,z@y.org", "slack://b")),
        ("  mailto://a,\n", ("mailto://a",)),
        (" , ", ()),
    ],
)
def test_alert_urls_are_separated_by_spaces_or_commas(
    text: str, targets: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDIT_ALERT_URLS", text)
    assert load_settings().alert_targets == targets


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("columns: [", "not valid YAML"),
        ("- a list", "must be a mapping"),
        ("name: x\ncolumns: []\n", "role"),
        ("name: x\nsurprise: 1\ncolumns: []\n", "surprise"),
    ],
)
def test_a_portfolio_that_cannot_be_used_is_a_bad_setting(
    content: str | None, said: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = home / "portfolio.yaml"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("CREDIT_PORTFOLIO", str(file))
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value).startswith("CREDIT_PORTFOLIO: ")
    assert str(file) in str(caught.value)
    assert said in str(caught.value)


def test_a_portfolio_in_the_users_home_is_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = Path(__file__).resolve().parents[1] / "credit_assets" / "portfolios" / "consumer_loans.yaml"
    (home / "mine.yaml").write_text(packaged.read_text().replace("name: consumer_loans", "name: mine", 1))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("CREDIT_PORTFOLIO", "~/mine.yaml")
    assert load_settings().portfolio_contract.name == "mine"


def test_threads_are_shared_by_the_variants_that_run_side_by_side() -> None:
    cores = len(os.sched_getaffinity(0))
    assert load_settings(executor="in_process").training_threads == cores
    assert load_settings(executor="multiprocess", variants=("xgboost",)).training_threads == cores
    assert load_settings(executor="multiprocess", max_concurrent=256).training_threads == max(1, cores // 3)
    assert load_settings(threads=11).training_threads == 11


def test_settings_do_not_change_and_travel_to_other_processes() -> None:
    settings = load_settings(seed=3)
    with pytest.raises(ValidationError):
        settings.seed = 4  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_loading_settings_imports_nothing_heavy(home: Path) -> None:
    heavy = "dagster mlflow pandas pyarrow numpy xgboost lightgbm catboost sklearn matplotlib kubernetes duckdb"
    code = (
        "import sys\nfrom credit_assets.settings import load_settings\nload_settings()\n"
        f"assert not set({heavy.split()!r}) & set(sys.modules), set({heavy.split()!r}) & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "CREDIT_HOME": str(home)})


def test_a_parameter_that_its_learner_does_not_take_is_refused_at_load() -> None:
    with pytest.raises(SettingsError, match=r"CREDIT_VARIANT_PARAMS: variant xgboost: .*max_depth.*; got 99"):
        load_settings(variant_params='{"xgboost": {"max_depth": 99}}')
    with pytest.raises(SettingsError, match=r"CREDIT_VARIANT_PARAMS: variant lightgbm: unknown parameter 'leaves'"):
        load_settings(variant_params='{"lightgbm": {"leaves": 5}}')


def test_a_settings_file_that_cannot_be_read_is_named(home: Path) -> None:
    file = home / SETTINGS_FILE
    file.write_bytes(b"CREDIT_SEED=\xff\xfe")
    with pytest.raises(SettingsError, match=r"settings.env is no UTF-8 text"):
        load_settings()
    file.unlink()
    file.mkdir()
    for read in (load_settings, setting_sources):
        with pytest.raises(SettingsError, match=r"settings.env cannot be read \(Is a directory\)"):
            read()


def test_a_machine_without_a_time_zone_database_is_told_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDIT_TIMEZONE", "Europe/Berlin")
    monkeypatch.setattr("credit_assets.settings.groups.ZoneInfo", lambda name: {}[name])
    with pytest.raises(SettingsError, match="no IANA time zone"):
        load_settings()
    monkeypatch.setattr("credit_assets.settings.groups.available_timezones", set)
    with pytest.raises(SettingsError, match="install its package tzdata"):
        load_settings()


def test_no_password_stands_in_what_is_said_of_a_bad_value(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CREDIT_DAGSTER_URL", "CREDIT_SEED", "CREDIT_DASK_SCHEDULER", "CREDIT_TIMEZONE"):
        monkeypatch.setenv(name, f"ftp://ana:{SECRET}@host")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert SECRET not in str(refused.value)
    assert "CREDIT_DAGSTER_URL" in str(refused.value)
