"""The key `extensions` of the portfolio file: the gates and triggers of extensions that a portfolio uses.

Belongs here: the schema of that key, and binding what the file gives to the parameters of a lender's function. Does not
belong here: derived features, which name their function themselves, and what gates and triggers do.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from credit_assets.ml.data.extensions import Extension, Kind, extension

Name = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GateUse(_Strict):
    """A gate of an extension, with values for its parameters; those left out have the function's defaults."""

    name: Name
    parameters: dict[str, Any] = Field(default_factory=dict)


class TriggerUse(GateUse):
    """A trigger of an extension: it fires where its condition holds on `days` of the last `window` days."""

    days: int = Field(default=1, ge=1, le=60)
    window: int = Field(default=1, ge=1, le=60)

    @model_validator(mode="after")
    def _within(self) -> TriggerUse:
        if self.days > self.window:
            raise ValueError(f"trigger {self.name!r}: days ({self.days}) cannot exceed window ({self.window})")
        return self


_Use = TypeVar("_Use", bound=GateUse)


class ExtensionUse(_Strict):
    """The gates and triggers of extensions that a portfolio uses."""

    gates: tuple[GateUse, ...] = ()
    triggers: tuple[TriggerUse, ...] = ()

    @field_validator("gates")
    @classmethod
    def _gates(cls, used: tuple[GateUse, ...]) -> tuple[GateUse, ...]:
        return tuple(_known("gate", used))

    @field_validator("triggers")
    @classmethod
    def _triggers(cls, used: tuple[TriggerUse, ...]) -> tuple[TriggerUse, ...]:
        return tuple(_known("trigger", used))

    def names(self) -> list[tuple[Kind, str]]:
        """What is used, by kind and name."""
        return [*(("gate", one.name) for one in self.gates), *(("trigger", one.name) for one in self.triggers)]


def _known(kind: Kind, used: Sequence[_Use]) -> Sequence[_Use]:
    names = [one.name for one in used]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{kind} {', '.join(twice)} is named twice")
    for one in used:
        bound(extension(kind, one.name), one.parameters)
    return used


def parameters_of(its: Extension) -> dict[str, inspect.Parameter]:
    """The parameters of a gate or trigger, all but the first.

    Raises ExtensionError where they, or what is before them, are none of such a function.
    """
    if not inspect.isfunction(its.target) or inspect.iscoroutinefunction(its.target):
        raise its.error(f"a {its.kind} is a function: put @{its.kind} before one")
    found = list(inspect.signature(its.target).parameters.values())
    if not found or found[0].kind not in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
        raise its.error("its first parameter is what it looks at; it takes none")
    for parameter in found[1:]:
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.annotation is parameter.empty:
            raise its.error(
                f"its parameter {parameter.name!r} must be keyword-only (after a *) and annotated, so that the "
                "portfolio file can give it"
            )
    return {one.name: one.replace(annotation=its.resolved(one.annotation)) for one in found[1:]}


def bound(its: Extension, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a portfolio file as the function's arguments. Raises ValueError naming the first that cannot be."""
    known = parameters_of(its)
    if unknown := sorted(set(given) - set(known)):
        takes = ", ".join(known) or "none"
        raise ValueError(f"{its.kind} {its.name!r} has no parameter {', '.join(unknown)}; it takes {takes}")
    values = {}
    for name, parameter in known.items():
        if name in given:
            try:
                values[name] = TypeAdapter(parameter.annotation).validate_python(given[name], strict=True)
            except ValidationError as error:
                wrong = error.errors(include_url=False)[0]["msg"]
                raise ValueError(f"{its.kind} {its.name!r}: parameter {name} is {given[name]!r}: {wrong}") from error
        elif parameter.default is parameter.empty:
            raise ValueError(f"{its.kind} {its.name!r} needs its parameter {name}: give it in `parameters`")
    return values
