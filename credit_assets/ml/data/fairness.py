"""Key `fairness` of the portfolio file: which groups are compared with which, how far they may lie apart, and what
happens where they do.

Belongs here: the keys, and what they are where a file does not give them. Does not belong here: the measures
(`credit_assets.ml.evidence.fairness`) and the verdicts (`credit_assets.ml.rules.fairness_rules`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal, Protocol

from pydantic import Field, model_validator

from credit_assets.ml.data.keys import Identifier, Strict

Consequence = Literal["warn", "ask", "block"]
IN_BANDS: frozenset[str] = frozenset({"integer", "float", "date"})
"""Types of protected columns that are compared in bands; a date is read as years until the application."""


class ProtectedColumn(Protocol):
    """What is asked of a column."""

    @property
    def type(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def allowed(self) -> tuple[str, ...] | None: ...


class Compared(Protocol):
    """What is asked of a portfolio."""

    @property
    def fairness(self) -> Fairness | None: ...
    @property
    def protected_columns(self) -> tuple[str, ...]: ...


class Attribute(Strict):
    """A protected column as groups: its values, or bands of its numbers, one of which the others are held against."""

    column: Identifier
    reference: str | None = Field(default=None, min_length=1)
    bands: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Attribute:
        if list(self.bands) != sorted(set(self.bands)):
            raise ValueError(f"fairness: {self.column}: bands must rise: {', '.join(f'{one:g}' for one in self.bands)}")
        if self.bands and self.reference is not None and self.reference not in band_names(self.bands):
            raise ValueError(
                f"fairness: {self.column}: reference {self.reference!r} is none of its bands: "
                f"{'; '.join(band_names(self.bands))}"
            )
        return self


class Fairness(Strict):
    """What is compared, and what follows. A limit stands against a model where it is passed and the difference from the
    reference group is no chance (`rule: significant`); by `point` where it is passed as measured.
    """

    attributes: tuple[Attribute, ...] = ()
    disparity: Consequence = "warn"
    association: Consequence = "block"
    rule: Literal["significant", "point"] = "significant"
    min_group_size: int = Field(default=100, ge=10)
    min_group_bads: int = Field(default=10, ge=5)
    min_air: float = Field(default=0.8, gt=0, le=1)
    max_smd: float = Field(default=0.3, gt=0, le=5)
    max_opportunity_difference: float = Field(default=0.1, gt=0, lt=1)
    max_calibration_ratio: float = Field(default=1.25, gt=1, le=10)
    max_association: float = Field(default=0.9, gt=0.5, lt=1)
    accepted_features: tuple[Identifier, ...] = ()
    max_auc_loss: float = Field(default=0.005, ge=0, lt=0.5)

    @model_validator(mode="after")
    def _once(self) -> Fairness:
        names = [one.column for one in self.attributes]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"fairness: attributes named twice: {', '.join(twice)}")
        return self


def band_names(edges: Sequence[float]) -> tuple[str, ...]:
    """The groups between edges, each from its lower edge on and below its upper one.

    >>> band_names([25, 62])
    ('below 25', '25 to below 62', '62 and above')
    """
    inner = (f"{low:g} to below {high:g}" for low, high in pairwise(edges))
    return (f"below {edges[0]:g}", *inner, f"{edges[-1]:g} and above") if edges else ()


def fairness_of(portfolio: Compared) -> Fairness:
    """What holds in a portfolio: where its file names no attributes, every protected column is one, its largest group
    the reference, and numbers in two halves.
    """
    stated = portfolio.fairness or Fairness()
    if stated.attributes:
        return stated
    every = tuple(Attribute(column=name) for name in portfolio.protected_columns)
    return stated.model_copy(update={"attributes": every})


def check_protected(protected: Sequence[str], features: Sequence[str], histories: Mapping[str, Sequence[str]]) -> None:
    """Raises ValueError where a protected column could come back under its own name: as a column of a history, by its
    name, from which features are computed, or as a feature whose name differs by case alone, which most warehouses
    read as one.
    """
    names = {name.casefold(): name for name in protected}
    for feature in features:
        if same := names.get(feature.casefold()):
            raise ValueError(
                f"column {feature!r}: it differs from {same!r}, which has role protected, by case alone, and "
                "a warehouse may read both as one: give it another name, or leave it out"
            )
    for history, columns in histories.items():
        for column in columns:
            if column.casefold() in names:
                raise ValueError(
                    f"history {history!r}: column {column!r} has role protected in this portfolio: no feature may be "
                    "computed from it; leave it out"
                )


def check_fairness(
    stated: Fairness, columns: Mapping[str, ProtectedColumn], later: Callable[[str], bool], *, patterns: bool
) -> None:
    """Raises ValueError where `fairness` names attributes that the portfolio does not have, or has as something else.
    `later` says of which columns it is known only once `patterns` are resolved, if there are any.
    """
    for attribute in stated.attributes:
        column = columns.get(attribute.column)
        if column is not None or not later(attribute.column):
            _check_attribute(attribute, column)
    if not stated.attributes and not any(one.role == "protected" for one in columns.values()) and not patterns:
        raise ValueError("fairness: no column has role: protected, so that there is nothing to compare")


def _check_attribute(attribute: Attribute, column: ProtectedColumn | None) -> None:
    name, reference = attribute.column, attribute.reference
    if column is None or column.role != "protected":
        is_now = "is no column of this portfolio" if column is None else f"has role {column.role}, not protected"
        raise ValueError(f"fairness: attribute {name!r} {is_now}")
    if column.type in IN_BANDS and reference is not None and not attribute.bands:
        raise ValueError(
            f"fairness: {name}: a reference among numbers or dates needs bands, as in bands: [62] with reference: "
            "below 62"
        )
    if column.type not in IN_BANDS and attribute.bands:
        raise ValueError(f"fairness: {name}: bands are of numbers and dates, not of type {column.type}")
    if column.allowed and reference is not None and reference not in column.allowed:
        raise ValueError(f"fairness: {name}: reference {reference!r} is none of its allowed values")
