"""The portfolio file: what a lender's columns are and which rules they obey.

Belongs here: the schema of the YAML file, its loading and its validation. Does not belong here: checking data
against it (`contracts`), deriving features (`features`), or any setting of the machine the pipeline runs on
(`credit_assets.settings`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from credit_assets.failures import OwnError
from credit_assets.ml.data.directions import without_contradictions
from credit_assets.ml.data.documents import mapping_of, problems, text_of
from credit_assets.ml.data.extension_use import ExtensionUse
from credit_assets.ml.data.fairness import Fairness, check_fairness, check_protected
from credit_assets.ml.data.histories import History, HistoryFeature, check_feature, check_histories
from credit_assets.ml.data.keys import Identifier, MissingPolicy, Strict
from credit_assets.ml.data.matching_columns import MatchingColumns, matched
from credit_assets.ml.data.outcome_table import OutcomeTable
from credit_assets.ml.data.policies import Policy
from credit_assets.ml.data.population import EVERYONE, DecisionsTable, Population, StatedPopulation, StatusColumn
from credit_assets.ml.data.reasons import Reasons, check_reasons

ColumnType = Literal["string", "category", "integer", "float", "boolean", "date"]
Role = Literal["id", "date", "customer", "feature", "protected", "ignored"]
Monotone = Literal[-1, 0, 1]
Part = Literal["decisions", "histories"]
"""What a portfolio may have that brings assets of its own."""

NUMERIC_TYPES: frozenset[str] = frozenset({"integer", "float", "boolean"})
# Columns that the pipeline adds to the lender's own, downstream of the applications table.
RESERVED_NAMES: frozenset[str] = frozenset({"default", "split", "quarantine_reason", "pd", "score", "model_version"})


class PortfolioError(OwnError, ValueError):
    """The portfolio file cannot be used; the message says where and why."""


class Column(Strict):
    """One column of the applications table and the contract it must keep."""

    name: Identifier
    type: ColumnType
    role: Role = "feature"
    description: str = ""
    unit: str = ""
    nullable: bool = True
    minimum: float | None = Field(default=None, allow_inf_nan=False)
    maximum: float | None = Field(default=None, allow_inf_nan=False)
    allowed: tuple[str, ...] | None = Field(default=None, min_length=1)
    max_missing_share: float = Field(default=1.0, ge=0, le=1)
    on_violation: Literal["quarantine", "reject"] = "quarantine"
    on_request: Literal["refuse", "warn"] | None = None
    monotone: Monotone = 0
    missing: MissingPolicy | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Column:
        if self.name in RESERVED_NAMES:
            raise ValueError(
                f"column {self.name!r}: the pipeline itself adds a column of this name; let the warehouse show it "
                f"under another one (reserved: {', '.join(sorted(RESERVED_NAMES))})"
            )
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"column {self.name!r}: minimum {self.minimum} is above maximum {self.maximum}")
        if self.type not in NUMERIC_TYPES:
            if self.minimum is not None or self.maximum is not None:
                raise ValueError(f"column {self.name!r}: minimum and maximum need a numeric type, not {self.type!r}")
            if self.monotone:
                raise ValueError(f"column {self.name!r}: a monotone direction needs a numeric type, not {self.type!r}")
        if self.allowed is not None and self.type not in ("string", "category"):
            raise ValueError(f"column {self.name!r}: allowed values need type category or string, not {self.type!r}")
        return self

    @model_validator(mode="after")
    def _fits_its_role(self) -> Column:
        if self.role == "feature" and self.type in ("string", "date"):
            raise ValueError(f"column {self.name!r}: a feature is numeric, boolean or category, not {self.type!r}")
        if self.role in ("id", "date") and self.nullable:
            raise ValueError(f"column {self.name!r}: role {self.role} needs `nullable: false`")
        if self.monotone and self.role != "feature":
            raise ValueError(f"column {self.name!r}: only a feature has a monotone direction, not role {self.role!r}")
        if self.missing and self.role != "feature":
            raise ValueError(
                f"column {self.name!r}: missing says what a missing value means to the models, which read features "
                f"alone, not role {self.role!r}"
            )
        if self.on_request and self.role != "feature":
            raise ValueError(
                f"column {self.name!r}: on_request is for features, which a request to the served model holds, not for "
                f"role {self.role!r}"
            )
        return self


class DerivedFeature(Strict):
    """A feature that a function of `credit_assets.ml.data.formulas`, or of an extension, computes from columns.

    `inputs` maps the function's parameter names to column names; a parameter left out reads the column of its
    own name.
    """

    name: Identifier
    function: str = ""
    inputs: dict[str, str] = Field(default_factory=dict)
    monotone: Monotone = 0
    missing: MissingPolicy | None = None

    @property
    def function_name(self) -> str:
        return self.function or self.name


def _kind_of_derived(given: Any) -> str:
    of_history = "history" in given if isinstance(given, dict) else isinstance(given, HistoryFeature)
    return "history" if of_history else "function"


Derived = Annotated[
    Annotated[DerivedFeature, Tag("function")] | Annotated[HistoryFeature, Tag("history")],
    Discriminator(_kind_of_derived),
]
"""An entry of `derived`: one with the key `history` is an aggregate of rows, any other a function of columns."""


class Gates(Strict):
    """Thresholds of the validation gates. Shares are between 0 and 1; counts are rows."""

    max_quarantined_share: float = Field(default=0.05, ge=0, le=1)
    unaccounted: Literal["error", "warn"] = "error"
    max_undated_share: float = Field(default=0.0, ge=0, le=1)
    max_late_share: float = Field(default=0.001, ge=0, le=1)
    volume_compare: Literal["same_weekday", "all_days"] = "same_weekday"
    volume_history_days: int = Field(default=28, ge=1)
    volume_max_ratio: float = Field(default=10.0, gt=1)
    volume_min_expected: float = Field(default=50.0, ge=0)
    max_history_loss: float = Field(default=0.2, ge=0, le=1)
    max_unread_history_share: float = Field(default=0.01, ge=0, le=1)
    target_rate_min: float = Field(default=0.002, ge=0, le=1)
    target_rate_max: float = Field(default=0.5, ge=0, le=1)
    max_orphan_share: float = Field(default=0.01, ge=0, le=1)
    max_matured_without_outcome: float = Field(default=0.05, ge=0, le=1)
    min_goods: int = Field(default=200, ge=1)
    min_bads: int = Field(default=40, ge=1)
    min_test_bads: int = Field(default=10, ge=1)
    max_copied_share: float = Field(default=0.01, ge=0, le=1)
    max_single_feature_auc: float = Field(default=0.75, gt=0.5, le=1)
    strong_features: tuple[Identifier, ...] = ()
    leakage_columns: tuple[str, ...] = ()
    unusable_features: Literal["error", "warn"] = "warn"

    @model_validator(mode="after")
    def _ordered(self) -> Gates:
        if self.target_rate_min >= self.target_rate_max:
            raise ValueError("gates: target_rate_min must lie below target_rate_max")
        return self


def _comes_later(portfolio: Portfolio, name: str) -> bool:
    """Whether it is known only once the patterns are resolved what this column is."""
    return any(pattern.matches(name) for pattern in portfolio.columns_matching)


def _with_known_excuses(portfolio: Portfolio) -> Portfolio:
    """The portfolio. Raises ValueError for names in `gates` and `policy` that are no features or columns of it."""
    known = {one.name for one in portfolio.columns if one.role == "feature"} | {one.name for one in portfolio.derived}
    for key, names in (
        ("gates: strong_features", portfolio.gates.strong_features),
        ("policy: world: changed_features", portfolio.policy.world.changed_features),
        ("fairness: accepted_features", portfolio.fairness.accepted_features if portfolio.fairness else ()),
    ):
        for name in names:
            if name not in known and not _comes_later(portfolio, name):
                raise ValueError(f"{key}: {name!r} is no feature of this portfolio")
    amount = portfolio.policy.cutoff.amount_column
    if amount is not None and not any(c.name == amount and c.type in NUMERIC_TYPES for c in portfolio.columns):
        raise ValueError(f"policy: cutoff: amount_column: {amount!r} is no numeric column of this portfolio")
    return portfolio


def _check_inputs(derived: DerivedFeature, types: Mapping[str, str], portfolio: Portfolio) -> None:
    """Raises ValueError where the function takes other inputs, or one reads what is no feature column."""
    from credit_assets.ml.data.formulas import parameters, text_parameters

    wanted, of_texts = parameters(derived.function_name), text_parameters(derived.function_name)
    unknown = sorted(set(derived.inputs) - set(wanted))
    if unknown:
        raise ValueError(
            f"derived feature {derived.name!r}: function {derived.function_name!r} has no input "
            f"{', '.join(unknown)}; it takes {', '.join(wanted)}"
        )
    for parameter in wanted:
        source, text = derived.inputs.get(parameter, parameter), parameter in of_texts
        if source in portfolio.protected_columns:
            raise ValueError(
                f"derived feature {derived.name!r}: input {parameter!r} reads {source!r}, which has role protected: no "
                "feature may be computed from it"
            )
        if source not in types and any(pattern.matches(source) for pattern in portfolio.columns_matching):
            continue  # Judged once the patterns are resolved.
        if source not in types or (types[source] in NUMERIC_TYPES) is text:
            raise ValueError(
                f"derived feature {derived.name!r}: input {parameter!r} reads {source!r}, "
                f"which is not a {'category' if text else 'numeric'} feature column of this portfolio"
            )


class Portfolio(Strict):
    """A lender's portfolio: tables, column contract, derived features, target window, gate thresholds and policy."""

    name: Identifier
    description: str = ""
    performance_window_days: int = Field(default=365, ge=1, le=3650)
    timezone: str | None = None
    applications_table: Identifier = "loan_applications"
    outcomes: OutcomeTable = OutcomeTable()
    population: StatedPopulation | None = None
    performance_window_from: Literal["application", "booking"] = "application"
    columns: tuple[Column, ...]
    columns_matching: tuple[MatchingColumns, ...] = ()
    histories: tuple[History, ...] = ()
    derived: tuple[Derived, ...] = ()
    gates: Gates = Gates()
    policy: Policy = Policy()
    reasons: Reasons = Reasons()
    fairness: Fairness | None = None
    extensions: ExtensionUse = ExtensionUse()

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is no IANA time zone (for instance Europe/Berlin)") from error
        return value

    @field_validator("columns")
    @classmethod
    def _has_roles(cls, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        names = [column.name for column in columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"columns named twice: {', '.join(twice)}")
        for role, wanted in (("id", ("string", "integer")), ("date", ("date",)), ("customer", ("string", "integer"))):
            having = [column for column in columns if column.role == role]
            if len(having) != 1 and (having or role != "customer"):
                raise ValueError(f"exactly one column must have role {role!r}; found {len(having)}")
            if having and having[0].type not in wanted:
                raise ValueError(f"column {having[0].name!r} with role {role!r} must have type {' or '.join(wanted)}")
        return columns

    @field_validator("columns_matching")
    @classmethod
    def _patterns_are_of_columns(cls, patterns: tuple[MatchingColumns, ...]) -> tuple[MatchingColumns, ...]:
        for pattern in patterns:
            if "name" in pattern.keys:
                raise ValueError(f"{pattern.names!r}: its columns have names of their own; leave `name` out")
            try:
                column = Column.model_validate({"name": "matched", **pattern.keys})
            except ValidationError as error:
                raise ValueError(f"{pattern.names!r}: {problems(error)}") from error
            if column.role in ("id", "date", "customer"):
                raise ValueError(f"{pattern.names!r}: role {column.role} is of one column; give it under `columns`")
        return patterns

    @model_validator(mode="after")
    def _has_features(self) -> Portfolio:
        if not self.columns_matching and not any(column.role == "feature" for column in self.columns):
            raise ValueError("columns: at least one column must have role 'feature'")
        if self.fairness is not None:
            columns = {one.name: one for one in self.columns}
            patterns = bool(self.columns_matching)
            check_fairness(self.fairness, columns, lambda name: _comes_later(self, name), patterns=patterns)
        return _with_known_excuses(self)

    @model_validator(mode="after")
    def _derived_resolve(self) -> Portfolio:
        from credit_assets.ml.data.extensions import advice
        from credit_assets.ml.data.formulas import FUNCTIONS

        types: dict[str, str] = {column.name: column.type for column in self.input_columns}
        types |= {feature.name: "float" for feature in self.history_features}
        seen = {column.name for column in self.columns}
        for derived in self.derived:
            if derived.name in seen:
                raise ValueError(f"derived feature {derived.name!r} has the name of another column")
            if derived.name in RESERVED_NAMES:
                raise ValueError(f"derived feature {derived.name!r} has the name of a column that the pipeline adds")
            seen.add(derived.name)
            if isinstance(derived, HistoryFeature):
                check_feature(derived, self.histories)
                continue
            if derived.function_name not in FUNCTIONS:
                raise ValueError(
                    f"derived feature {derived.name!r}: no function {derived.function_name!r}; "
                    f"known: {', '.join(sorted(FUNCTIONS))}{advice()}"
                )
            _check_inputs(derived, types, self)
        return self

    @model_validator(mode="after")
    def _population_fits(self) -> Portfolio:
        stated = self.decisions
        knows_booking = isinstance(stated, DecisionsTable) or (stated is not None and stated.booked_on is not None)
        if self.performance_window_from == "booking" and not knows_booking:
            raise ValueError(
                "performance_window_from: booking needs to know the day: name in `population` the column that has it "
                "(booked_on), or a table of decisions with their dates"
            )
        if isinstance(stated, StatusColumn):
            for name in stated.columns:
                if any(column.name == name and column.role != "ignored" for column in self.columns):
                    raise ValueError(
                        f"column {name!r}: population reads it, and it is known only after the application: give it "
                        "`role: ignored`, or leave it out of columns"
                    )
        return self

    @model_validator(mode="after")
    def _histories_resolve(self) -> Portfolio:
        columns = {column.name: (column.role, column.type) for column in self.columns}
        check_histories(self.histories, columns, [derived.name for derived in self.derived])
        of_histories = {history.name: [column.name for column in history.columns] for history in self.histories}
        check_protected(self.protected_columns, self.feature_names, of_histories)
        check_reasons(self)
        return without_contradictions(self)

    @property
    def parts(self) -> frozenset[Part]:
        """Which of the parts with assets of their own it has; the table of assets follows it."""
        declared: dict[Part, bool] = {"decisions": self.decisions is not None, "histories": bool(self.histories)}
        return frozenset(part for part, there in declared.items() if there)

    @property
    def decisions(self) -> Population | None:
        """Where decisions stand; None where everyone was lent to, and where nothing is stated."""
        return None if self.population in (None, EVERYONE) else self.population  # type: ignore[return-value]

    @property
    def booking_days(self) -> int:
        """By how many days at most a performance window starts after its application; 0 where it starts with it."""
        stated = self.decisions
        return 0 if stated is None or self.performance_window_from == "application" else stated.decided_within_days

    @property
    def application_columns(self) -> tuple[Column, ...]:
        """The columns of an application as it was made, in file order: without those that are filled in later."""
        later = self.decisions.columns if isinstance(self.decisions, StatusColumn) else ()
        return tuple(column for column in self.columns if column.name not in later)

    def made_by(self) -> list[dict[str, str]]:
        """Who made the derived features, of those that extensions bring: for what is made of them."""
        from credit_assets.ml.data.formulas import FUNCTIONS

        return FUNCTIONS.records(derived.function_name for derived in self.function_features)

    @property
    def function_features(self) -> tuple[DerivedFeature, ...]:
        """The derived features that are functions of columns."""
        return tuple(one for one in self.derived if isinstance(one, DerivedFeature))

    @property
    def history_features(self) -> tuple[HistoryFeature, ...]:
        """The derived features that are aggregates of a history's rows."""
        return tuple(one for one in self.derived if isinstance(one, HistoryFeature))

    def with_columns(self, names: Sequence[str]) -> Portfolio:
        """The portfolio with its patterns resolved against the names of a table's columns. Raises PortfolioError."""
        try:
            keys = matched(self.columns_matching, names, {column.name for column in self.columns})
            more = []
            for name, given in keys.items():
                try:
                    more.append(Column.model_validate({"name": name, **given}))
                except ValidationError as error:
                    raise PortfolioError(f"columns_matching: column {name!r}: {problems(error)}") from error
            given = {**dict(self), "columns": (*self.columns, *more), "columns_matching": ()}
            return Portfolio.model_validate(given)
        except ValidationError as error:
            raise PortfolioError(f"columns_matching: {problems(error)}") from error
        except ValueError as error:
            raise PortfolioError(str(error)) from error

    @cached_property
    def contract(self) -> str:
        """Hash of what the tables, columns and features are and of what counts as a default: all but the portfolio's
        name, descriptions, gates, policy, reasons and fairness. A key that is not given, or has its default, does not
        enter it.
        """
        return _contract_of(self)

    def _one(self, role: Role) -> Column:
        return next(column for column in self.columns if column.role == role)

    @property
    def id_column(self) -> str:
        return self._one("id").name

    @property
    def date_column(self) -> str:
        return self._one("date").name

    @property
    def customer_column(self) -> str | None:
        return next((column.name for column in self.columns if column.role == "customer"), None)

    def column(self, name: str) -> Column:
        """The column of that name. Raises KeyError where the portfolio has none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"portfolio {self.name!r} has no column {name!r}")

    @property
    def input_columns(self) -> tuple[Column, ...]:
        """Feature columns as they come from the warehouse, in file order."""
        return tuple(column for column in self.columns if column.role == "feature")

    @property
    def model_inputs(self) -> tuple[Column, ...]:
        """What a model has to be given: the feature columns, then the history features, which come with a request."""
        own = (Column(name=d.name, type="float", monotone=d.monotone, missing=d.missing) for d in self.history_features)
        return *self.input_columns, *own

    @property
    def protected_columns(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.role == "protected")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """All model inputs: feature columns, then derived features, each in file order."""
        return tuple(c.name for c in self.input_columns) + tuple(d.name for d in self.derived)

    @property
    def categorical_features(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.input_columns if column.type == "category")

    @property
    def monotone(self) -> dict[str, int]:
        """Direction per numeric feature: +1 means that PD may only rise with it, -1 only fall, 0 free."""
        directions: dict[str, int] = {c.name: c.monotone for c in self.input_columns if c.type != "category"}
        return directions | {d.name: d.monotone for d in self.derived}


# What a model is made of has no part in these.
_NO_CONTRACT = {"name", "description", "gates", "policy", "reasons", "fairness"}


def _contract_of(portfolio: Portfolio) -> str:
    from credit_assets.ml.data.fingerprints import fingerprint

    contents = portfolio.model_dump(mode="json", exclude_defaults=True, exclude=_NO_CONTRACT)
    histories = contents.get("histories", [])
    of_histories = [column for history in histories for column in history.get("columns", [])]
    for described in (*contents["columns"], *contents.get("derived", []), *histories, *of_histories):
        described.pop("description", None)
    return fingerprint(**contents)


def load_portfolio(path: str | Path | None = None) -> Portfolio:
    """Read and validate a portfolio file.

    Parameters
    ----------
    path
        The file; the packaged portfolio where none is given.

    Raises
    ------
    PortfolioError
        With the file, the place in it and what is wrong.

    Examples
    --------
    >>> portfolio = load_portfolio()
    >>> portfolio.id_column, portfolio.date_column, "debt_to_income" in portfolio.feature_names
    ('application_id', 'application_date', True)
    """
    source = "the packaged portfolio" if path is None else f"portfolio file {path}"
    packaged = resources.files("credit_assets.portfolios").joinpath("consumer_loans.yaml")
    try:
        text = packaged.read_text("utf-8") if path is None else text_of(path, source)
        return Portfolio.model_validate(mapping_of(text, source, "at least `name` and `columns`"))
    except ValidationError as error:
        raise PortfolioError(f"{source}: {problems(error)}") from error
    except ValueError as error:
        raise PortfolioError(str(error)) from error
