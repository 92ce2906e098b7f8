"""Learners: subclasses of Variant. A model is saved as numbers and texts, never as a pickle."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from credit_assets.ml.extensions import FitInputs, Fitted, Parameter, Variant, learner

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from credit_assets.ml.learners.encoding import Encoded


@learner
class Logistic(Variant):
    """Logistic regression with a ridge, fitted by L-BFGS-B so that every monotone direction is a bound.

    Numbers are centred and scaled, a missing one is the mean with an indicator of its own; a category is an indicator
    for each level. It has no rounds: the validation rows choose nothing here.
    """

    name = "logistic"
    label = "Logistic regression"
    filename = "coefficients.json"
    distribution = "scipy"
    parameters: ClassVar[Mapping[str, Parameter]] = {"ridge": Parameter("number", minimum=0)}
    defaults: ClassVar[Mapping[str, Any]] = {"ridge": 1.0}

    def _fit(self, inputs: FitInputs) -> Fitted:
        import numpy as np
        from scipy.optimize import minimize

        form = _form(inputs.train)
        x, y = _design(inputs.train, form), inputs.y.astype(np.float64)
        directions = [
            sign
            for column, direction in zip(form["columns"], inputs.directions, strict=True)
            for sign in ([direction, 0] if "mean" in column else [0] * len(column["levels"]))
        ]
        ridge = float(inputs.params["ridge"]) / len(y)

        def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            margin = x @ weights[:-1] + weights[-1]
            gap = 1 / (1 + np.exp(-np.clip(margin, -40, 40))) - y
            value = float(np.mean(np.logaddexp(0, margin) - y * margin)) + ridge / 2 * float(
                weights[:-1] @ weights[:-1]
            )
            return value, np.append(x.T @ gap / len(y) + ridge * weights[:-1], gap.mean())

        bounds = [(0.0 if sign > 0 else None, 0.0 if sign < 0 else None) for sign in directions]
        found = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", bounds=[*bounds, (None, None)])
        model = {**form, "weights": found.x[:-1].tolist(), "intercept": float(found.x[-1])}

        def log_loss(margin: NDArray[np.float64], target: NDArray[Any]) -> float:
            return float(np.mean(np.logaddexp(0, margin) - target * margin))

        held_out = np.concatenate(list(self._margins(model, inputs.validation, 1)))
        return Fitted(
            model,
            best_rounds=1,
            history={
                "train-logloss": [log_loss(x @ found.x[:-1] + found.x[-1], y)],
                "validation-logloss": [log_loss(held_out, inputs.y_val)],
            },
        )

    def save(self, model: Any, path: Path) -> None:
        path.write_text(json.dumps(model, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    def load(self, path: Path) -> Any:
        try:
            model = json.loads(path.read_text("utf-8"))
            columns = [*model["columns"], *model["weights"], model["intercept"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"variant {self.name}: {path.name} holds no coefficients ({type(error).__name__})"
            ) from error
        if not columns:
            raise ValueError(f"variant {self.name}: {path.name} holds a model without columns")
        return model

    def _margins(self, model: Any, rows: Encoded, _threads: int) -> Iterator[NDArray[Any]]:
        import numpy as np

        weights = np.array(model["weights"])
        for batch in rows.batches():
            yield _columns(batch, model) @ weights + model["intercept"]


def _form(rows: Encoded) -> dict[str, Any]:
    """How each column becomes columns of the design: mean and scale of a number, levels of a category."""
    import numpy as np

    sums = {name: np.zeros(3) for name in rows.names if name not in rows.levels}
    for batch in rows.batches():
        for name, column in zip(rows.names, batch, strict=True):
            if name in sums:
                there = column[np.isfinite(column)]
                sums[name] += len(there), there.sum(), np.square(there).sum()
    columns: list[dict[str, Any]] = []
    for name in rows.names:
        if name in rows.levels:
            columns.append({"name": name, "levels": list(rows.levels[name])})
            continue
        count, total, squares = sums[name]
        mean = total / max(count, 1.0)
        scale = float(np.sqrt(max(squares / max(count, 1.0) - mean**2, 0.0)))
        columns.append({"name": name, "mean": float(mean), "scale": scale or 1.0})
    return {"columns": columns}


def _design(rows: Encoded, form: Mapping[str, Any]) -> NDArray[np.float64]:
    import numpy as np

    return np.concatenate([_columns(batch, form) for batch in rows.batches()])


def _columns(batch: list[NDArray[Any]], form: Mapping[str, Any]) -> NDArray[np.float64]:
    import numpy as np

    made = []
    for column, values in zip(form["columns"], batch, strict=True):
        if "mean" in column:
            missing = ~np.isfinite(values)
            made += [np.where(missing, 0.0, (values - column["mean"]) / column["scale"]), missing]
        else:
            made += [values == place for place in range(len(column["levels"]))]
    return np.column_stack(made).astype(np.float64)
