"""What every learner is: a name, parameters with their bounds, and how to fit, save, read and ask a model.

Belongs here: the interface, the checks that are the same for all, and their messages. Does not belong here: any
library, and any default of one learner.

Parameters are declared, not passed through. Two of the three libraries accept a misspelt name with a warning, one of
them a learning rate of NaN, and one trains on the CPU when asked for a GPU that is not there: a lender would read a
model's parameters in its record that never had an effect.
"""

from __future__ import annotations

import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from credit_assets.ml.data.rows import Data
    from credit_assets.ml.learners.encoding import Encoded

Device = Literal["cpu", "cuda"]

# How far contributions may be from the margin that they are of: sums of a thousand trees in float32 differ by 1e-5.
_ADDS_UP = 1e-4

# Set by the pipeline for every learner alike, under all names that the libraries know them by.
RESERVED: dict[str, str] = {
    **dict.fromkeys(("seed", "random_state", "random_seed", "bagging_seed", "feature_fraction_seed"), "seed"),
    **dict.fromkeys(("nthread", "n_jobs", "num_threads", "num_thread", "thread_count", "threads"), "threads"),
    **dict.fromkeys(
        ("n_estimators", "num_boost_round", "num_iterations", "num_round", "num_trees", "iterations"), "max_rounds"
    ),
    **dict.fromkeys(
        ("early_stopping_rounds", "early_stopping_round", "od_wait", "od_type", "use_best_model"),
        "early_stopping_rounds",
    ),
    **dict.fromkeys(("monotone_constraints", "monotonic_cst"), "the monotone directions of the portfolio"),
    **dict.fromkeys(("objective", "loss_function", "metric", "eval_metric"), "the log loss of the target"),
    **dict.fromkeys(("device", "device_type", "task_type", "devices", "gpu_id"), "device"),
}


@dataclass(frozen=True)
class Parameter:
    """What values a parameter takes: a kind, and bounds (inclusive unless `above` is set) or choices."""

    kind: Literal["integer", "number", "boolean", "choice"]
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    choices: tuple[str, ...] = ()

    def wanted(self) -> str:
        """In words, for a message: "an integer of at least 1 and at most 16"."""
        if self.kind == "choice":
            return f"one of {', '.join(self.choices)}"
        if self.kind == "boolean":
            return "true or false"
        bounds = [
            text
            for text, bound in (
                (f"above {self.above:g}" if self.above is not None else "", self.above),
                (f"of at least {self.minimum:g}" if self.minimum is not None else "", self.minimum),
                (f"at most {self.maximum:g}" if self.maximum is not None else "", self.maximum),
            )
            if bound is not None
        ]
        return " ".join(("an integer" if self.kind == "integer" else "a number", " and ".join(bounds))).strip()

    def accepts(self, value: Any) -> bool:
        if self.kind == "choice":
            return value in self.choices
        if self.kind == "boolean":
            return isinstance(value, bool)
        # True is an int in Python, and "6" is text from a settings file: neither was meant.
        number = isinstance(value, int if self.kind == "integer" else (int, float)) and not isinstance(value, bool)
        return (
            number
            and math.isfinite(value)
            and (self.above is None or value > self.above)
            and (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
        )


@dataclass(frozen=True)
class FitConfig:
    """How a learner is fitted, whichever it is.

    `params` go over the variant's defaults. `max_rounds` bounds the boosting rounds and `early_stopping_rounds` is how
    many may pass without a smaller validation loss. `threads` changes speed and not, to the precision of sums, the
    model. `device` is where the trees are grown: it takes what the learner can do there, and adds up otherwise.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 20071
    threads: int = 1
    max_rounds: int = 2000
    early_stopping_rounds: int = 50
    device: Device = "cpu"


class Sample(NamedTuple):
    """Rows with their outcomes, which are 0 or 1, 1 meaning default."""

    rows: Data
    target: ArrayLike


@dataclass(frozen=True)
class FitInputs:
    """What a library is given to fit, checked: encoded rows, resolved parameters, a direction for each feature."""

    train: Encoded
    y: NDArray[np.float32]
    validation: Encoded
    y_val: NDArray[np.float32]
    params: Mapping[str, Any]
    directions: tuple[int, ...]
    config: FitConfig


@dataclass(frozen=True)
class Fitted:
    """A fitted model, cut to its best rounds.

    `history` holds the log loss after each round, beyond the best one to where training stopped: "train-logloss" and
    "validation-logloss", lists of equal length.
    """

    model: Any
    best_rounds: int
    history: dict[str, list[float]]


class Contributions(NamedTuple):
    """What each feature adds to the log-odds of each row, before calibration: rows by features, and what the model says
    of nobody in particular (`base`). Both together are the margin.
    """

    base: float
    values: NDArray[np.float64]


class Variant(ABC):
    """One learner. Instances hold no state, so that one may be used from several threads."""

    name: ClassVar[str]
    label: ClassVar[str]
    filename: ClassVar[str]
    """Name of the native model file."""
    distribution: ClassVar[str]
    """Package whose version decides what a fit gives."""
    parameters: ClassVar[Mapping[str, Parameter]]
    defaults: ClassVar[Mapping[str, Any]]
    by_default: ClassVar[bool] = True
    """Whether it is trained where CREDIT_VARIANTS does not say what is."""
    extra: ClassVar[str] = ""
    """The extra of credit-assets that brings its package; empty where it comes with credit-assets."""
    scoring_packages: ClassVar[tuple[str, ...] | None] = None
    """What its models need to score; None: the package that they are fitted with."""
    grows_on_gpu: ClassVar[bool] = False
    """Whether its package can grow trees on a GPU; its step then asks for one."""
    explains: ClassVar[bool] = False
    """Whether it says what each feature adds to a margin (`_contributions`); its models give no reasons without."""

    def resolve(self, params: Mapping[str, Any], device: Device = "cpu") -> dict[str, Any]:
        """The defaults with `params` over them, as they hold on `device`.

        Raises ValueError naming the variant and the first bad parameter.
        """
        for key, value in params.items():
            if key in RESERVED:
                raise ValueError(f"variant {self.name}: parameter {key!r} is not free: it is set from {RESERVED[key]}")
            if key not in self.parameters:
                close = difflib.get_close_matches(key, self.parameters, n=1)
                hint = f"did you mean {close[0]!r}? It takes" if close else "it takes"
                raise ValueError(
                    f"variant {self.name}: unknown parameter {key!r}; {hint} {', '.join(sorted(self.parameters))}"
                )
            if not self.parameters[key].accepts(value):
                raise ValueError(
                    f"variant {self.name}: parameter {key!r} must be {self.parameters[key].wanted()}; got {value!r}"
                )
        return self._on({**self.defaults, **params}, params, device)

    def _on(self, resolved: dict[str, Any], _given: Mapping[str, Any], _device: Device, /) -> dict[str, Any]:
        """The resolved parameters with what the device has instead. Raises ValueError for what it cannot."""
        return resolved

    def gpu_obstacle(self, _given: Mapping[str, Any], _monotone: Mapping[str, int], /) -> str:
        """Why this learner has to train on the CPU whatever is there; empty where nothing is in the way.

        Takes the parameters that were set, without the defaults, and the monotone directions.
        """
        return "" if self.grows_on_gpu else f"{self.label} trains on the CPU"

    def built_for_cuda(self) -> bool:
        """Whether the installed library can use a GPU at all."""
        return True

    def untrainable(self) -> str:
        """Why it cannot be fitted here, and what to do; empty where it can. What is fitted scores all the same."""
        return ""

    def library(self) -> str:
        """Name and version of the library, for instance "xgboost 3.2.0". Does not import it."""
        return f"{self.distribution} {metadata.version(self.distribution)}"

    def fit(
        self,
        train: Sample,
        validation: Sample,
        *,
        monotone: Mapping[str, int],
        categorical: Mapping[str, tuple[str, ...]],
        config: FitConfig,
    ) -> Fitted:
        """Fit on `train`, with as many rounds as give the smallest log loss on `validation`.

        Rows are read as often as the library needs them, so that no copy of them is held beside what it makes itself.
        Equal inputs, seed, threads and library version give an equal model on the CPU.

        Parameters
        ----------
        train, validation
            The columns of the train rows, in order, are the model's features; the validation rows have them too.
        monotone
            +1 where the margin may only rise with a feature, -1 where it may only fall, 0 or absent where it is free.
        categorical
            The levels of the columns that hold text or None, every other value counting as missing; all other columns
            are numbers with NaN for missing.
        config
            `device` says where the trees are grown; LightGBM grows them on the CPU always. Every model scores there.

        Returns
        -------
        Fitted
            The model, cut to its best rounds, and the loss after each round.

        Raises
        ------
        ValueError
            Naming the variant: a parameter that is unknown or out of bounds, a target of one class, a category with a
            direction, what the device cannot do, or whatever the library refuses.
        """
        from credit_assets.ml.data.rows import Rows
        from credit_assets.ml.learners.encoding import encode

        resolved = self.resolve(config.params, config.device)
        for option in ("threads", "max_rounds", "early_stopping_rounds"):
            if getattr(config, option) < 1:
                raise ValueError(f"variant {self.name}: {option} must be at least 1; got {getattr(config, option)}")
        directed = sorted(name for name in categorical if monotone.get(name))
        if directed:
            raise ValueError(f"variant {self.name}: a category has no monotone direction: {', '.join(directed)}")
        rows, held_out = Rows.of(train.rows), Rows.of(validation.rows)
        features = rows.names
        return self._fit(
            FitInputs(
                train=encode(rows, features, categorical),
                y=self._target("train", train.target, len(rows)),
                validation=encode(held_out, features, categorical),
                y_val=self._target("validation", validation.target, len(held_out)),
                params=resolved,
                directions=tuple(int(monotone.get(name, 0)) for name in features),
                config=config,
            )
        )

    def _target(self, what: str, target: ArrayLike, rows: int) -> NDArray[np.float32]:
        import numpy as np

        # 0 and 1 are exact in any type, and this is the one that the libraries keep.
        values = np.asarray(target, dtype=np.float32)
        if len(values) != rows:
            raise ValueError(f"variant {self.name}: {rows} {what} rows, but {len(values)} {what} targets")
        bads = np.count_nonzero(values == 1)
        if not (0 < bads < rows and bads + np.count_nonzero(values == 0) == rows):
            raise ValueError(
                f"variant {self.name}: the {what} target must hold both goods (0) and bads (1) and nothing else"
            )
        return values

    def fit_encoded(self, inputs: FitInputs) -> Fitted:
        """Fit on what `fit` has checked and encoded, for a learner that is made of others. Raises ValueError as it."""
        return self._fit(inputs)

    @abstractmethod
    def _fit(self, inputs: FitInputs) -> Fitted:
        """Fit; everything has been checked. Errors of the library become `refused`."""

    @abstractmethod
    def save(self, model: Any, path: Path) -> None:
        """Write the model in the library's native format. Equal models give equal bytes."""

    @abstractmethod
    def load(self, path: Path) -> Any:
        """Read what `save` wrote. Raises ValueError where the file is none of this library's."""

    def predict_margin(self, model: Any, rows: Encoded, *, threads: int = 1) -> NDArray[np.float64]:
        """Log-odds of default before calibration, one for each row of what `encode` makes (there may be none).

        Raises ValueError for rows that are not encoded.
        """
        import numpy as np

        from credit_assets.ml.learners.encoding import Encoded

        if not isinstance(rows, Encoded):
            raise ValueError(f"variant {self.name}: a {type(rows).__name__} is not encoded: pass it to encode first")
        return np.concatenate([np.empty(0), *self._margins(model, rows, threads)], dtype=np.float64)

    @abstractmethod
    def _margins(self, model: Any, rows: Encoded, threads: int) -> Iterator[NDArray[Any]]:
        """The margins of each batch."""

    def contributions(self, model: Any, rows: Encoded, *, threads: int = 1) -> Contributions:
        """What each feature, in the order of `rows.names`, adds to the margin of each row.

        That of a row depends on the row alone. Raises ValueError where the learner cannot say, or says what does not
        add up to its margins.
        """
        import numpy as np

        margins = self.predict_margin(model, rows, threads=threads)
        if not self.explains:
            raise ValueError(f"variant {self.name}: {self.label} does not say what each feature adds to a margin")
        found = self._contributions(model, rows, threads)
        left = margins - found.base - found.values.sum(axis=1)
        if not (np.abs(left) <= _ADDS_UP * np.maximum(1.0, np.abs(margins))).all():
            raise ValueError(
                f"variant {self.name}: contributions of features differ from the margin by up to {np.abs(left).max():g}"
            )
        # A library that sums in float32 is off in the sixth digit: each contribution bears its part of that.
        sizes = np.abs(found.values)
        whole = sizes.sum(axis=1, keepdims=True)
        part = np.divide(sizes, whole, out=np.full_like(sizes, 1 / max(1, sizes.shape[1])), where=whole > 0)
        return Contributions(found.base, found.values + part * left[:, None])

    def _contributions(self, _model: Any, _rows: Encoded, _threads: int, /) -> Contributions:
        """What each feature adds, for each row by itself. A learner that defines it says so by `explains`."""
        raise NotImplementedError

    def refused(self, error: Exception) -> ValueError:
        """The library's own error with the variant's name: its first line, the rest is the library's stack."""
        text = " ".join(str(error).split("Stack trace")[0].split())
        return ValueError(f"variant {self.name}: {self.distribution} refuses the data or parameters: {text[:500]}")
