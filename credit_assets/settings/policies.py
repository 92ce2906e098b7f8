"""The policy in force: the portfolio's, with the keys that variables override.

Belongs here: where file and variables meet, and which of them decides a key. Does not belong here: any key
(`credit_assets.ml.data.policies`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, Field, ValidationError, create_model

from credit_assets.ml.data.documents import problems
from credit_assets.ml.data.policies import Policy
from credit_assets.ml.data.portfolio import Portfolio
from credit_assets.settings.groups import SettingsError


class WithPolicy(Protocol):
    """The settings, with a field for each key of OVERRIDES."""

    @property
    def portfolio_contract(self) -> Portfolio: ...


def _overrides() -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for section, of in Policy.model_fields.items():
        for key, field in of.annotation.model_fields.items():  # type: ignore[union-attr]
            setting = field.json_schema_extra["setting"]
            if setting in found:
                raise TypeError(f"two keys of the policy have the setting {setting}")
            if setting:
                found[setting] = (section, key)
    return found


OVERRIDES: Mapping[str, tuple[str, str]] = _overrides()
"""By setting, the section and the key that it overrides."""


def _field(section: str, key: str) -> Any:
    """The field of a setting: type, bounds and meaning of its key, and no value of its own."""
    field = Policy.model_fields[section].annotation.model_fields[key]  # type: ignore[union-attr]
    empty: Any = Field(None, description=field.description)
    empty.metadata = list(field.metadata)
    return (field.annotation | None, empty)


if TYPE_CHECKING:

    class PolicyKeys(BaseModel):
        """Keys of the policy that a variable overrides; None where the portfolio decides."""

else:
    PolicyKeys = create_model(
        "PolicyKeys",
        __doc__="Keys of the policy that a variable overrides; None where the portfolio decides.",
        **{setting: _field(*place) for setting, place in OVERRIDES.items()},
    )


def policy_of(settings: WithPolicy) -> Policy:
    """The policy in force. Raises SettingsError where file and variables contradict each other."""
    policy = settings.portfolio_contract.policy
    given = {name: value for name in OVERRIDES if (value := getattr(settings, name)) is not None}
    if not given:
        return policy
    sections = {name: dict(getattr(policy, name)) for name in Policy.model_fields}
    for name, value in given.items():
        section, key = OVERRIDES[name]
        sections[section][key] = value
    try:
        return Policy.model_validate(sections)
    except ValidationError as error:
        named = ", ".join(f"CREDIT_{name.upper()}" for name in given)
        raise SettingsError(f"{named} with the policy of the portfolio: {problems(error)}") from error


def source_of(settings: WithPolicy, setting: str, from_variable: str) -> str:
    """Where the value of a key with a variable comes from: the variable's own source, the portfolio file, or the
    default.
    """
    section, key = OVERRIDES[setting]
    if getattr(settings, setting) is not None:
        return from_variable
    given = getattr(settings.portfolio_contract.policy, section).model_fields_set
    return "portfolio file" if key in given else "default"
