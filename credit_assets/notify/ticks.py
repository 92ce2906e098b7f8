"""Where a tick ends: what it could not reach, and what failed, each as one line that says what to do.

Belongs here: the form of a skip reason by which others act, since Dagster keeps no other word of a tick; and the edge
of every sensor and schedule. Does not belong here: what an exception means (`credit_assets.failures`), and who acts on
a tick that could do nothing (`watch`, `credit-assets simulate`).
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import dagster as dg

from credit_assets.failures import PermanentError, explained, is_transient, without_values
from credit_assets.masking import masked

_F = TypeVar("_F", bound=Callable[..., Any])

_CODE = re.compile(r" \[unreachable: ([^\[\]]+)\]$")


@dataclass(frozen=True)
class Unreachable:
    """A service that did not answer a tick, which is to be tried again. As text it is a skip reason.

    >>> Unreachable.of(str(Unreachable("MLflow", "connection refused"))).service
    'MLflow'
    """

    service: str
    why: str

    def __str__(self) -> str:
        return f"cannot reach {self.service}: {self.why} [unreachable: {self.service}]"

    @classmethod
    def of(cls, skip_reason: str | None) -> Unreachable | None:
        """What a tick could not reach, None where it skipped for any other reason."""
        text = skip_reason or ""
        code = _CODE.search(text)
        return cls(code[1], text[: code.start()].removeprefix(f"cannot reach {code[1]}: ")) if code else None


def handles_tick_errors(services: str, *, skips: bool = True) -> Callable[[_F], _F]:
    """The edge of a sensor or schedule: a tick that failed says in one line what to do, and nothing else gets out.

    What a later tick may find mended is a skip, and its events stay; `skips` is False where Dagster would pass an event
    by that its function skipped. Everything else fails the tick, so that `watch` and the sensor's page show it.
    """

    def edge(function: _F) -> _F:
        @functools.wraps(function)
        def tick(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                line = masked(explained(error))
                if skips and is_transient(error):
                    return dg.SkipReason(str(Unreachable(services, line)))
                cause = without_values(error)
            # The trace of what was raised stands behind it.
            raise PermanentError(line) from cause

        # Dagster reads the resources that it wants from the signature; resolved here, in the sensor's own module.
        tick.__signature__ = inspect.signature(function, eval_str=True)  # type: ignore[attr-defined]
        tick.__annotations__ = inspect.get_annotations(function, eval_str=True)
        tick.handles_errors = True  # type: ignore[attr-defined]
        return tick  # type: ignore[return-value]

    return edge
