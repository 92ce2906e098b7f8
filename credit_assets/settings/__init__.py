"""The settings of a process: every knob (`groups`), read from the environment, with where its value came from.

Belongs here: reading the environment and refusing what it cannot mean. Does not belong here: the knobs themselves
(`groups`), and any connection (`credit_assets.resources`).

Order of precedence: environment, then the settings of the portfolio alone (`portfolio_files`), then `settings.env` in
CREDIT_HOME (written by `credit-assets demo`, so that the UI and the command line that follow see what the demo used),
then the default. So a code location of many in one process environment has settings of its own.
"""

from __future__ import annotations

import difflib
import os
import re
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from credit_assets.failures import shortened
from credit_assets.file_modes import restrict
from credit_assets.masking import masked
from credit_assets.ml.data.extensions import ExtensionError
from credit_assets.ml.data.portfolio import Portfolio, PortfolioError
from credit_assets.naming import MODEL, Names
from credit_assets.places import PlaceError, embedded_folder
from credit_assets.processes import usable_cores
from credit_assets.settings.access import Access
from credit_assets.settings.alerts import Alerts
from credit_assets.settings.groups import (
    BookSettings,
    CatalogueSettings,
    DeploymentSettings,
    Execution,
    Monitoring,
    Places,
    Points,
    Retraining,
    SettingsError,
    TrainingSettings,
)
from credit_assets.settings.policies import PolicyKeys, policy_of
from credit_assets.settings.portfolio_files import (
    NoPortfolioError,
    name_by_place,
    own_settings_file,
    portfolio_file,
    portfolio_names,
)
from credit_assets.settings.retention import RetentionSettings
from credit_assets.settings.step_pods import StepPods
from credit_assets.stages import Graph

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = [
    "Settings",
    "SettingsError",
    "load_settings",
    "overridden",
    "portfolio_names",
    "restrict_files",
    "setting_sources",
    "settings_file",
    "variable",
]

MODEL_NAME = MODEL
"""Of the packaged portfolio; any other has its own (`Settings.naming`)."""
PREFIX = "CREDIT_"
# Names other programs own; everything else carries the prefix.
FOREIGN = {"mlflow_tracking_uri": "MLFLOW_TRACKING_URI", "dagster_home": "DAGSTER_HOME"}
SETTINGS_FILE = "settings.env"
_LONGEST = 32_768
# What is one for all portfolios of a home, or decides which portfolio it is.
_NOT_OF_ONE = ("CREDIT_HOME", "CREDIT_PORTFOLIO", "DAGSTER_HOME", "CREDIT_FILE_ACCESS")
# Read by the test suite and never by the product, but it carries the prefix.
_RESERVED = {"CREDIT_TEST_DATA"}


# Pydantic lists the fields of the last base first.
class Settings(
    Access,
    RetentionSettings,
    Alerts,
    CatalogueSettings,
    StepPods,
    Execution,
    Retraining,
    Monitoring,
    DeploymentSettings,
    PolicyKeys,
    Points,
    TrainingSettings,
    BookSettings,
    Places,
    BaseSettings,
):
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

    @cached_property
    def naming(self) -> Names:
        """The names of everything that carries the portfolio's."""
        # Asked for from within `portfolio_contract`, whose patterns are kept in the store that is named here, it finds
        # the portfolio as its file has it; its name is the same.
        return Names(self.portfolio_contract.name, self.names == "bare", frozenset(self.shared_pools))

    @cached_property
    def store_root(self) -> str:
        """The folder or bucket that portfolios share."""
        return self.store_uri or str(self.home_dir / "store")

    @cached_property
    def store(self) -> str:
        """This portfolio's part of it."""
        return self.naming.folder(self.store_root)

    @cached_property
    def experiment_name(self) -> str:
        """The MLflow experiment: as it is set, else by the portfolio."""
        return self.experiment if "experiment" in self.model_fields_set else self.naming.experiment

    @cached_property
    def own_dir(self) -> Path:
        """The part of the home that no other portfolio has."""
        return Path(self.naming.folder(str(self.home_dir)))

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
        return max(1, usable_cores() // side_by_side)


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
    """Read the settings from `overrides`, the environment, the settings of the portfolio alone and `settings.env` in
    the home (CREDIT_HOME, or `home` of the overrides), in this order. `portfolio` may be a file or the name of one in
    the home.

    Raises SettingsError with one line that names each unknown variable and each bad value.
    """
    portfolio, home = _portfolio(overrides)
    common, own = home / SETTINGS_FILE, own_settings_file(portfolio, home)
    _refuse_unknown(common, own)
    _refuse_no_texts(common, own)
    try:
        settings = Settings(**{"_env_file": (common, own), **overrides, "portfolio": portfolio})
    except ValidationError as error:
        raise SettingsError("; ".join(dict.fromkeys(map(_problem, error.errors())))) from error
    name, known_as = settings.portfolio_contract.name, name_by_place(portfolio, home)
    if known_as not in (None, name):
        raise SettingsError(
            f"CREDIT_PORTFOLIO: {portfolio} is looked for under its file's name and says `name: {name}`: rename the "
            f"file to {name}.yaml, or correct the name in it"
        )
    policy_of(settings)  # Raises SettingsError where a variable contradicts the file.
    return settings


def _portfolio(given: dict[str, Any] | None = None) -> tuple[Path | None, Path]:
    """The portfolio's file, None for the packaged one, and the home in which it would be looked for by its name."""
    given, home = given or {}, settings_file().parent
    if isinstance(given.get("home"), str | Path):
        home = embedded_folder(given["home"])
    text = given["portfolio"] if "portfolio" in given else _of_environment("portfolio", home / SETTINGS_FILE)
    try:
        return (portfolio_file(str(text), home) if text else None), home
    except (PlaceError, NoPortfolioError) as error:
        raise SettingsError(f"{variable('portfolio')}: {error}") from error


def _of_environment(field: str, file: Path) -> str:
    """The text of a setting, by the environment or else by the settings file of the home."""
    name = variable(field)
    return os.environ.get(name) or _in_file(file).get(name) or ""


def _refuse_unknown(file: Path, own: Path) -> None:
    known = {variable(field) for field in Settings.model_fields}
    ignored = known | _RESERVED | _service_links()
    # Names in lower case too: pydantic would read them, and nothing else would.
    unknown = {
        name: name
        for name in os.environ
        if name not in ignored and (name.upper().startswith(PREFIX) or name.upper() in FOREIGN.values())
    }
    in_file, alone = _in_file(file), _in_file(own)
    if "CREDIT_HOME" in in_file:
        raise SettingsError(f"CREDIT_HOME decides where {file} is looked for: set it in the environment instead")
    if common := [name for name in _NOT_OF_ONE if name in alone]:
        raise SettingsError(f"{own} has settings of one portfolio alone: set {', '.join(common)} in the environment")
    unknown |= {f"{name} in {file}": name for name in in_file if name not in known}
    unknown |= {f"{name} in {own}": name for name in alone if name not in known}
    if unknown:
        hints = []
        for shown, name in sorted(unknown.items()):
            close = difflib.get_close_matches(name.upper(), known, n=1)
            hints.append(shown + (f" (did you mean {close[0]}?)" if close else ""))
        raise SettingsError(
            f"unknown setting {', '.join(hints)}: correct or unset it; `credit-assets doctor --all` has them all"
        )


def _refuse_no_texts(common: Path, own: Path) -> None:
    """Raise SettingsError for values whose bytes are no text, or which are longer than any setting is: what looks at
    them afterwards may take time by the square of that.
    """
    known = {variable(field) for field in Settings.model_fields}
    given = [*os.environ.items(), *_in_file(common).items(), *_in_file(own).items()]
    for name, value in given:
        if name not in known or not value:
            continue
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise SettingsError(f"{name}: holds bytes that are no text in UTF-8; write it anew")
        if len(value) > _LONGEST:
            raise SettingsError(f"{name}: has {len(value):,} characters; no setting has more than {_LONGEST:,}")


def restrict_files() -> None:
    """Nobody but those of CREDIT_FILE_ACCESS reads what this process makes from now on: for the beginning of a process
    that is ours, and before other settings are known to be right. A notebook's files stay as they are.
    """
    access = ""
    with suppress(SettingsError):
        access = _of_environment("file_access", settings_file())
    restrict(access)


def _in_file(file: Path) -> dict[str, str | None]:
    """What a settings file says; nothing where there is none. Raises SettingsError where it cannot be read."""
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
    return shortened(masked(f"{variable(field)}: {text}" + ("" if secret else f" (got {item['input']!r})")))


def setting_sources(portfolio: Path | None = None) -> dict[str, str]:
    """Where each setting comes from: `environment`, the path of a settings file, or `default`.

    `portfolio`: the file of the settings' own portfolio, None for the packaged one.
    """
    own, common = own_settings_file(portfolio, settings_file().parent), settings_file()
    files = [(own, _in_file(own)), (common, _in_file(common))]

    def source(name: str) -> str:
        if os.environ.get(name):
            return "environment"
        return next((str(file) for file, given in files if given.get(name)), "default")

    return {field: source(variable(field)) for field in Settings.model_fields}


def overridden(portfolio: Path | None = None) -> list[str]:
    """Settings of the portfolio alone that the environment sets to something else, and which therefore do not count."""
    own = own_settings_file(portfolio, settings_file().parent)
    return sorted(
        name for name, value in _in_file(own).items() if value and os.environ.get(name) not in (None, "", value)
    )
