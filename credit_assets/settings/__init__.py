"""The settings of a process: every knob (`groups`), read from the environment, with where its value came from.

Belongs here: reading the environment and refusing what it cannot mean. Does not belong here: the knobs themselves
(`groups`), and any connection (`credit_assets.resources`).

Order of precedence: environment, then `settings.env` in CREDIT_HOME (written by `credit-assets demo`, so that the
UI and the command line that follow see what the demo used), then the default.
"""

from __future__ import annotations

import difflib
import os
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from credit_assets.masking import masked
from credit_assets.ml.data.extensions import ExtensionError
from credit_assets.ml.data.portfolio import Portfolio, PortfolioError
from credit_assets.places import PlaceError, embedded_folder
from credit_assets.settings.groups import (
    Alerts,
    Book,
    Deployment,
    Execution,
    Monitoring,
    Places,
    Quality,
    Retraining,
    SettingsError,
    Training,
)
from credit_assets.stages import Graph

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["Settings", "SettingsError", "load_settings", "setting_sources", "settings_file", "variable"]

MODEL_NAME = "credit-scorer"
PREFIX = "CREDIT_"
# Names other programs own; everything else carries the prefix.
FOREIGN = {"mlflow_tracking_uri": "MLFLOW_TRACKING_URI", "dagster_home": "DAGSTER_HOME"}
SETTINGS_FILE = "settings.env"
# Read by the test suite and never by the product, but it carries the prefix.
_RESERVED = {"CREDIT_TEST_DATA"}


# Pydantic lists the fields of the last base first.
class Settings(Alerts, Execution, Retraining, Monitoring, Deployment, Quality, Training, Book, Places, BaseSettings):
    """All settings, of all groups, each from the environment variable CREDIT_<NAME> (DAGSTER_HOME and
    MLFLOW_TRACKING_URI under their own names). Raises SettingsError from `load_settings`, pydantic's ValidationError
    when built directly.
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

    @cached_property
    def portfolio_contract(self) -> Portfolio:
        """The loaded portfolio with the columns of its patterns. Raises SettingsError where it cannot be used."""
        portfolio = super().portfolio_contract
        if not portfolio.columns_matching:
            return portfolio
        from credit_assets.settings.matching import resolved

        try:
            return resolved(portfolio, self.warehouse, self.timezone, self.store)
        except PortfolioError as error:
            raise SettingsError(f"CREDIT_PORTFOLIO: {error}") from error

    @property
    def graph(self) -> Graph:
        """The table of assets of this deployment: with its variants, and what its portfolio asks for."""
        return Graph(self.variants, self.portfolio_contract.parts)

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
    """The settings file of CREDIT_HOME, whether or not it exists. Raises SettingsError where that names no folder."""
    home = os.environ.get("CREDIT_HOME") or Settings.model_fields["home"].default
    try:
        return embedded_folder(home) / SETTINGS_FILE
    except PlaceError as error:
        raise SettingsError(f"CREDIT_HOME: {error}") from error


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
    _refuse_unknown()
    try:
        settings = Settings(**{"_env_file": settings_file(), **overrides})
    except ValidationError as error:
        raise SettingsError("; ".join(dict.fromkeys(map(_problem, error.errors())))) from error
    settings.portfolio_contract  # noqa: B018 - a portfolio that cannot be used is a bad setting too
    return settings


def _refuse_unknown() -> None:
    known = {variable(field) for field in Settings.model_fields}
    ignored = known | _RESERVED | _service_links()
    # Names in lower case too: pydantic would read them, and nothing else would.
    unknown = {
        name: name
        for name in os.environ
        if name not in ignored and (name.upper().startswith(PREFIX) or name.upper() in FOREIGN.values())
    }
    file, in_file = settings_file(), _in_file()
    if "CREDIT_HOME" in in_file:
        raise SettingsError(f"CREDIT_HOME decides where {file} is looked for: set it in the environment instead")
    unknown |= {f"{name} in {file}": name for name in in_file if name not in known}
    if unknown:
        hints = []
        for shown, name in sorted(unknown.items()):
            close = difflib.get_close_matches(name.upper(), known, n=1)
            hints.append(shown + (f" (did you mean {close[0]}?)" if close else ""))
        raise SettingsError(f"unknown setting {', '.join(hints)}: correct or unset it; the README lists all settings")


def _in_file() -> dict[str, str | None]:
    """What the settings file says; nothing where there is none. Raises SettingsError where it cannot be read."""
    file = settings_file()
    try:
        with file.open(encoding="utf-8") as text:
            return dotenv_values(stream=text)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file} is no UTF-8 text: write it anew, or delete it") from error
    except OSError as error:
        raise SettingsError(f"{file} cannot be read ({error.strerror}): correct that, or set CREDIT_HOME") from error


def _problem(item: ErrorDetails) -> str:
    """One bad value: its variable, what is wrong, and what was given where that is no secret."""
    text = item["msg"].removeprefix("Value error, ")
    if isinstance(item.get("ctx", {}).get("error"), ExtensionError):
        # It says itself what is wrong: an installed package, or a module that the setting names.
        return masked(text)
    if not item["loc"]:
        return text
    place = str(item["loc"][0])
    # Pydantic names a field with an alias by its alias.
    field = next((field for field, name in FOREIGN.items() if name == place), place)
    secret = field in Settings.model_fields and Settings.model_fields[field].annotation is SecretStr
    # Of a URL the password; of a text that quotes the value, the same.
    return masked(f"{variable(field)}: {text}" + ("" if secret else f" (got {item['input']!r})"))


def setting_sources() -> dict[str, str]:
    """Where each setting comes from: `environment`, the path of the settings file, or `default`."""
    file, from_file = settings_file(), _in_file()
    return {
        field: "environment"
        if os.environ.get(variable(field))
        else str(file)
        if from_file.get(variable(field))
        else "default"
        for field in Settings.model_fields
    }
