"""Whether this process was asked to stop, by Ctrl-C or by whoever supervises it.

Belongs here: the question. Does not belong here: who hears the signals (`credit_assets.cli.signals`; a worker of
Dagster has handlers of Dagster's own, and is never asked here).

An exception alone does not stop a command: Dagster takes one within a step for a reason to try the step again, and
libraries swallow it or tell it as something else. So long work asks here between its parts.
"""

from __future__ import annotations

from collections.abc import Callable

_look: Callable[[], int | None] | None = None


def requested() -> int | None:
    """The number of the signal that asked for it, None while nobody has."""
    return _look() if _look is not None else None


def check() -> None:
    """Raise KeyboardInterrupt where this process was asked to stop."""
    if requested() is not None:
        raise KeyboardInterrupt


def hear(look: Callable[[], int | None] | None) -> None:
    """From now on `look` says whether somebody asked; None: nobody does."""
    global _look
    _look = look
