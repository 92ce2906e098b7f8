"""One look at the registered model for everything that one decision reads.

Belongs here: remembering, while a decision lasts, which registered model it is about. Does not belong here: anything
that another process may change meanwhile, such as who holds an alias: that is read whenever it matters.

By name and birth of the model its logs are called, so every reading of a log has to know them. MLflow reads all
versions to answer, and one move of an alias asked it some forty times. A model that is deleted and made anew in the
midst of a decision is met by the next one, as it was when each log was looked for by itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Model = tuple[str, str]
"""Where MLflow is, and the name of the model there."""

_scopes: ContextVar[dict[_Model, str] | None] = ContextVar("_scopes", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """Within it, and what it calls in this thread, a model's scope is looked up once."""
    if _scopes.get() is not None:
        yield
        return
    token = _scopes.set({})
    try:
        yield
    finally:
        _scopes.reset(token)


def at_one_look(decision: Callable[_P, _R]) -> Callable[_P, _R]:
    """The same decision, made at one look."""

    @functools.wraps(decision)
    def made(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with one_look():
            return decision(*args, **kwargs)

    return made


def remembered(model: _Model) -> str | None:
    """The scope that this decision has seen; None outside of any, and before the first look."""
    return (_scopes.get() or {}).get(model)


def remember(model: _Model, scope: str) -> None:
    if (scopes := _scopes.get()) is not None:
        scopes[model] = scope
