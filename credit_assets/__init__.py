"""Credit scoring on Dagster: the public names, for notebooks and for whoever builds on this package.

    import credit_assets as ca

    portfolio = ca.load_portfolio()
    defs = ca.build_definitions(ca.load_settings(retries=0))

Belongs here: names that are kept stable, each loaded when it is first used, so that reaching for one costs only what
that one needs. Does not belong here: any code.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from credit_assets.build import build_definitions as build_definitions
    from credit_assets.failures import PermanentError as PermanentError
    from credit_assets.failures import TransientError as TransientError
    from credit_assets.library import load_champion as load_champion
    from credit_assets.library import load_models as load_models
    from credit_assets.library import load_partition as load_partition
    from credit_assets.loans.generator import generate_book as generate_book
    from credit_assets.loans.lending_club import read_lending_club as read_lending_club
    from credit_assets.ml.data.cohorts import CohortWindow as CohortWindow
    from credit_assets.ml.data.cohorts import Known as Known
    from credit_assets.ml.data.cohorts import assemble_training_set as assemble_training_set
    from credit_assets.ml.data.features import feature_table as feature_table
    from credit_assets.ml.data.history_features import history_features as history_features
    from credit_assets.ml.data.policies import Policy as Policy
    from credit_assets.ml.data.portfolio import Portfolio as Portfolio
    from credit_assets.ml.data.portfolio import PortfolioError as PortfolioError
    from credit_assets.ml.data.portfolio import load_portfolio as load_portfolio
    from credit_assets.ml.evidence.drift import DriftPolicy as DriftPolicy
    from credit_assets.ml.evidence.drift import measure_drift as measure_drift
    from credit_assets.ml.evidence.evaluation import compare as compare
    from credit_assets.ml.evidence.evaluation import evaluate as evaluate
    from credit_assets.ml.learners import VARIANTS as VARIANTS
    from credit_assets.ml.learners.candidates import train_candidate as train_candidate
    from credit_assets.ml.learners.scorer import CreditScorer as CreditScorer
    from credit_assets.ml.learners.training import TrainingConfig as TrainingConfig
    from credit_assets.ml.rules.day_gates import check_applications as check_applications
    from credit_assets.ml.rules.day_gates import check_outcomes as check_outcomes
    from credit_assets.ml.rules.model_rules import decide_registration as decide_registration
    from credit_assets.ml.rules.training_gates import training_gates as training_gates
    from credit_assets.settings import Settings as Settings
    from credit_assets.settings import SettingsError as SettingsError
    from credit_assets.settings import load_settings as load_settings
    from credit_assets.warehouse import open_warehouse as open_warehouse

# The same as above, for the interpreter; a test compares the two.
_MODULE_OF = {
    "CohortWindow": "ml.data.cohorts",
    "CreditScorer": "ml.learners.scorer",
    "DriftPolicy": "ml.evidence.drift",
    "Known": "ml.data.cohorts",
    "PermanentError": "failures",
    "Policy": "ml.data.policies",
    "Portfolio": "ml.data.portfolio",
    "PortfolioError": "ml.data.portfolio",
    "Settings": "settings",
    "SettingsError": "settings",
    "TrainingConfig": "ml.learners.training",
    "TransientError": "failures",
    "VARIANTS": "ml.learners",
    "assemble_training_set": "ml.data.cohorts",
    "build_definitions": "build",
    "check_applications": "ml.rules.day_gates",
    "check_outcomes": "ml.rules.day_gates",
    "compare": "ml.evidence.evaluation",
    "decide_registration": "ml.rules.model_rules",
    "evaluate": "ml.evidence.evaluation",
    "feature_table": "ml.data.features",
    "generate_book": "loans.generator",
    "history_features": "ml.data.history_features",
    "load_champion": "library",
    "load_models": "library",
    "load_partition": "library",
    "load_portfolio": "ml.data.portfolio",
    "load_settings": "settings",
    "measure_drift": "ml.evidence.drift",
    "open_warehouse": "warehouse",
    "read_lending_club": "loans.lending_club",
    "train_candidate": "ml.learners.candidates",
    "training_gates": "ml.rules.training_gates",
}
__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
