"""Features of a lender's own: what such a function must be, and its use.

Belongs here: the checks of its signature and, on a tiny table, of what it gives. Does not belong here: the package's
own formulas (`formulas`), and finding a lender's (`extensions`).

A feature is a function of columns of one application, so each row's value must depend on that row alone: a mean over
all rows would give another value in training than for a single request. That is tried, with whatever else a small
table shows, before a function is first used in a process.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from credit_assets.ml.data.extensions import Extension, ExtensionError
from credit_assets.ml.data.values import Values, texts

if TYPE_CHECKING:
    import pandas as pd

    Numbers: TypeAlias = pd.Series[float]
    Texts: TypeAlias = pd.Series[str]
else:

    class Numbers:
        """Annotation of a column of numbers: a pandas Series of float64, NaN where missing."""

    class Texts:
        """Annotation of a column of categories: a pandas Series of texts, None where missing."""


Function: TypeAlias = Callable[..., Any]

_HOW = "annotate it Numbers or Texts of credit_assets.ml.extensions"
# One of each kind that a table may hold, so that a function which fails on one of them is found at once; and equal
# values beside different ones, for functions that look at groups of rows.
_NUMBERS = (1.0, 2.5, float("nan"), 0.0, 1000.0, 2.5, 40.0)
_TEXTS = ("a", "b", None, "a", "", "b", "c")


def checked_feature(extension: Extension) -> Function:
    """The function as it is used: tried once, its result a float64 Series of as many rows.

    Raises ExtensionError where its signature is none of a feature.
    """
    kinds = _kinds(extension)
    function, tried = extension.target, False

    @functools.wraps(function)
    def feature(*columns: Any, **named: Any) -> Any:
        nonlocal tried
        if not tried:
            _try(extension, kinds)
            tried = True
        return _result(extension, columns, named)

    feature.try_out = lambda: _try(extension, kinds)  # type: ignore[attr-defined]
    feature.text_inputs = frozenset(name for name, kind in kinds.items() if kind is Texts)  # type: ignore[attr-defined]
    return feature


def text_inputs(function: Function) -> frozenset[str]:
    """The parameters of a feature's function that take categories; the others take numbers."""
    found: frozenset[str] = getattr(function, "text_inputs", frozenset())
    return found


def text_series(column: Values) -> Texts:
    """A column of categories as a feature's function takes it."""
    import numpy as np
    import pandas as pd

    places, different = texts(column)
    return pd.Series(np.array(different, dtype=object)[places], dtype=object)


def try_out(function: Function) -> None:
    """Try a feature of an extension on a tiny table. Raises ExtensionError naming what is wrong."""
    getattr(function, "try_out", lambda: None)()


def _kinds(extension: Extension) -> dict[str, Any]:
    """What each parameter takes."""
    if not inspect.isfunction(extension.target) or inspect.iscoroutinefunction(extension.target):
        raise extension.error("a feature is a function: put @feature before one")
    signature = inspect.signature(extension.target)
    kinds: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD or parameter.default is not parameter.empty:
            raise extension.error(
                f"its parameter {parameter.name!r} must be a plain one without a default: each is a column, by its name"
            )
        kinds[parameter.name] = _kind(extension, f"its parameter {parameter.name!r}", parameter.annotation)
    if not kinds:
        raise extension.error("it takes no column: name the columns that it reads as parameters")
    if _kind(extension, "its result", signature.return_annotation) is not Numbers:
        raise extension.error("its result must be Numbers: a feature that is derived is a number")
    return kinds


def _kind(extension: Extension, what: str, annotation: Any) -> Any:
    annotation = extension.resolved(annotation)
    if annotation in (Numbers, Texts):
        return annotation
    if getattr(annotation, "__name__", "") == "Series" and str(annotation.__module__).startswith("pandas"):
        return Numbers
    if annotation is inspect.Signature.empty:
        raise extension.error(f"{what} has no annotation: {_HOW}")
    raise extension.error(f"{what} is annotated {getattr(annotation, '__name__', annotation)}: {_HOW}")


def _result(extension: Extension, columns: tuple[Any, ...], named: dict[str, Any]) -> Any:
    import pandas as pd

    try:
        given = extension.target(*columns, **named)
    except Exception as error:
        raise extension.error(f"failed with {extension.fault(error)}") from error
    rows = len(next(iter((*columns, *named.values()))))
    if not isinstance(given, pd.Series) or len(given) != rows:
        found = f"{len(given)} rows" if isinstance(given, pd.Series) else f"a {type(given).__name__}"
        raise extension.error(f"gives {found} for columns of {rows} rows: it must give a Series of one value each")
    try:
        return given if given.dtype == "float64" else given.astype("float64")
    except (TypeError, ValueError) as error:
        raise extension.error(f"gives values of type {given.dtype}, which are no numbers") from error


def _try(extension: Extension, kinds: dict[str, Any]) -> None:
    """Call it on a few rows, on each alone, on none, and twice."""
    import numpy as np
    import pandas as pd

    def columns(rows: slice) -> list[Any]:
        made = []
        for place, kind in enumerate(kinds.values()):
            values = _TEXTS if kind is Texts else _NUMBERS
            turned = [values[(row + place) % len(values)] for row in range(len(values))]
            made.append(pd.Series(turned[rows], dtype=object if kind is Texts else "float64"))
        return made

    def computed(given: list[Any]) -> Any:
        return _result(extension, tuple(given), {}).to_numpy()

    try:
        given = columns(slice(None))
        # Of division by zero and the like numpy warns; the value that comes of it counts as missing.
        with np.errstate(all="ignore"):
            whole, again = computed(given), computed(columns(slice(None)))
            alone = [computed(columns(slice(row, row + 1)))[0] for row in range(len(_NUMBERS))]
            computed(columns(slice(0, 0)))
    except ExtensionError as error:
        raise ExtensionError(
            f"{error}; tried on {len(_NUMBERS)} made rows, with missing values, zeros and no row"
        ) from (error.__cause__ or error)
    if not all(one.equals(other) for one, other in zip(given, columns(slice(None)), strict=True)):
        raise extension.error("changes the columns that it is given: let it make new ones")
    if not np.array_equal(whole, again, equal_nan=True):
        raise extension.error(
            "gives other values for the same rows: it must not depend on chance, time or earlier calls"
        )
    if not np.allclose(whole, alone, rtol=1e-9, atol=0, equal_nan=True):
        raise extension.error(
            "gives a row another value when it stands alone: a feature must depend on its own application alone, not "
            "on the rows beside it (no mean, rank, shift or fill)"
        )
