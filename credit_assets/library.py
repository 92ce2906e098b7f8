"""What the pipeline has made, for a notebook or a script: models and partitions, read and never changed.

    from credit_assets import evaluate, load_champion

    scored = load_champion().tested()
    evaluate(scored["default"], scored["pd"])

Belongs here: finding a model or a partition by the settings of the process and handing it over as objects and pandas
frames. Does not belong here: making, moving or writing anything (`assets`, `ledger`), and measures (`ml.evidence`).

Everything is looked for where the settings say, as the command line does: CREDIT_HOME and the rest of the environment,
and whatever is given by name (`home="/srv/credit"`, `portfolio="cards"`). Where something is not there, one
PermanentError or TransientError says what, where, and what to do; nothing is made by looking.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from credit_assets.failures import PermanentError, TransientError, advised, error_text, explained, is_ours, is_transient
from credit_assets.ledger.kept import Kept
from credit_assets.ledger.recorded import METRICS
from credit_assets.ledger.registry import Owner, Registry, Version
from credit_assets.masking import Secrets, masked, masked_url
from credit_assets.ml.data.html_tables import HtmlTable, ShownAsTable, fields
from credit_assets.settings import Settings, load_settings
from credit_assets.stages import PARQUET
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store
from credit_assets.tracking import Tracking

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from credit_assets.ml.learners.scorer import CreditScorer

Day = date | str
"""A day, or its text: 2024-04-02."""


class Record(dict[str, Any], ShownAsTable):
    """The record of a partition: a report, a decision. A dictionary that a notebook shows as a table."""

    def html_tables(self) -> Iterable[HtmlTable]:
        yield fields(self)


@dataclass(frozen=True, repr=False)
class Model(ShownAsTable):
    """A registered version, ready to score. Its files are read when they are first needed."""

    version: Version
    registry: Registry
    store: Store

    @property
    def metrics(self) -> dict[str, float]:
        """AUC, Gini, KS, Brier and ECE on the out-of-time test of its training."""
        return {name: float(self.version.tags[name]) for name in METRICS if name in self.version.tags}

    @cached_property
    def scorer(self) -> CreditScorer:
        """The model itself (`CreditScorer`). Raises PermanentError where it was made for another portfolio, or with an
        extension that is not installed here.
        """
        from credit_assets.ml.learners.scorer import CreditScorer

        with _explained():
            folder = self.registry.download(self.version)
            try:
                return CreditScorer.load(folder)
            except ValueError as error:
                raise PermanentError(f"version {self.version.version}: {error_text(error)}") from error

    def score(self, data: pd.DataFrame | pa.Table, *, threads: int = 1) -> pd.DataFrame:
        """The rows with what the model says of them.

        Parameters
        ----------
        data
            Applications: a frame or an Arrow table with the columns `scorer.inputs` and any others, for instance
            `load_partition("processed_features", day)`.
        threads
            Threads of the learner.

        Returns
        -------
        pandas.DataFrame
            The columns of `data`, then `pd`, the probability of default, `score`, its points, and where the model has a
            cut-off `declined`; with the index of a frame. A row that lacks a value without which the model does not
            score has NaN.

        Raises
        ------
        ValueError
            Naming the columns that the model needs and `data` lacks.
        """
        frame = _frame(data)
        scored = self.scorer.score(data, threads=threads)
        found = frame.assign(pd=scored["pd"].to_numpy(), score=scored["score"].to_numpy())
        declined = self.scorer.declined(scored["pd"])
        return found if declined is None else found.assign(declined=declined)

    def tested(self) -> pd.DataFrame:
        """The rows of the out-of-time test that it was registered by, with the target `default` and its scores.

        Raises PermanentError where its training set is not kept any more.
        """
        import pyarrow.compute as pc

        from credit_assets.ml.data.cohorts import SPLIT

        number = self.version.version
        with _explained():
            kept = Kept(self.store).of(self.version)
            if kept is None or kept.training_set is None:
                raise PermanentError(
                    f"nothing is kept of the training of version {number}: it was registered by an earlier release; "
                    "load_partition('training_set', DAY) has that of another day"
                )
            try:
                rows = self.store.read_table(self.store.path(kept.training_set))
            except FileNotFoundError as error:
                raise PermanentError(
                    f"the training set of version {number}, {kept.training_set}, is not in {masked(self.store.uri)} "
                    "any more: restore it from a backup, or take load_partition('training_set', DAY)"
                ) from error
        return self.score(rows.filter(pc.equal(rows[SPLIT], "test")))

    def __repr__(self) -> str:
        auc = self.metrics.get("auc")
        held = f", {', '.join(self.version.aliases)}" if self.version.aliases else ""
        skill = "" if auc is None else f", AUC {auc:.3f} on its test"
        return (
            f"<Model {self.registry.model_name} version {self.version.version}: {self.version.variant} as of "
            f"{self.version.as_of}{held}{skill}>"
        )

    def html_tables(self) -> Iterable[HtmlTable]:
        yield fields({**_row(self.version), **self.metrics}, self.registry.model_name)


class Models(Sequence[Model], ShownAsTable):
    """The registered versions, oldest first: by place (`models[-1]`) or by number (`models["3"]`)."""

    def __init__(self, model_name: str, models: Iterable[Model]) -> None:
        self._name, self._models = model_name, tuple(models)

    @overload
    def __getitem__(self, which: int | str) -> Model: ...
    @overload
    def __getitem__(self, which: slice) -> Models: ...
    def __getitem__(self, which: int | str | slice) -> Model | Models:
        """Raises PermanentError where no version has the number, IndexError where there are not so many."""
        if isinstance(which, slice):
            return Models(self._name, self._models[which])
        if isinstance(which, int):
            return self._models[which]
        for model in self._models:
            if model.version.version == which:
                return model
        known = ", ".join(model.version.version for model in self._models) or "none yet"
        raise PermanentError(f"{self._name} has no version {which}; registered: {known}")

    def __len__(self) -> int:
        return len(self._models)

    def to_frame(self) -> pd.DataFrame:
        """One row a version, with its metrics."""
        from pandas import DataFrame

        rows = [_row(model.version) | model.metrics for model in self._models]
        return DataFrame(rows, columns=[*_COLUMNS, *METRICS]).set_index("version")

    def __repr__(self) -> str:
        return f"<Models {self._name}: {len(self)} versions>" if len(self) != 1 else f"<Models {self._name}: 1 version>"

    def html_tables(self) -> Iterable[HtmlTable]:
        heads = [name.replace("_", " ") for name in (*_COLUMNS, *METRICS)]
        rows = [
            (*_row(model.version).values(), *(model.metrics.get(name) for name in METRICS)) for model in self._models
        ]
        yield HtmlTable(self._name, heads, rows)


def load_models(**settings: Any) -> Models:
    """Every registered version, oldest first.

    Parameters
    ----------
    **settings
        Settings over those of the environment, as of `load_settings`: `home`, `portfolio`, ...

    Raises
    ------
    PermanentError
        Where no model was ever registered.
    TransientError
        Where MLflow does not answer.
    """
    with _explained():
        found = _House(settings)
        models = Models(found.registry.model_name, map(found.model, found.versions()))
    if not models:
        raise PermanentError(f"{found.registry.model_name} has no version yet: {_TRAIN}")
    return models


def load_champion(day: Day | None = None, **settings: Any) -> Model:
    """The model in force now, or on a day.

    Parameters
    ----------
    day
        A day of the past, for the model that was in force on it; None for now.
    **settings
        Settings over those of the environment, as of `load_settings`: `home`, `portfolio`, ...

    Raises
    ------
    PermanentError
        Where there is no home or no champion, or the text is no day.
    TransientError
        Where MLflow does not answer.
    """
    wanted = None if day is None else _day(day)
    with _explained():
        found = _House(settings)
        if wanted is None:
            version = found.registry.alias("champion") if found.has_models else None
        else:
            version = found.registry.champion_at(wanted, found.versions())
    if version is None:
        raise PermanentError(f"{found.registry.model_name} has no champion {found.when(wanted)}: {_TRAIN}")
    return found.model(version)


def load_partition(
    asset: str,
    day: Day | None = None,
    until: Day | None = None,
    *,
    columns: Sequence[str] | None = None,
    **settings: Any,
) -> pd.DataFrame | Record:
    """A partition of an asset as the pipeline made it.

    Parameters
    ----------
    asset
        `raw_loan_data`, `processed_features`, `training_set`, `loan_scores`, `drift_report`, ...: the assets of the
        graph.
    day
        Its partition: the application date, or the as-of date of a training. None for the newest that is there.
    until
        With `day` the last of a range of days, one after the other in one frame. Tables only.
    columns
        Of a table these alone.
    **settings
        Settings over those of the environment, as of `load_settings`: `home`, `portfolio`, ...

    Returns
    -------
    pandas.DataFrame or Record
        Rows of a table, days as datetime64; a report or a decision as a `Record`, which is a dictionary.

    Raises
    ------
    PermanentError
        Where there is no home, no such asset, the text is no day, a partition is not made or was rejected by a gate, or
        has no such column.
    TransientError
        Where the store does not answer.
    """
    first, last = (None if one is None else _day(one) for one in (day, until))
    with _explained():
        found = _House(settings)
        table = found.is_table(asset)
        days = found.partitions(asset, first, last)
        if not table:
            if until is not None or columns is not None:
                raise PermanentError(f"{asset} is a record, one a day: load it without until and columns")
            return Record(found.store.read_record(found.store.path(asset, f"{days[0]}.json")))
        return _frame(found.store.read_partitions(asset, days, columns))


_TRAIN = (
    "`credit-assets replay --start DAY --end DAY` trains one, `credit-assets demo` all of it with loans that it makes; "
    "`credit-assets status` says when a first one is possible"
)
_COLUMNS = ("version", "variant", "as_of", "status", "aliases", "in_force")


class _House:
    """Store and registry by the settings, for reading."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.settings: Settings = load_settings(**given)
        settings = self.settings
        root = Path(settings.store_root)
        if "://" not in settings.store_root and not root.is_dir():
            raise PermanentError(
                f"nothing was made in {settings.home_dir}: there is no store {root}. Set CREDIT_HOME (here home=...) "
                "to the folder that has it (the demo's is .credit_assets where it was run), and CREDIT_STORE_URI where "
                "the store is elsewhere; `credit-assets demo` makes a first one"
            )
        self.store, claims = Store(settings.store), Claims(settings.store)
        tracking = Tracking(settings.tracking_uri, settings.experiment_name, claims)
        owner = Owner(settings.naming, settings.portfolio_contract.contract)
        self.registry = Registry(tracking, settings.naming.registered_model, claims, owner)

    @property
    def has_models(self) -> bool:
        """False where there is no MLflow yet: asking the embedded one would make it."""
        return not self.settings.tracking_is_new

    def versions(self) -> list[Version]:
        return self.registry.versions() if self.has_models else []

    def model(self, version: Version) -> Model:
        return Model(version, self.registry, self.store)

    def when(self, day: date | None) -> str:
        at = masked_url(self.settings.tracking_uri)
        return f"at {at}" if day is None else f"on {day} at {at}"

    def is_table(self, asset: str) -> bool:
        """Whether partitions of the asset are tables. Raises PermanentError where there is no such asset."""
        kinds: dict[str, Literal["table", "record"]] = {
            row.name: "table" if row.io == PARQUET else "record" for row in self.settings.graph.assets
        }
        if asset not in kinds:
            raise PermanentError(
                f"portfolio {self.settings.portfolio_contract.name} has no asset {asset!r}; it has {', '.join(kinds)}"
            )
        return kinds[asset] == "table"

    def partitions(self, asset: str, first: date | None, last: date | None) -> list[str]:
        """The days that are asked for, all of them made. Raises PermanentError naming those that are not."""
        made = self.store.days(asset)
        if not made:
            raise PermanentError(
                f"{asset} has no partition yet in {masked(self.store.uri)}: `credit-assets replay --start DAY --end "
                "DAY` makes them"
            )
        if last is not None and (first is None or last < first):
            raise PermanentError("until is the last of a range of days: give day, the first of them, not after it")
        if first is None:
            return made[-1:]
        wanted = [(first + timedelta(n)).isoformat() for n in range(((last or first) - first).days + 1)]
        there = set(made)
        if missing := [one for one in wanted if one not in there]:
            one = len(wanted) == 1
            which = f"{asset} {missing[0]} is" if one else f"{len(missing)} of {len(wanted)} days of {asset}"
            shown = "" if one else f" ({missing[0]} .. {missing[-1]}) are"
            days = f"{len(made):,} day{'s' * (len(made) != 1)}, {made[0]} .. {made[-1]}"
            raise PermanentError(
                f"{which}{shown} not made; made: {days}. `credit-assets replay --start {missing[0]} --end "
                f"{missing[-1]}` makes what is missing, once its loans are in the warehouse"
            )
        return wanted


def _row(version: Version) -> dict[str, Any]:
    periods = [f"{first} .. {last or 'now'}" for first, last in version.champion_periods]
    values = (
        version.version,
        version.variant,
        version.as_of,
        version.status,
        ", ".join(version.aliases),
        "; ".join(periods),
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _day(given: Day) -> date:
    if isinstance(given, datetime):
        # A pandas Timestamp too.
        return given.date()
    if isinstance(given, date):
        return given
    try:
        return date.fromisoformat(str(given))
    except ValueError:
        raise PermanentError(f"{given!r} is no day: write one as 2024-04-02, or give a datetime.date") from None


def _frame(data: pd.DataFrame | pa.Table) -> pd.DataFrame:
    from pandas import DataFrame

    if isinstance(data, DataFrame):
        return data
    frame: DataFrame = data.to_pandas(date_as_object=False)
    return frame


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what services, disks and databases raise into one line that says what to do, without a secret."""
    try:
        yield
    except Exception as error:
        if is_ours(error) or not (is_transient(error) or advised(error)):
            raise
        kind = TransientError if is_transient(error) else PermanentError
        raise kind(Secrets().hide(explained(error))) from None
