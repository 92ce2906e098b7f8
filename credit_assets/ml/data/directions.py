"""Directions of a whole applicant: how derived features move with their columns, and what contradicts itself.

Belongs here: how each formula moves with each of its inputs, and what follows of it for the directions of a portfolio.
Does not belong here: the formulas (`formulas`), the schema of the file (`portfolio`), and what a model does with
applicants (`credit_assets.ml.evidence.directions`).

A learner keeps a direction of each feature while all others stay as they are. No applicant is like that: whoever asks
for a longer term has a lower instalment too. So a column's direction holds for an applicant only where every derived
feature that reads the column is free of it or pulls the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

from credit_assets.ml.data.extensions import Extension, current
from credit_assets.ml.data.formulas import FUNCTIONS, parameters, text_parameters

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Directed(Protocol):
    """What of a portfolio is read here."""

    @property
    def model_inputs(self) -> Sequence[Any]: ...

    @property
    def function_features(self) -> Sequence[Any]: ...

    @property
    def history_features(self) -> Sequence[Any]: ...


Sign = Literal[-1, 0, 1]
"""+1: the value never falls as the input rises, -1: it never rises, 0: it goes both ways, or nobody knows."""


_Portfolio = TypeVar("_Portfolio", bound=Directed)


class FormulaMove(NamedTuple):
    """How a formula moves with one of its inputs where the inputs `over`, amounts and counts, are not negative."""

    sign: Sign
    over: tuple[str, ...] = ()


def _up(*over: str) -> FormulaMove:
    return FormulaMove(1, over)


def _down(*over: str) -> FormulaMove:
    return FormulaMove(-1, over)


MOVES: Mapping[str, Mapping[str, FormulaMove]] = {
    "debt_to_income": {"total_debt": _up(), "annual_income": _down("total_debt")},
    "credit_utilization": {"credit_used": _up(), "credit_limit": _down("credit_used")},
    "available_credit": {"credit_limit": _up(), "credit_used": _down()},
    "loan_to_income": {"loan_amount": _up(), "annual_income": _down("loan_amount")},
    "debt_and_loan_to_income": {
        "total_debt": _up(), "loan_amount": _up(), "annual_income": _down("total_debt", "loan_amount"),
    },
    "loan_to_value": {"loan_amount": _up(), "collateral_value": _down("loan_amount")},
    "monthly_payment": {
        "loan_amount": _up(), "interest_rate": _up("loan_amount"), "term_months": _down("loan_amount"),
    },
    "payment_to_income": {
        "loan_amount": _up(), "interest_rate": _up("loan_amount"), "term_months": _down("loan_amount"),
        "annual_income": _down("loan_amount"),
    },
    "residual_income": {
        "annual_income": _up(), "loan_amount": _down(), "interest_rate": _down("loan_amount"),
        "term_months": _up("loan_amount"),
    },
    "total_interest": {
        "loan_amount": _up(), "interest_rate": _up("loan_amount"), "term_months": _up("loan_amount"),
    },
    "balance_per_account": {"credit_used": _up(), "open_accounts": _down("credit_used")},
    "income_per_head": {"monthly_income": _up(), "dependents": _down("monthly_income")},
    "times_past_due": {"past_due_30_59": _up(), "past_due_60_89": _up(), "past_due_90": _up()},
    "ratio": {"numerator": _up(), "denominator": _down("numerator")},
    "product": {"left": _up("right"), "right": _up("left")},
    "difference": {"left": _up(), "right": _down()},
    "total": {"left": _up(), "right": _up()},
}  # fmt: skip
"""By formula and input. Each is held against the formula itself, on many values, by its test."""


def moves_of(function: str) -> Mapping[str, FormulaMove]:
    """How a function of FUNCTIONS moves with its inputs: those of an extension as it declares them, none where it does
    not. Raises KeyError for an unknown name, ExtensionError for a declaration that names no input of it.
    """
    if function in MOVES:
        return MOVES[function]
    its = current().of("feature").get(function)
    return {} if its is None else _declared(its)


def _declared(extension: Extension) -> dict[str, FormulaMove]:
    declared: Mapping[str, int] = extension.options.get("directions") or {}
    texts, known = text_parameters(extension.name), parameters(extension.name)
    for name, sign in declared.items():
        if name not in known or name in texts or sign not in (-1, 0, 1) or isinstance(sign, bool):
            raise extension.error(
                f"directions: {name!r}: {sign!r}: give for parameters that are Numbers 1 where the feature never falls "
                "as the parameter rises, -1 where it never rises, 0 where it does both"
            )
    return {name: FormulaMove(1 if sign > 0 else -1 if sign < 0 else 0) for name, sign in declared.items()}


@dataclass(frozen=True)
class Effect:
    """What a column does to a derived feature that reads it: how the feature moves as the column rises, and the
    feature's own direction.
    """

    column: str
    derived: str
    sign: Sign
    direction: int

    def against(self, direction: int) -> bool:
        """Whether the feature pulls the PD the other way than the column's direction."""
        return bool(direction * self.sign * self.direction < 0)

    def secures(self, direction: int) -> bool:
        """Whether the feature cannot pull the PD the other way than the column's direction."""
        return bool(direction * self.sign * self.direction > 0)


def effects(portfolio: Directed) -> Iterator[Effect]:
    """Each numeric input with each derived feature that reads it, in file order."""
    for derived in portfolio.function_features:
        function = derived.function_name
        sources = {name: derived.inputs.get(name, name) for name in parameters(function)}
        texts = text_parameters(function)
        for column in dict.fromkeys(source for name, source in sources.items() if name not in texts):
            yield Effect(column, derived.name, _sign(derived, sources, column, portfolio), derived.monotone)


def _sign(derived: Any, sources: Mapping[str, str], column: str, portfolio: Directed) -> Sign:
    moves, negative = moves_of(derived.function_name), _may_be_negative(portfolio)
    signs: set[Sign] = set()
    for name, source in sources.items():
        if source == column:
            move = moves.get(name, FormulaMove(0))
            # Under a negative amount a ratio turns round.
            signs.add(0 if any(sources[other] in negative for other in move.over) else move.sign)
    return signs.pop() if len(signs) == 1 else 0


def _may_be_negative(portfolio: Directed) -> set[str]:
    """Columns whose range says so, and changes of histories. One without a range is an amount or a count, as nearly all
    of a loan book are.
    """
    changes = {one.name for one in portfolio.history_features if one.aggregate == "change"}
    return changes | {one.name for one in portfolio.model_inputs if one.minimum is not None and one.minimum < 0}


def contradictions(portfolio: Directed) -> list[str]:
    """Each direction of a column that a derived feature's direction contradicts, in words; none of a sound portfolio.

    Examples
    --------
    >>> from credit_assets.ml.data.portfolio import load_portfolio
    >>> contradictions(load_portfolio())
    []
    """
    stated = {one.name: one.monotone for one in portfolio.model_inputs}
    found = []
    for effect in effects(portfolio):
        direction = stated.get(effect.column, 0)
        if effect.against(direction):
            found.append(
                f"column {effect.column!r} with monotone: {direction} and derived feature {effect.derived!r} with "
                f"monotone: {effect.direction} contradict each other: as {effect.column} rises, {effect.derived} "
                f"{'rises' if effect.sign > 0 else 'falls'}, so that one raises the PD of the same applicant and the "
                f"other lowers it; write `monotone: 0` for the one that is not meant (both ways may be right where the "
                f"column acts in two ways), or `monotone: {direction * effect.sign}` for {effect.derived}"
            )
    return found


def without_contradictions(portfolio: _Portfolio) -> _Portfolio:
    """The portfolio itself. Raises ValueError naming each contradiction, if any."""
    if found := contradictions(portfolio):
        raise ValueError("; ".join(found))
    return portfolio


def not_secured(portfolio: Directed) -> dict[str, list[Effect]]:
    """Columns whose direction holds for the column alone, with the derived features that may pull a whole applicant the
    other way: they are free, or nobody knows how they move. What a model makes of them is measured.
    """
    stated = {one.name: one.monotone for one in portfolio.model_inputs}
    open_: dict[str, list[Effect]] = {}
    for effect in effects(portfolio):
        direction = stated.get(effect.column, 0)
        if direction and not effect.secures(direction):
            open_.setdefault(effect.column, []).append(effect)
    return open_


# Declarations of extensions, tried


_ROWS, _ROUNDING = 400, 1e-9


def try_directions(portfolio: Directed) -> None:
    """Hold what extensions declare of their features against the features, on values within the columns' ranges.

    Raises ExtensionError naming a direction that is not kept.
    """
    for derived in portfolio.function_features:
        its = None if derived.function_name in MOVES else current().of("feature").get(derived.function_name)
        if its is None:
            continue
        for name, move in _declared(its).items():
            if move.sign and (rows := _against(derived, name, move.sign, portfolio)):
                word = "falls" if move.sign > 0 else "rises"
                raise its.error(
                    f"directions: {name!r}: {move.sign}: in {rows} of {_ROWS} made rows it {word} as {name} rises; "
                    "correct the direction, or leave it out"
                )


def _against(derived: Any, moved: str, sign: int, portfolio: Directed) -> int:
    """In how many made rows the function moves the other way."""
    import numpy as np
    import pandas as pd

    function, rng = derived.function_name, np.random.default_rng(20071)
    texts, names = text_parameters(function), parameters(function)
    ranges = {one.name: one for one in portfolio.model_inputs}

    def numbers(column: str) -> NDArray[np.float64]:
        its = ranges[column]
        low = 0.0 if its.minimum is None else its.minimum
        high = max(low, 1e5 if its.maximum is None else its.maximum)
        # Most amounts and counts lie far below the most that a column may have.
        values = low + (high - low) * rng.random(_ROWS) ** 6
        return np.round(values) if its.type in ("integer", "boolean") else values

    made: dict[str, pd.Series[float] | pd.Series[str]] = {}
    for name in names:
        source = derived.inputs.get(name, name)
        if name in texts:
            levels = ranges[source].allowed or ("a", "b", "c")
            made[name] = pd.Series(rng.choice(np.array(levels, dtype=object), _ROWS), dtype=object)
        else:
            made[name] = pd.Series(numbers(source))
    other = pd.Series(numbers(derived.inputs.get(moved, moved)))
    low = {**made, moved: np.minimum(made[moved], other)}
    high = {**made, moved: np.maximum(made[moved], other)}
    with np.errstate(all="ignore"):
        ends = [FUNCTIONS[function](*(one[name] for name in names)).to_numpy() for one in (low, high)]
        change = (ends[1] - ends[0]) * sign
        return int(np.count_nonzero(change < -_ROUNDING * (np.abs(ends[0]) + np.abs(ends[1]))))
