"""What a lender imports to write features, learners, gates and triggers of its own.

    from credit_assets.ml.extensions import Numbers, feature

    @feature
    def instalment_share(loan_amount: Numbers, term_months: Numbers, annual_income: Numbers) -> Numbers:
        return loan_amount / term_months / (annual_income / 12)

Belongs here: the decorators, the types of what they mark, and trying what a portfolio uses. Does not belong here: how
each kind is checked and used (its own module). docs/extensions.md is the guide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, TypeVar, overload

from credit_assets.ml.data.directions import try_directions
from credit_assets.ml.data.extensions import KINDS, Extension, ExtensionError, current, mark, use
from credit_assets.ml.data.feature_functions import Numbers, Texts, try_out
from credit_assets.ml.data.formulas import FUNCTIONS
from credit_assets.ml.data.gate_results import detail
from credit_assets.ml.learners import VARIANTS
from credit_assets.ml.learners.learner import FitConfig, FitInputs, Fitted, Parameter, Variant
from credit_assets.ml.rules.day_gates import exceeds
from credit_assets.ml.rules.extension_gates import GATES, Judged, Judgement, try_gates
from credit_assets.ml.rules.extension_triggers import TRIGGERS, Condition, Report

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.data.portfolio import Portfolio

__all__ = [
    "Condition",
    "Extension",
    "ExtensionError",
    "FitConfig",
    "FitInputs",
    "Fitted",
    "Judgement",
    "Numbers",
    "Parameter",
    "Texts",
    "Variant",
    "beyond_chance",
    "detail",
    "feature",
    "gate",
    "learner",
    "load",
    "trigger",
    "try_used",
    "used",
]

_Feature = TypeVar("_Feature", bound=Callable[..., Any])
_Learner = TypeVar("_Learner", bound=type[Variant])
_Gate = TypeVar("_Gate", bound="Callable[Concatenate[pa.Table, ...], Judgement]")
_Trigger = TypeVar("_Trigger", bound=Callable[Concatenate[Mapping[str, Any], ...], Condition])


@overload
def feature(function: _Feature, /) -> _Feature: ...
@overload
def feature(
    *, name: str = "", files: Sequence[str] = (), directions: Mapping[str, int] | None = None
) -> Callable[[_Feature], _Feature]: ...
def feature(
    function: Any = None,
    /,
    *,
    name: str = "",
    files: Sequence[str] = (),
    directions: Mapping[str, int] | None = None,
) -> Any:
    """Mark a function of columns as one that `derived` of a portfolio file can name.

    Each parameter is a column of the application, annotated Numbers (float64, NaN where missing) or Texts (a category,
    None where missing); the result is Numbers, a value for each row that depends on that row alone. A result that is
    not finite counts as missing.

    Parameters
    ----------
    name
        Its name; the function's own where none is given.
    files
        Files beside the module that it reads, as tables of coefficients: they are part of its source.
    directions
        By parameter, 1 where the feature never falls as the parameter rises, -1 where it never rises. With them a
        portfolio whose directions contradict each other is refused when it is loaded; without, what becomes of an
        applicant is measured on the trained model alone.
    """

    def marked(one: Any) -> Any:
        return mark(one, "feature", name or one.__name__, files, directions=dict(directions or {}))

    return marked if function is None else marked(function)


@overload
def learner(cls: _Learner, /) -> _Learner: ...
@overload
def learner(*, files: Sequence[str] = ()) -> Callable[[_Learner], _Learner]: ...
def learner(cls: Any = None, /, *, files: Sequence[str] = ()) -> Any:
    """Mark a subclass of Variant as one that CREDIT_VARIANTS can name, by its `name`. `files` as of `feature`."""

    def marked(one: Any) -> Any:
        return mark(one, "learner", str(getattr(one, "name", one.__name__)), files)

    return marked if cls is None else marked(cls)


def gate(
    *, of: Judged, columns: Sequence[str] = (), name: str = "", files: Sequence[str] = ()
) -> Callable[[_Gate], _Gate]:
    """Mark a function as a gate that `extensions: gates` of a portfolio file can name.

    It takes an Arrow table, and keyword-only parameters that the portfolio file gives, and returns a Judgement. The
    first paragraph of its docstring is what people read of the gate.

    Parameters
    ----------
    of
        What it judges: the kept rows of a day of "applications" or "outcomes", or a "training_set", whose table has the
        features, `default` and `split`.
    columns
        Those that it reads; all where none are named. Fewer take less memory.
    name, files
        As of `feature`.
    """
    return lambda one: mark(one, "gate", name or one.__name__, files, of=of, columns=tuple(columns))


def trigger(*, of: Report, name: str = "", files: Sequence[str] = ()) -> Callable[[_Trigger], _Trigger]:
    """Mark a function as a trigger that `extensions: triggers` of a portfolio file can name.

    It takes the record of one day's report (`of`), and keyword-only parameters that the portfolio file gives, and
    returns a Condition. It fires as the package's own triggers do: where the condition holds on enough days, once,
    outside the cooldown. `name` and `files` as of `feature`.
    """
    return lambda one: mark(one, "trigger", name or one.__name__, files, of=of)


def beyond_chance(count: int, rows: int, limit: float, chance: float = 0.01) -> bool:
    """Whether count / rows lies above `limit`, and a sound table whose rate is exactly `limit` would show as many less
    often than `chance`: so a gate on a share fires on a small day no more often than on a large one.

    Examples
    --------
    >>> beyond_chance(4, 25, 0.05), beyond_chance(5, 25, 0.05)
    (False, True)
    """
    return bool(exceeds(count, rows, limit, chance))


# For whoever loads them


def load(modules: Sequence[str] | None = None) -> list[Extension]:
    """All extensions that this process has, each checked; from here on they are those of `modules` beside those of
    installed packages.

    Raises ExtensionError naming what is wrong with any of them.
    """
    found = use(modules)
    for catalogue in (FUNCTIONS, VARIANTS, GATES, TRIGGERS):
        catalogue.extensions()
    return sorted(found.by_name.values(), key=lambda one: (KINDS.index(one.kind), one.name))


def used(portfolio: Portfolio, variants: Sequence[str] = ()) -> list[dict[str, str]]:
    """Who made the extensions that a portfolio uses, with those of these variants."""
    by_name = current().by_name
    return [
        *portfolio.made_by(),
        *VARIANTS.records(variants),
        *(by_name[name].record() for name in portfolio.extensions.names()),
    ]


def try_used(portfolio: Portfolio) -> None:
    """Try the features, what they declare, and the gates that a portfolio uses on tiny tables. Raises ExtensionError
    naming what is wrong.
    """
    for derived in portfolio.function_features:
        try_out(FUNCTIONS[derived.function_name])
    try_directions(portfolio)
    try_gates(portfolio)
