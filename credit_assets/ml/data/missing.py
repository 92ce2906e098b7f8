"""What the portfolio says of missing values, and which applications are not scored for one.

Belongs here: the policy of each feature, what is refused by it, and counting that. Does not belong here: what a value
counts as in a model (`credit_assets.ml.learners.missing`), and the contract of a column (`contracts`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from credit_assets.ml.data.formulas import parameters
from credit_assets.ml.data.values import numbers, texts

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.data.keys import MissingPolicy
    from credit_assets.ml.data.portfolio import Portfolio
    from credit_assets.ml.data.values import Values

_STRICTEST_FIRST: tuple[MissingPolicy, ...] = ("reject", "worst_case", "allowed")


def missing_policies(portfolio: Portfolio) -> dict[str, MissingPolicy | None]:
    """The policy of each feature, None where nothing is stated. A derived feature that says nothing is missing with its
    inputs, and has the strictest of the policies that they state.
    """
    policies = {column.name: column.missing for column in portfolio.model_inputs}
    for derived in portfolio.function_features:
        of_inputs = {policies[derived.inputs.get(name, name)] for name in parameters(derived.function_name)}
        inherited = next((policy for policy in _STRICTEST_FIRST if policy in of_inputs), None)
        policies[derived.name] = derived.missing or inherited
    return {name: policies[name] for name in portfolio.feature_names}


def refusing(portfolio: Portfolio) -> tuple[str, ...]:
    """The features without which an application is not scored."""
    return tuple(name for name, policy in missing_policies(portfolio).items() if policy == "reject")


def lacking(
    columns: Mapping[str, Values], names: Collection[str], categorical: Collection[str]
) -> dict[str, NDArray[np.bool_]]:
    """Which rows lack each of these features; those that no row lacks are left out."""
    import numpy as np

    found = {}
    for name in names:
        if name in categorical:
            places, different = texts(columns[name])
            mask = np.array([text is None for text in different])[places]
        else:
            mask = np.isnan(numbers(columns[name]))
        if mask.any():
            found[name] = mask
    return found


def without_refused(table: pa.Table, portfolio: Portfolio) -> NDArray[np.bool_]:
    """Which rows of a table of features no policy refuses."""
    import numpy as np

    kept = np.ones(table.num_rows, dtype=bool)
    names = refusing(portfolio)
    for mask in lacking({name: table[name] for name in names}, names, portfolio.categorical_features).values():
        kept &= ~mask
    return kept
