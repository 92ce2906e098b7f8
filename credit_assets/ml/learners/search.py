"""A search of hyper-parameters: seeded, resumable, by trials and not by seconds, on folds in time. Off by default.

Belongs here: what is searched, on which rows, and when what was found is taken. Does not belong here: training itself
(`training`), and where trials are kept between two starts (whoever asks hands in a `Memory`).

A budget in seconds would find other parameters on another machine, and no validator could find them again. Each trial
is drawn from the trials before it and a seed of its own, so that a search that is cut short goes on as it would have.

The out-of-time test has no part in it: folds are made of the train and validation rows alone, each fitted on what came
before, stopped on the next days and judged on those after them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from credit_assets.ml.data.cohorts import SPLIT, SPLITS, TARGET
from credit_assets.ml.data.customers import groups_of, known_before
from credit_assets.ml.data.rows import Rows
from credit_assets.ml.learners.training import TrainingConfig, splits, train, variant_named

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.data.portfolio import Portfolio


@dataclass(frozen=True)
class Range:
    """From where to where a parameter is searched, both inclusive; by its logarithm where it spans magnitudes."""

    low: float
    high: float
    integer: bool = False
    log: bool = False


SPACES: Mapping[str, Mapping[str, Range]] = {
    "xgboost": {
        "max_depth": Range(2, 8, integer=True),
        "learning_rate": Range(0.01, 0.2, log=True),
        "min_child_weight": Range(1, 100, log=True),
        "subsample": Range(0.5, 1.0),
        "colsample_bytree": Range(0.4, 1.0),
        "reg_lambda": Range(0.1, 20, log=True),
    },
    "lightgbm": {
        "num_leaves": Range(4, 96, integer=True, log=True),
        "learning_rate": Range(0.01, 0.2, log=True),
        "min_data_in_leaf": Range(10, 400, integer=True, log=True),
        "bagging_fraction": Range(0.5, 1.0),
        "feature_fraction": Range(0.4, 1.0),
        "lambda_l2": Range(0.1, 20, log=True),
    },
    "catboost": {
        "depth": Range(3, 8, integer=True),
        "learning_rate": Range(0.01, 0.2, log=True),
        "l2_leaf_reg": Range(0.5, 30, log=True),
        "random_strength": Range(0.1, 10, log=True),
    },
}
"""By variant; one that is not here is trained with its own parameters."""
FOLDS = 3
_PIECES = 20
"""Runs of judged rows whose losses are kept, to tell a difference from chance."""
_LEAST_BADS = 5
_FIRST = 8
"""Trials drawn at random before those before them say where to look."""
_DIGITS = 6
"""Losses are kept to so many: sums over threads differ behind them, and a search must not."""


@dataclass(frozen=True)
class SearchTrial:
    """Parameters and their mean log loss in each run of judged rows; none where the learner refused them."""

    params: Mapping[str, Any]
    losses: tuple[float, ...]

    @property
    def loss(self) -> float:
        return float(np.mean(self.losses)) if self.losses else math.inf

    def to_record(self) -> dict[str, Any]:
        return {"params": dict(self.params), "losses": list(self.losses)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> SearchTrial:
        return cls(record["params"], tuple(record["losses"]))


class Memory(Protocol):
    """Where the trials of one search are kept between two starts."""

    def load(self) -> Sequence[SearchTrial]: ...

    def save(self, trials: Sequence[SearchTrial]) -> None: ...


@dataclass(frozen=True)
class SearchResult:
    """What a search came to: the parameters to train with beside the defaults (nothing, where none was better than
    those beyond chance), and why; which were set by hand, and which were searched.
    """

    params: Mapping[str, Any]
    trials: tuple[SearchTrial, ...]
    why: str
    by_hand: Mapping[str, Any] = field(default_factory=dict)
    searched: Sequence[str] = ()

    def to_record(self) -> dict[str, Any]:
        best = min(self.trials, key=lambda one: one.loss)
        return {
            "params": dict(self.params),
            "by_hand": dict(self.by_hand),
            "searched": list(self.searched),
            "trials": len(self.trials),
            "log_loss_of_defaults": round(self.trials[0].loss, _DIGITS),
            "log_loss_of_best": round(best.loss, _DIGITS),
            "best": dict(best.params),
            "why": self.why,
        }


def installed() -> bool:
    """Whether optuna is here: the extra `search`."""
    return find_spec("optuna") is not None


def search(
    training_set: pa.Table,
    variant_name: str,
    portfolio: Portfolio,
    config: TrainingConfig,
    trials: int,
    memory: Memory,
) -> SearchResult:
    """The best of so many trials, the defaults being the first.

    Parameters
    ----------
    training_set
        As of `candidates.train_candidate`; its test rows are not looked at.
    variant_name
        A variant of SPACES.
    portfolio
        Names features, levels, directions and customers.
    config
        How each trial is trained; parameters that it sets are not searched.
    trials
        How many, those that `memory` has among them.
    memory
        The trials of an earlier start of the same search; it is given all of them after each.

    Returns
    -------
    SearchResult
        The parameters of the best trial where its loss lies below that of the defaults by more than a standard error
        of their difference over the judged rows, else none.

    Raises
    ------
    ValueError
        Where optuna is not installed, the variant has nothing to search, or the rows are too few for a fold.
    """
    if not installed():
        raise ValueError("a search of hyper-parameters needs optuna: pip install 'credit-assets[search]'")
    names = left_free(variant_name, config.params)
    if not names:
        raise ValueError(
            f"variant {variant_name}: there is no parameter to search that CREDIT_VARIANT_PARAMS leaves free"
        )
    parts = _folds(training_set, portfolio)
    done = list(memory.load())[:trials]
    while len(done) < trials:
        params = _drawn(variant_name, names, done, config.seed)
        done.append(SearchTrial(params, _losses(parts, variant_name, portfolio, _with(config, params))))
        memory.save(done)
    return replace(chosen(tuple(done)), by_hand=config.params, searched=names)


def trials_again(
    training_set: pa.Table,
    variant_name: str,
    portfolio: Portfolio,
    config: TrainingConfig,
    searched: Sequence[str],
    kept: Sequence[SearchTrial],
) -> Iterator[SearchTrial]:
    """Each of the trials that were kept once more: drawn from those kept before it, and tried with the parameters that
    it was tried with, so that one that comes out otherwise makes no other do so.

    `config` has the parameters that are none of the `searched`. Raises ValueError as `search`.
    """
    parts = _folds(training_set, portfolio)
    for number, trial in enumerate(kept):
        losses = _losses(parts, variant_name, portfolio, _with(config, trial.params))
        yield SearchTrial(_drawn(variant_name, searched, kept[:number], config.seed), losses)


def left_free(variant_name: str, by_hand: Mapping[str, Any]) -> list[str]:
    """The parameters of a variant that a search looks for: all of its space but those that are set by hand."""
    return [name for name in SPACES.get(variant_name, {}) if name not in by_hand]


def _with(config: TrainingConfig, params: Mapping[str, Any]) -> TrainingConfig:
    return replace(config, params={**config.params, **params})


def chosen(done: tuple[SearchTrial, ...]) -> SearchResult:
    """What follows from trials, the first of which has the defaults."""
    default, best = done[0], min(done, key=lambda one: one.loss)
    if best is default or not best.losses or not default.losses:
        return SearchResult({}, done, "no trial had a smaller log loss than the defaults")
    gains = np.subtract(default.losses, best.losses)
    gain, error = float(gains.mean()), float(gains.std(ddof=1) / math.sqrt(len(gains)))
    difference = f"log loss {best.loss:.5f} against {default.loss:.5f} of the defaults, {gain:.5f} +- {error:.5f}"
    if gain <= error:
        return SearchResult({}, done, f"the best trial is not better than the defaults beyond chance: {difference}")
    return SearchResult(best.params, done, difference)


def _drawn(variant_name: str, names: Sequence[str], done: Sequence[SearchTrial], seed: int) -> dict[str, Any]:
    """The parameters of the next trial: of those before it and their number alone. The first has the defaults."""
    if not done:
        return {}
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
    from optuna.trial import create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    where: dict[str, BaseDistribution] = {
        name: IntDistribution(int(one.low), int(one.high), log=one.log)
        if one.integer
        else FloatDistribution(one.low, one.high, log=one.log)
        for name, one in ((name, SPACES[variant_name][name]) for name in names)
    }
    sampler = optuna.samplers.TPESampler(seed=(seed + len(done)) % 2**31, n_startup_trials=_FIRST)
    study = optuna.create_study(direction="minimize", sampler=sampler)
    # The first has the defaults, of which some may lie outside.
    study.add_trials(
        [
            create_trial(params=dict(one.params), distributions=where, value=round(one.loss, _DIGITS))
            for one in done[1:]
            if one.losses
        ]
    )
    drawn = study.ask(where).params
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in drawn.items()}


def _losses(
    folds: Sequence[pa.Table], variant_name: str, portfolio: Portfolio, config: TrainingConfig
) -> tuple[float, ...]:
    """The log loss in each run of judged rows; none where the learner refuses the parameters."""
    learner, each = variant_named(variant_name), []
    for fold in folds:
        parts = splits(Rows.of(fold), portfolio.feature_names)
        try:
            scorer = train(learner, parts, portfolio, config).scorer
        except ValueError:
            return ()
        judged = parts["test"]
        # A refused row has no PD.
        pds = np.clip(scorer.pd(judged.rows, threads=config.threads), 1e-6, 1 - 1e-6)
        target = np.asarray(judged.target, dtype=np.float64)
        each.append(-np.where(target == 1, np.log(pds), np.log1p(-pds)))
    losses = np.concatenate(each)
    return tuple(round(float(np.nanmean(piece)), _DIGITS) for piece in np.array_split(losses, _PIECES))


def _folds(training_set: pa.Table, portfolio: Portfolio) -> list[pa.Table]:
    """Training sets of earlier days, each tested on the days after it. Raises ValueError where none can be made."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = training_set.filter(pc.not_equal(training_set[SPLIT], "test"))
    rows = rows.take(pc.sort_indices(rows, [(portfolio.date_column, "ascending"), (portfolio.id_column, "ascending")]))
    block = _blocks(rows[portfolio.date_column].to_numpy().astype("datetime64[D]"), FOLDS + 2)
    target, groups = rows[TARGET].to_numpy(), groups_of(rows, portfolio)
    at, made = rows.schema.get_field_index(SPLIT), []
    for n in range(FOLDS):
        part = np.where(block <= n, "train", np.where(block == n + 1, "validation", "test"))
        inside = block <= n + 2
        if groups is not None:
            train_rows, validation_rows, test_rows = (int(np.count_nonzero(part[inside] == name)) for name in SPLITS)
            stays, _ = known_before(groups[inside], (train_rows, validation_rows, test_rows))
            inside[np.flatnonzero(inside)[~stays]] = False
        bads = [int(target[inside & (part == name)].sum()) for name in SPLITS]
        rows_of = [int(np.count_nonzero(inside & (part == name))) for name in SPLITS]
        if min(*bads, *np.subtract(rows_of, bads).tolist()) >= _LEAST_BADS:
            made.append(rows.set_column(at, SPLIT, pa.array(part)).filter(pa.array(inside)))
    if not made:
        raise ValueError(
            f"{rows.num_rows} rows before the test hold too few bads for a search of hyper-parameters: a fold needs "
            f"{_LEAST_BADS} to be fitted on, stopped on and judged on; set CREDIT_SEARCH_TRIALS=0, or take a longer "
            "lookback"
        )
    return made


def _blocks(days: NDArray[np.datetime64], blocks: int) -> NDArray[np.int64]:
    """The block of each row, whole days in each, about as many rows in one as in the other."""
    different, places, counts = np.unique(days, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    return np.minimum((middle / len(days) * blocks).astype(np.int64), blocks - 1)[places] if len(different) else places
