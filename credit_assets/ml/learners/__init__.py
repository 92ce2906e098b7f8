"""The learners that compete for each as-of date: one entry of VARIANTS each, one module each.

Belongs here: the list. Does not belong here: the interface that every learner keeps (`learner`), the encoding of its
inputs (`encoding`), what one library needs (its own module), and what is the same for all learners (`training`).

Adding a variant is one module with a subclass of `Variant`, and one entry below; a lender's own comes by an extension
(docs/extensions.md). Importing this package imports no
learner and no pandas: each module reaches for its library when a model is fitted, saved, read or asked.
"""

from __future__ import annotations

from credit_assets.ml.data.extensions import Catalogue
from credit_assets.ml.learners.catboost import CatBoostVariant
from credit_assets.ml.learners.ensemble import EnsembleVariant
from credit_assets.ml.learners.extension_learners import checked_learner
from credit_assets.ml.learners.learner import Fitted, Parameter, Variant
from credit_assets.ml.learners.lightgbm import LightGBMVariant
from credit_assets.ml.learners.scorecard import ScorecardVariant
from credit_assets.ml.learners.xgboost import XGBoostVariant

VARIANTS: Catalogue[Variant] = Catalogue(
    "learner",
    {
        variant.name: variant
        for variant in (XGBoostVariant(), LightGBMVariant(), CatBoostVariant(), ScorecardVariant(), EnsembleVariant())
    },
    checked_learner,
)
"""By name, and beside them those of a lender's extensions."""


def default_variants() -> tuple[str, ...]:
    """The package's own that nobody has to ask for, as far as they can be trained with what is installed here."""
    return tuple(name for name, one in VARIANTS.packaged.items() if one.by_default and not one.untrainable())


__all__ = ["VARIANTS", "Fitted", "Parameter", "Variant", "default_variants"]
