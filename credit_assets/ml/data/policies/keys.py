"""A key of a policy: its default, its bounds, its unit, what it means, and the variable that overrides it.

Belongs here: the declaration of one key. Does not belong here: any key (the sections).
"""

from __future__ import annotations

from typing import Any

from pydantic import Field


def key(default: Any, description: str, *, unit: str = "", setting: str = "", **bounds: Any) -> Any:
    """A field of a section.

    Parameters
    ----------
    default
        Its value where neither the portfolio file nor a variable gives one.
    description
        What it means: one sentence, shown by `policy show`, in the README's table and in docs/policy.md.
    unit
        What is counted or measured: "AUC", "days", "rows".
    setting
        The setting that overrides it: `min_improvement` for CREDIT_MIN_IMPROVEMENT. The settings have a field of this
        name by themselves, of the same type and bounds.
    bounds
        As pydantic's: ge, gt, le, lt, min_length, ...
    """
    return Field(default, description=description, json_schema_extra={"unit": unit, "setting": setting}, **bounds)
