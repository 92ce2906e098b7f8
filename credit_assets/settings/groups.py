"""Every knob, in groups: its type, its bounds, its default, and what it is for.

Belongs here: the fields, and the rules that hold among the fields of one group. Does not belong here: where values come
from (`credit_assets.settings`), and anything about columns or gates (`credit_assets.ml.data.portfolio`). A new knob is
one field of the group that it belongs to; docs/reference/settings.md is made from it.
"""

from __future__ import annotations

import re
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from credit_assets.failures import OwnError
from credit_assets.masking import PERCENT_FORM, has_unclear_login, without_login
from credit_assets.ml.data.documents import json_of
from credit_assets.ml.data.extensions import advice, modules_in
from credit_assets.ml.data.portfolio import Portfolio, PortfolioError, load_portfolio
from credit_assets.ml.extensions import load
from credit_assets.ml.learners import VARIANTS, default_variants
from credit_assets.places import PlaceError, database_file, database_url, embedded_folder, local_path, store_uri
from credit_assets.profiles import POOLS
from credit_assets.settings.approvers import ApproversFile


class SettingsError(OwnError, ValueError):
    """A setting is unknown or has a bad value; the message names it and says what would be right."""


def _from_json(value: Any) -> Any:
    """Text as the JSON that it is, anything else as it is. Raises ValueError where it is no JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json_of(value or "{}")
    except ValueError as error:
        raise ValueError(f"is not valid JSON: {error}") from error


# NoDecode: the settings' own reading of JSON has a message that names no setting.
Json = (NoDecode, BeforeValidator(_from_json))


class Places(BaseModel):
    """Where things are: loans, files, models, events. What is embedded stands in `home`."""

    home: Path = Field(
        Path(".credit_assets"), description="Folder of everything embedded: warehouse, store, MLflow, Dagster."
    )
    warehouse_url: SecretStr = Field(
        SecretStr(""), description="Where the loans are: duckdb:///file or any SQLAlchemy URL."
    )
    store_uri: str = Field("", description="Where Parquet files and records go: folder, s3://, gs://, ...")
    mlflow_tracking_uri: SecretStr = Field(
        SecretStr(""), validation_alias="MLFLOW_TRACKING_URI", description="MLflow tracking and registry server."
    )
    experiment: str = Field(
        "credit_scoring", min_length=1, description="MLflow experiment; unless set, `_<portfolio>` is added to it."
    )
    dagster_home: Path | None = Field(
        None, validation_alias="DAGSTER_HOME", description="Folder of the Dagster instance."
    )

    # Before they are paths, which forget the difference between ~/x and ./~/x.
    @field_validator("home", "dagster_home", mode="before")
    @classmethod
    def _folder(cls, value: Any) -> Any:
        return embedded_folder(value) if isinstance(value, str) and value else value

    @field_validator("warehouse_url", "mlflow_tracking_uri")
    @classmethod
    def _database_url(cls, value: SecretStr) -> SecretStr:
        return SecretStr(database_url(value.get_secret_value()))

    @field_validator("mlflow_tracking_uri")
    @classmethod
    def _login(cls, value: SecretStr) -> SecretStr:
        uri = value.get_secret_value()
        if not uri.startswith(("http://", "https://")):
            if has_unclear_login(uri):
                raise ValueError(f"has more than one @, so where its password ends is not clear: {PERCENT_FORM}")
            return value
        bare, user, password = without_login(uri)
        advice = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, and leave"
        if password and not user:
            raise ValueError(f"has a password without a user: {advice} both out of the URI")
        if "@" in bare:
            raise ValueError(f"has an @ after its host, so where its password ends is not clear: {advice} it out")
        return value

    @field_validator("store_uri")
    @classmethod
    def _store_uri(cls, value: str) -> str:
        return store_uri(value) if value.strip() else ""

    @model_validator(mode="after")
    def _folders(self) -> Self:
        # Defaults too: they lie where the process stands.
        for name, folder in (("CREDIT_HOME", self.home), ("DAGSTER_HOME", self.dagster_home)):
            try:
                embedded_folder(folder or ".")
            except PlaceError as error:
                raise ValueError(f"{name}: {error}") from error
        return self

    @cached_property
    def home_dir(self) -> Path:
        return embedded_folder(self.home)

    @cached_property
    def warehouse(self) -> str:
        return self.warehouse_url.get_secret_value() or f"duckdb:///{self.home_dir / 'warehouse.duckdb'}"

    @property
    def warehouse_exists(self) -> bool:
        """Whether there may be loans: the embedded warehouse is a file that the first load makes."""
        embedded = not self.warehouse_url.get_secret_value()
        return not embedded or Path(self.warehouse.removeprefix("duckdb:///")).exists()

    @cached_property
    def tracking_uri(self) -> str:
        return self.mlflow_tracking_uri.get_secret_value() or f"sqlite:///{self.home_dir / 'mlflow' / 'mlflow.db'}"

    @property
    def tracking_is_new(self) -> bool:
        """Whether MLflow's store is the embedded one and nothing has been written there yet."""
        file = database_file(self.tracking_uri)
        return not self.mlflow_tracking_uri.get_secret_value() and file is not None and not file.exists()

    @cached_property
    def dagster_dir(self) -> Path:
        return embedded_folder(self.dagster_home or self.home_dir / "dagster")


class BookSettings(BaseModel):
    """Whose loans, which days, and how the mature ones are cut into training, validation and test."""

    portfolio: Path | None = Field(
        None,
        description="Portfolio file (YAML), or the name of one in CREDIT_HOME/portfolios; empty: the packaged one.",
    )
    names: Literal["portfolio", "bare"] = Field(
        "portfolio",
        description="Whether assets, jobs, model and store carry the portfolio's name, or are bare as in earlier "
        "versions.",
    )
    extensions: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validate_default=True,
        description="Modules with features, learners, gates and triggers of yours, comma separated, beside those of "
        "installed packages.",
    )
    start_date: date = Field(date(2024, 1, 1), description="First daily partition.")
    timezone: str = Field("UTC", description="Time zone of partitions and schedules.")
    performance_window_days: int | None = Field(
        None, ge=1, le=3650, description="Days after application in which a default counts; empty: the portfolio's."
    )
    lookback_days: int = Field(90, ge=1, le=7300, description="Days of mature cohorts that a training set spans.")
    recheck_days: int = Field(
        14, ge=0, le=3650, description="Days that the daily run holds against the warehouse again; 0: none."
    )
    restated: Literal["ingest", "report"] = Field(
        "ingest", description="Days that the warehouse has changed since: ingest them again, or report them only."
    )
    test_share: float = Field(0.25, gt=0, lt=1, description="Newest share of the training set, the out-of-time test.")
    validation_share: float = Field(
        0.2, gt=0, lt=1, description="Share before the test that stops training early and calibrates."
    )

    @field_validator("portfolio", mode="before")
    @classmethod
    def _portfolio_file(cls, value: Any) -> Any:
        return local_path(value) if isinstance(value, str) and value else value

    @field_validator("extensions", mode="before")
    @classmethod
    def _modules(cls, value: Any) -> Any:
        return modules_in(value) if isinstance(value, str) else value

    @field_validator("extensions")
    @classmethod
    def _loaded(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # Before the variants and the portfolio, which may name them. Raises ExtensionError, a ValueError.
        load(value)
        return value

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            if not available_timezones():
                raise ValueError("this machine has no time zone database: install its package tzdata") from error
            raise ValueError(f"{value!r} is no IANA time zone (for instance Europe/Berlin)") from error
        return value

    @model_validator(mode="after")
    def _shares_leave_rows_to_train_on(self) -> Self:
        if self.test_share + self.validation_share >= 0.9:
            raise ValueError("CREDIT_TEST_SHARE and CREDIT_VALIDATION_SHARE together must stay below 0.9")
        return self

    @cached_property
    def portfolio_contract(self) -> Portfolio:
        """The loaded portfolio. Raises SettingsError where its file cannot be used."""
        try:
            return load_portfolio(self.portfolio)
        except PortfolioError as error:
            raise SettingsError(f"CREDIT_PORTFOLIO: {error}") from error

    @cached_property
    def window_days(self) -> int:
        """Performance window W in days."""
        return self.performance_window_days or self.portfolio_contract.performance_window_days


class TrainingSettings(BaseModel):
    """How the variants are trained, and on what."""

    variants: Annotated[tuple[str, ...], NoDecode] = Field(
        default_factory=default_variants,
        description="Variants to train, comma separated; scorecard is one of them where its extra is installed, and "
        "ensemble (the mean of the boosters' log-odds) where it is named.",
    )
    variant_params: Annotated[dict[str, dict[str, Any]], *Json] = Field(
        default_factory=dict, description='Parameters over the defaults, JSON: {"xgboost": {"max_depth": 4}}.'
    )
    on_variant_failure: Literal["fail", "continue"] = Field(
        "fail", description="A variant that fails after its retries: fail the run, or let the others go on."
    )
    max_rounds: int = Field(2000, ge=1, le=100_000, description="Most boosting rounds of any variant.")
    early_stopping_rounds: int = Field(50, ge=1, le=10**6, description="Rounds without improvement that end training.")
    search_trials: int = Field(
        0,
        ge=0,
        le=1000,
        description="Trials of a search of hyper-parameters before each training, on folds in time; 0: none. Needs the "
        "extra search.",
    )
    seed: int = Field(20071, ge=0, lt=2**31, description="Seed of every random choice.")
    threads: int = Field(0, ge=0, le=4096, description="Threads of a training step; 0: the cores, shared by variants.")
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

    @field_validator("variants", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("variants")
    @classmethod
    def _known_variants(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(value) - set(VARIANTS))
        if unknown or not value or len(set(value)) != len(value):
            raise ValueError(
                f"must list some of {', '.join(VARIANTS)}, each once; got {', '.join(value) or 'nothing'}"
                + (advice() if unknown else "")
            )
        if why := "; ".join(filter(None, (VARIANTS[name].untrainable() for name in value))):
            raise ValueError(f"{why}, or leave it out")
        return value

    @field_validator("variant_params")
    @classmethod
    def _params_of_known_variants(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        unknown = sorted(set(value) - set(VARIANTS))
        if unknown:
            raise ValueError(f"names unknown variants {', '.join(unknown)}; known: {', '.join(VARIANTS)}{advice()}")
        for variant, params in value.items():
            VARIANTS[variant].resolve(params)  # Raises ValueError naming the parameter and what it takes.
        return value

    @field_validator("dask_scheduler")
    @classmethod
    def _scheduler(cls, value: str) -> str:
        if value and not re.match(r"[a-z]+://[^/\s]+:\d+$", value):
            raise ValueError("must be an address as Dask prints it, for instance tcp://scheduler:8786")
        return value


class Points(BaseModel):
    """The scale of a model's points."""

    score_base: float = Field(600.0, allow_inf_nan=False, description="Points at the base odds.")
    score_odds: float = Field(
        50.0, gt=0, allow_inf_nan=False, description="Good:bad odds at which the score is the base."
    )
    score_pdo: float = Field(20.0, gt=0, allow_inf_nan=False, description="Points that double the odds.")


class DeploymentSettings(BaseModel):
    """How a registered model comes into force, and its trial beside the champion."""

    promotion: Literal["immediate", "shadow", "manual"] = Field(
        "immediate",
        description="How a registered model becomes champion: at once, after a trial as shadow, or by approval.",
    )
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
    operator: str = Field("", description="Who is recorded for moves and triggers asked for here; empty: the user.")
    approvers: ApproversFile = Field(None, description="Persons and their keys: another signs what one promotes.")

    @model_validator(mode="after")
    def _arms_need_a_trial(self) -> Self:
        if self.challenger_share and self.promotion == "immediate":
            raise ValueError("CREDIT_CHALLENGER_SHARE needs a model on trial: set CREDIT_PROMOTION to shadow or manual")
        return self


class Monitoring(BaseModel):
    """What the reports on drift and performance look at, and when they speak."""

    drift_window_days: int = Field(30, ge=1, le=366, description="Most days that a drift report pools.")
    drift_min_rows: int = Field(500, ge=50, description="Applications that a drift report needs for a verdict.")
    drift_watch: float = Field(0.10, gt=0, le=100, description="PSI from which a feature is watched.")
    drift_shifted: float = Field(0.25, gt=0, le=100, description="PSI from which a feature has shifted.")
    drift_alpha: float = Field(
        0.01, gt=0, lt=1, description="Chance of a false verdict that a drift report accepts, over all features."
    )
    performance_cohort_days: int = Field(
        90, ge=1, le=366, description="Days of applications that a performance report measures on."
    )

    @model_validator(mode="after")
    def _watched_before_shifted(self) -> Self:
        if self.drift_watch >= self.drift_shifted:
            raise ValueError("CREDIT_DRIFT_WATCH must lie below CREDIT_DRIFT_SHIFTED")
        return self


class Retraining(BaseModel):
    """What starts a training."""

    retraining: Literal["daily", "triggered"] = Field(
        "daily", description="When models are trained: by every daily run, or when a trigger asks for it."
    )
    drift_trigger_days: int = Field(3, ge=1, le=60, description="Shifted days that start a retraining.")
    drift_trigger_window: int = Field(5, ge=1, le=60, description="Days among which they are counted.")
    volume_trigger_share: float = Field(
        1.0, gt=0, le=100, description="Newly matured loans that retrain, as a share of the champion's training rows."
    )
    cooldown_days: int = Field(30, ge=0, le=3650, description="Days without a trigger after any retraining.")
    repeat_days: int = Field(
        90, ge=1, le=3650, description="Days after which a trigger whose condition lasts fires again."
    )
    refresh: Literal["monthly", "none"] = Field("monthly", description="Regulatory refresh by the calendar.")

    @model_validator(mode="after")
    def _counted_within_their_window(self) -> Self:
        if self.drift_trigger_days > self.drift_trigger_window:
            raise ValueError("CREDIT_DRIFT_TRIGGER_DAYS cannot exceed CREDIT_DRIFT_TRIGGER_WINDOW")
        return self


class Execution(BaseModel):
    """Where steps run, what they may ask of a machine, and how often they are tried."""

    executor: Literal["in_process", "multiprocess", "k8s"] = Field(
        "in_process", description="Where steps run: one process for a run, one for each step, one pod for each step."
    )
    days_per_run: int = Field(
        366,
        ge=1,
        le=732,
        description="Most days that one run of a backfill takes: ingestion, features, scores, reports.",
    )
    profiles: Annotated[dict[str, dict[str, Any]], *Json] = Field(
        default_factory=dict,
        description='Resource profiles over the defaults, JSON: {"train-gpu": {"memory": "32Gi"}}.',
    )
    step_profiles: Annotated[dict[str, str], *Json] = Field(
        default_factory=dict,
        description='Profiles of single assets, JSON: {"catboost_candidate": "train-cpu"}.',
    )
    cost_centre: str = Field(
        "",
        pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$",
        description="Label of every pod of a step, for cost attribution.",
    )
    pending_minutes: int = Field(
        60,
        ge=1,
        le=1440,
        description="How long a step may wait for its Job to be taken, or for a pod and a node, until it is given up.",
    )
    shared_pools: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Pools whose slots all portfolios that name them here share, comma separated: gpu, warehouse."
    )
    daily_schedule: Literal["on", "off"] = Field(
        "off", description="The daily schedule, unless somebody has switched it in the Dagster UI."
    )
    max_concurrent: int = Field(3, ge=1, le=256, description="Steps of one run at a time.")
    retries: int = Field(2, ge=0, le=10, description="Retries of a step after a transient failure.")
    retry_delay_seconds: float = Field(
        30.0, ge=0, le=86_400, description="Delay before the first retry; doubles, with jitter."
    )

    @field_validator("shared_pools", mode="before")
    @classmethod
    def _split_pools(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("shared_pools")
    @classmethod
    def _known_pools(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(value) - set(POOLS)):
            raise ValueError(f"names unknown pools {', '.join(unknown)}; known: {', '.join(POOLS)}")
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


class CatalogueSettings(BaseModel):
    """How assets are presented: whose they are, by which tags they are found, where their code is, when due."""

    owners: Annotated[tuple[str, ...], NoDecode] = Field(
        ("team:credit-risk",), description="Owners of all assets, comma separated: team:NAME or a mail address."
    )
    asset_tags: Annotated[dict[str, str], *Json] = Field(
        default_factory=dict, description='Tags of all assets, JSON: {"domain": "retail-credit"}.'
    )
    source_url: str = Field(
        "",
        pattern=r"^(https?://[^/\s]+\S*)?$",
        description="Where the code is browsed, for links from assets; empty: the files of the machine.",
    )
    scores_by: str = Field(
        "09:00",
        pattern=r"^(none|([01][0-9]|2[0-3]):[0-5][0-9])$",
        description="Time of day in CREDIT_TIMEZONE by which yesterday's scores are wanted, or none.",
    )

    @field_validator("owners", mode="before")
    @classmethod
    def _split_owners(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("owners")
    @classmethod
    def _teams_or_people(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for owner in value:
            if not re.fullmatch(r"team:[A-Za-z0-9_.-]+|[^@\s]+@[^@\s]+\.[^@\s]+", owner):
                raise ValueError(f"{owner!r} is no owner: give team:NAME or a mail address")
        return value

    @field_validator("asset_tags")
    @classmethod
    def _tags_of_dagster(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not re.fullmatch(r"([A-Za-z0-9._-]{1,63}/)?[A-Za-z0-9._-]{1,63}", name) or not re.fullmatch(
                r"[A-Za-z0-9._-]{0,63}", text
            ):
                raise ValueError(f"{name}: {text} is no tag: letters, digits, '.', '_' and '-', at most 63 of them")
        return value
