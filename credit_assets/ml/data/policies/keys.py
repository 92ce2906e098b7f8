"""A key of a policy: its default, its bounds, its unit, what it means, and the variable that overrides it.

Belongs here: the declaration of one key, and what all sections have in common. Does not belong here: any key (the
sections).
"""

from __future__ import annotations

import difflib
from typing import Any, get_args

from pydantic import Field, model_validator

from credit_assets.ml.data.keys import Strict


class PolicySection(Strict):
    """A block of the policy. An unknown key is refused with the one that was perhaps meant; so is `yes` for a number,
    which YAML makes true, and Python 1.
    """

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        for name, value in given.items():
            if name not in cls.model_fields:
                close = difflib.get_close_matches(str(name), cls.model_fields, n=1)
                meant = f"did you mean {close[0]}?" if close else f"known: {', '.join(cls.model_fields)}"
                raise ValueError(f"there is no key {name!r} ({meant})")
            wanted = cls.model_fields[name].annotation
            if isinstance(value, bool) and bool not in (wanted, *get_args(wanted)):
                raise ValueError(f"{name}: {str(value).lower()} is a boolean in YAML, and this key takes none")
        return given


def key(default: Any, description: str, *, unit: str = "", setting: str = "", **bounds: Any) -> Any:
    """A field of a section.

    Parameters
    ----------
    default
        Its value where neither the portfolio file nor a variable gives one.
    description
        What it means: one sentence, shown by `policy show`, in the reference of the settings and in docs/policy.md.
    unit
        What is counted or measured: "AUC", "days", "rows".
    setting
        The setting that overrides it: `min_improvement` for CREDIT_MIN_IMPROVEMENT. The settings have a field of this
        name by themselves, of the same type and bounds.
    bounds
        As pydantic's: ge, gt, le, lt, min_length, ...
    """
    return Field(default, description=description, json_schema_extra={"unit": unit, "setting": setting}, **bounds)
