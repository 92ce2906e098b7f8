"""Every knob of the code location, typed, with its default and where its value came from.

Belongs here: reading and validating the environment. Does not belong here: anything about columns or gates
(`credit_assets.ml.data.portfolio`) and any connection (`credit_assets.resources`).

Order of precedence: environment, then `settings.env` in CREDIT_HOME (written by `credit-assets demo`, so that the
UI and the command line that follow see what the demo used), then the default.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from credit_assets.ml.data.portfolio import Portfolio, PortfolioError, load_portfolio

MODEL_NAME = "credit-scorer"
PREFIX = "CREDIT_"
# Names other programs own; everything else carries the prefix.
FOREIGN = {"mlflow_tracking_uri": "MLFLOW_TRACKING_URI", "dagster_home": "DAGSTER_HOME"}
SETTINGS_FILE = "settings.env"
# Read by the test suite and never by the product, but it carries the prefix.
_RESERVED = {"CREDIT_TEST_DATA"}


class SettingsError(ValueError):
    """A setting is unknown or has a bad value; the message names it and says what would be right."""


class Settings(BaseSettings):
    """All settings. Each is read from the environment variable CREDIT_<NAME> (DAGSTER_HOME and MLFLOW_TRACKING_URI
    under their own names). Raises SettingsError from `load_settings`, pydantic's ValidationError when built directly.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        validate_by_name=True,
        # A rule over several settings would otherwise quote all of them, secrets included, in its traceback.
        hide_input_in_errors=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, DotEnvSettingsSource(settings_cls, env_file=settings_file())

    home: Path = Field(
        Path(".credit_assets"), description="Folder of everything embedded: warehouse, store, MLflow, Dagster."
    )
    warehouse_url: SecretStr = Field(
        SecretStr(""), description="Where the loans are: duckdb:///file or any SQLAlchemy URL."
    )
    store_uri: str = Field("", description="Where Parquet files and records go: folder, s3://, gs://, ...")
    portfolio: Path | None = Field(None, description="Portfolio file (YAML); empty: the packaged one.")
    start_date: date = Field(date(2024, 1, 1), description="First daily partition.")
    timezone: str = Field("UTC", description="Time zone of partitions and schedules.")
    performance_window_days: int | None = Field(
        None, ge=1, le=3650, description="Days after application in which a default counts; empty: the portfolio's."
    )
    lookback_days: int = Field(90, ge=1, le=7300, description="Days of mature cohorts that a training set spans.")
    test_share: float = Field(0.25, gt=0, lt=1, description="Newest share of the training set, the out-of-time test.")
    validation_share: float = Field(
        0.2, gt=0, lt=1, description="Share before the test that stops training early and calibrates."
    )
    variants: Annotated[tuple[str, ...], NoDecode] = Field(
        ("xgboost", "lightgbm", "catboost"), description="Variants to train, comma separated."
    )
    variant_params: Annotated[dict[str, dict[str, Any]], NoDecode] = Field(
        default_factory=dict, description='Parameters over the defaults, JSON: {"xgboost": {"max_depth": 4}}.'
    )
    on_variant_failure: Literal["fail", "continue"] = Field(
        "fail", description="A variant that fails after its retries: fail the run, or let the others go on."
    )
    max_rounds: int = Field(2000, ge=1, le=100_000, description="Most boosting rounds of any variant.")
    early_stopping_rounds: int = Field(50, ge=1, description="Rounds without improvement before training stops.")
    seed: int = Field(20071, ge=0, lt=2**31, description="Seed of every random choice.")
    threads: int = Field(0, ge=0, description="Threads of one training step; 0: the cores shared by the variants.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where XGBoost and CatBoost train; auto: on a GPU where CUDA is visible."
    )
    gpu_fallback: Literal["fail", "cpu"] = Field(
        "fail",
        description="When a GPU is wanted and cannot be used: fail, or train on the CPU with a warning and a tag.",
    )
    dask_scheduler: str = Field(
        "", description="Dask scheduler on whose workers XGBoost and LightGBM train; empty: in the step itself."
    )
    reuse_days: int | None = Field(
        None,
        ge=0,
        le=3650,
        description="Days for which unchanged data, code and parameters reuse a trained model; empty: for ever.",
    )
    min_improvement: float = Field(
        0.005, ge=0, lt=1, description="Out-of-time AUC by which a candidate must beat the champion."
    )
    min_auc: float = Field(0.55, ge=0.5, lt=1, description="Floor of the out-of-time AUC.")
    max_auc: float = Field(0.95, gt=0.5, le=1, description="Out-of-time AUC above which leakage is suspected.")
    max_ece: float = Field(0.05, gt=0, le=1, description="Largest expected calibration error (deciles).")
    score_base: float = Field(600.0, allow_inf_nan=False, description="Points at the base odds.")
    score_odds: float = Field(
        50.0, gt=0, allow_inf_nan=False, description="Good:bad odds at which the score is the base."
    )
    score_pdo: float = Field(20.0, gt=0, allow_inf_nan=False, description="Points that double the odds.")
    promotion: Literal["immediate", "shadow", "manual"] = Field(
        "immediate",
        description="How a registered model becomes champion: at once, after a trial as shadow, or by approval.",
    )
    shadow_days: int = Field(30, ge=1, le=366, description="Days that a model scores beside the champion on trial.")
    shadow_min_loans: int = Field(500, ge=1, description="Applications that a trial must have seen.")
    shadow_min_correlation: float = Field(
        0.6, ge=-1, le=1, description="Least rank correlation of the two models' scores."
    )
    shadow_max_psi: float = Field(2.0, gt=0, le=100, description="Largest PSI between the two models' scores.")
    approval_rate: float = Field(
        0.8, gt=0, lt=1, description="Share of applications approved, at which reports count the swap set."
    )
    challenger_share: float = Field(
        0.0, ge=0, lt=1, description="Share of applications that the model on trial decides about."
    )
    assignment_key: SecretStr = Field(
        SecretStr("credit-scorer"),
        min_length=1,
        description="Key of the hash that assigns applications to arms.",
    )
    retraining: Literal["daily", "triggered"] = Field(
        "daily", description="When models are trained: by every daily run, or when a trigger asks for it."
    )
    drift_window_days: int = Field(30, ge=1, le=366, description="Most days that a drift report pools.")
    drift_min_rows: int = Field(500, ge=50, description="Applications that a drift report needs for a verdict.")
    drift_watch: float = Field(0.10, gt=0, le=100, description="PSI from which a feature is watched.")
    drift_shifted: float = Field(0.25, gt=0, le=100, description="PSI from which a feature has shifted.")
    drift_alpha: float = Field(
        0.01, gt=0, lt=1, description="Chance of a false verdict that a drift report accepts, over all features."
    )
    drift_trigger_days: int = Field(3, ge=1, le=60, description="Shifted days that start a retraining.")
    drift_trigger_window: int = Field(5, ge=1, le=60, description="Days among which they are counted.")
    performance_cohort_days: int = Field(
        90, ge=1, le=366, description="Days of applications that a performance report measures on."
    )
    performance_min_bads: int = Field(50, ge=2, description="Defaults that a verdict on performance needs.")
    performance_floor: float = Field(0.55, ge=0.5, lt=1, description="AUC below which the champion is retrained.")
    performance_margin: float = Field(
        0.05, gt=0, lt=0.5, description="Loss of AUC against the champion's registered value that retrains it."
    )
    volume_trigger_share: float = Field(
        1.0, gt=0, le=100, description="Newly matured loans that retrain, as a share of the champion's training rows."
    )
    cooldown_days: int = Field(30, ge=0, le=3650, description="Days without a trigger after any retraining.")
    repeat_days: int = Field(
        90, ge=1, le=3650, description="Days after which a trigger whose condition lasts fires again."
    )
    refresh: Literal["monthly", "none"] = Field("monthly", description="Regulatory refresh by the calendar.")
    refresh_margin: float = Field(
        0.03, gt=0, lt=0.5, description="AUC by which a refreshed model may at most be worse (non-inferiority)."
    )
    executor: Literal["in_process", "multiprocess", "k8s"] = Field(
        "in_process", description="Where steps run: one process for a run, one for each step, one pod for each step."
    )
    days_per_run: int = Field(
        366,
        ge=1,
        le=732,
        description="Most days that one run of a backfill takes: ingestion, features, scores, reports.",
    )
    profiles: Annotated[dict[str, dict[str, Any]], NoDecode] = Field(
        default_factory=dict,
        description='Resource profiles over the defaults, JSON: {"train-gpu": {"memory": "32Gi"}}.',
    )
    step_profiles: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict,
        description='Profiles of single assets, JSON: {"catboost_candidate": "train-cpu"}.',
    )
    cost_centre: str = Field(
        "",
        pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$",
        description="Label of every pod of a step, for cost attribution.",
    )
    pending_minutes: int = Field(
        60, ge=1, le=1440, description="How long the pod of a step may wait for a node before the step is given up."
    )
    max_concurrent: int = Field(3, ge=1, le=256, description="Steps of one run at a time.")
    retries: int = Field(2, ge=0, le=10, description="Retries of a step after a transient failure.")
    retry_delay_seconds: float = Field(
        30.0, ge=0, allow_inf_nan=False, description="Delay before the first retry; doubles, with jitter."
    )
    alert_urls: SecretStr = Field(SecretStr(""), description="Apprise URLs for alerts, separated by spaces or commas.")
    dagster_url: str = Field("http://localhost:3000", description="Where people reach the Dagster UI, for links.")
    experiment: str = Field("credit_scoring", min_length=1, description="MLflow experiment.")
    mlflow_tracking_uri: SecretStr = Field(
        SecretStr(""), validation_alias="MLFLOW_TRACKING_URI", description="MLflow tracking and registry server."
    )
    dagster_home: Path | None = Field(
        None, validation_alias="DAGSTER_HOME", description="Folder of the Dagster instance."
    )

    @field_validator("variants", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("variants")
    @classmethod
    def _known_variants(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from credit_assets.ml.learners import VARIANTS

        unknown = sorted(set(value) - set(VARIANTS))
        if unknown or not value or len(set(value)) != len(value):
            raise ValueError(f"must list some of {', '.join(VARIANTS)}, each once; got {', '.join(value) or 'nothing'}")
        return value

    @field_validator("variant_params", "profiles", "step_profiles", mode="before")
    @classmethod
    def _json(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value or "{}")
        except json.JSONDecodeError as error:
            raise ValueError(f"is not valid JSON: {error}") from error

    @field_validator("variant_params")
    @classmethod
    def _params_of_known_variants(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        from credit_assets.ml.learners import VARIANTS

        unknown = sorted(set(value) - set(VARIANTS))
        if unknown:
            raise ValueError(f"names unknown variants {', '.join(unknown)}; known: {', '.join(VARIANTS)}")
        for variant, params in value.items():
            VARIANTS[variant].resolve(params)  # Raises ValueError naming the parameter and what it takes.
        return value

    @field_validator("profiles")
    @classmethod
    def _known_profiles(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        if value:
            from credit_assets.profiles import merged_profiles

            merged_profiles(value)
        return value

    @field_validator("step_profiles")
    @classmethod
    def _profiles_of_known_assets(cls, value: dict[str, str]) -> dict[str, str]:
        if value:
            from credit_assets.stages import check_step_profiles

            check_step_profiles(value)
        return value

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is no IANA time zone (for instance Europe/Berlin)") from error
        return value

    @field_validator("dask_scheduler")
    @classmethod
    def _scheduler(cls, value: str) -> str:
        if value and not re.match(r"[a-z]+://[^/\s]+:\d+$", value):
            raise ValueError("must be an address as Dask prints it, for instance tcp://scheduler:8786")
        return value

    @field_validator("dagster_url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        if not re.match(r"https?://[^/\s]", value):
            raise ValueError("must start with http:// or https:// and a host")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.min_auc >= self.max_auc:
            raise ValueError("CREDIT_MIN_AUC must lie below CREDIT_MAX_AUC")
        if self.test_share + self.validation_share >= 0.9:
            raise ValueError("CREDIT_TEST_SHARE and CREDIT_VALIDATION_SHARE together must stay below 0.9")
        if self.drift_watch >= self.drift_shifted:
            raise ValueError("CREDIT_DRIFT_WATCH must lie below CREDIT_DRIFT_SHIFTED")
        if self.drift_trigger_days > self.drift_trigger_window:
            raise ValueError("CREDIT_DRIFT_TRIGGER_DAYS cannot exceed CREDIT_DRIFT_TRIGGER_WINDOW")
        if self.challenger_share and self.promotion == "immediate":
            raise ValueError("CREDIT_CHALLENGER_SHARE needs a model on trial: set CREDIT_PROMOTION to shadow or manual")
        return self

    # What the rest of the code reads: defaults that depend on other settings, resolved once.

    @cached_property
    def home_dir(self) -> Path:
        return self.home.expanduser().absolute()

    @cached_property
    def warehouse(self) -> str:
        return self.warehouse_url.get_secret_value() or f"duckdb:///{self.home_dir / 'warehouse.duckdb'}"

    @cached_property
    def store(self) -> str:
        return self.store_uri or str(self.home_dir / "store")

    @cached_property
    def tracking_uri(self) -> str:
        return self.mlflow_tracking_uri.get_secret_value() or f"sqlite:///{self.home_dir / 'mlflow' / 'mlflow.db'}"

    @cached_property
    def dagster_dir(self) -> Path:
        return (self.dagster_home or self.home_dir / "dagster").expanduser().absolute()

    @cached_property
    def portfolio_contract(self) -> Portfolio:
        """The loaded portfolio. Raises SettingsError where its file cannot be used."""
        try:
            return load_portfolio(self.portfolio.expanduser() if self.portfolio else None)
        except PortfolioError as error:
            raise SettingsError(f"CREDIT_PORTFOLIO: {error}") from error

    @cached_property
    def window_days(self) -> int:
        """Performance window W in days."""
        return self.performance_window_days or self.portfolio_contract.performance_window_days

    @cached_property
    def alert_targets(self) -> tuple[str, ...]:
        # A comma within a URL belongs to it: mailto://relay?to=a@example.org,b@example.org.
        parts = re.split(r"\s+|,(?=\s*[A-Za-z][\w+.-]*://)", self.alert_urls.get_secret_value())
        return tuple(part.strip(",") for part in parts if part.strip(","))

    @property
    def training_threads(self) -> int:
        """Threads of one training step: set, or the cores divided among the variants that run side by side."""
        if self.threads:
            return self.threads
        side_by_side = 1 if self.executor == "in_process" else min(self.max_concurrent, len(self.variants))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, cores // side_by_side)


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return FOREIGN.get(field, PREFIX + field.upper())


def settings_file() -> Path:
    """The settings file of CREDIT_HOME, whether or not it exists."""
    home = os.environ.get("CREDIT_HOME") or Settings.model_fields["home"].default
    return Path(home).expanduser().absolute() / SETTINGS_FILE


def _service_links() -> set[str]:
    """Variables by which Kubernetes tells every pod of the services of its namespace: a service credit-assets becomes
    CREDIT_ASSETS_SERVICE_HOST, CREDIT_ASSETS_PORT_3030_TCP and more, all of them set by nobody.
    """
    host = "_SERVICE_HOST"
    services = [re.escape(name.removesuffix(host)) for name in os.environ if name.endswith(host)]
    if not services:
        return set()
    port = r"PORT(_\d+_[A-Z]+(_(ADDR|PORT|PROTO))?)?"
    link = re.compile(rf"({'|'.join(services)})_(SERVICE_(HOST|PORT(_\w+)?)|{port})")
    return {name for name in os.environ if link.fullmatch(name)}


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from `overrides`, the environment and `settings.env` in CREDIT_HOME, in this order.

    Raises SettingsError with one line that names each unknown variable and each bad value.
    """
    known = {variable(field) for field in Settings.model_fields}
    ignored = known | _RESERVED | _service_links()
    # Names in lower case too: pydantic would read them, and nothing else would.
    unknown = {
        name: name
        for name in os.environ
        if name not in ignored and (name.upper().startswith(PREFIX) or name.upper() in FOREIGN.values())
    }
    file = settings_file()
    if file.is_file():
        in_file = dotenv_values(file)
        if "CREDIT_HOME" in in_file:
            raise SettingsError(f"CREDIT_HOME decides where {file} is looked for: set it in the environment instead")
        unknown |= {f"{name} in {file}": name for name in in_file if name not in known}
    if unknown:
        hints = []
        for shown, name in sorted(unknown.items()):
            close = difflib.get_close_matches(name.upper(), known, n=1)
            hints.append(shown + (f" (did you mean {close[0]}?)" if close else ""))
        raise SettingsError(f"unknown setting {', '.join(hints)}: correct or unset it; the README lists all settings")
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        problems = []
        for item in error.errors():
            field = str(item["loc"][0]) if item["loc"] else ""
            name = field if field in FOREIGN.values() else variable(field) if field else ""
            secret = name in {variable(f) for f, i in Settings.model_fields.items() if i.annotation is SecretStr}
            shown = f" (got {item['input']!r})" if name and not secret else ""
            problems.append(f"{name}{': ' if name else ''}{item['msg'].removeprefix('Value error, ')}{shown}")
        raise SettingsError("; ".join(problems)) from error
    settings.portfolio_contract  # noqa: B018 - a portfolio that cannot be used is a bad setting too
    return settings


def setting_sources() -> dict[str, str]:
    """Where each setting comes from: `environment`, the path of the settings file, or `default`."""
    file = settings_file()
    from_file = dotenv_values(file) if file.is_file() else {}
    return {
        field: "environment"
        if os.environ.get(variable(field))
        else str(file)
        if from_file.get(variable(field))
        else "default"
        for field in Settings.model_fields
    }
