"""The learners that compete for each as-of date: one entry of VARIANTS each, one module each.

Belongs here: the interface that every learner keeps, its default parameters, and the list. Does not belong here: what
one library needs (its own module, imported when a model is fitted, read or asked), and everything that is the same for
all learners: splits, calibration, evaluation (`training`).

Adding a variant is one module with `names`, `fit`, `save`, `load` and `predict_margin`, and one entry in VARIANTS.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variant:
    name: str
    label: str
    filename: str
    defaults: dict[str, Any] = field(default_factory=dict)


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("xgboost", "XGBoost", "model.ubj", {}),
        Variant("lightgbm", "LightGBM", "model.txt", {}),
        Variant("catboost", "CatBoost", "model.cbm", {}),
    )
}
