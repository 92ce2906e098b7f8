"""A model as it is used: columns of an application in, PD and points out.

Belongs here: the scorer's file format, and scoring. Does not belong here: training, and anything of MLflow but the one
function that its `loader_module` asks for.

A scorer is a folder: the learner's native file and `scorer.json`. Nothing in it is code, nothing is unpickled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from credit_assets.ml.calibration import PlattCalibration
from credit_assets.ml.features import FUNCTIONS, parameters
from credit_assets.ml.variants import VARIANTS
from credit_assets.ml.variants.encoding import encode

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from pandas import DataFrame, Series

FORMAT = 1
SCORER_FILE = "scorer.json"


@dataclass(frozen=True)
class ScoreScale:
    """Points on a PDO scale: points = base + pdo / ln 2 * ln(good:bad odds / odds).

    With 600 points at odds of 50:1 and 20 points to double the odds, a PD of 1/51 (odds 50:1) is 600 points and a PD
    of 1/101 (odds 100:1) is 620 (Siddiqi, "Credit Risk Scorecards").
    """

    base: float = 600.0
    odds: float = 50.0
    pdo: float = 20.0

    def points(self, pd: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """PDs strictly between 0 and 1 to points; a lower PD gives more points."""
        import numpy as np

        return np.asarray(self.base + self.pdo / math.log(2) * (np.log((1 - pd) / pd) - math.log(self.odds)))


@dataclass(frozen=True)
class CreditScorer:
    """A fitted learner with all that it needs to score an application.

    features: model inputs in the learner's order. categorical: levels of each category known from training.
    derived: name to (function, inputs) of the features that are computed here where a frame lacks them.
    """

    variant: str
    model: Any
    features: tuple[str, ...]
    categorical: Mapping[str, tuple[str, ...]]
    derived: Mapping[str, tuple[str, Mapping[str, str]]]
    calibration: PlattCalibration = field(default_factory=PlattCalibration)
    scale: ScoreScale = field(default_factory=ScoreScale)
    threads: int = 1

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Columns that an application must have: the features that are not computed here."""
        return tuple(name for name in self.features if name not in self.derived)

    def margin(self, frame: DataFrame) -> npt.NDArray[np.float64]:
        """The learner's log-odds before calibration, shape (rows,)."""
        encoded = encode(self._inputs(frame), self.features, self.categorical)
        return VARIANTS[self.variant].predict_margin(self.model, encoded, threads=self.threads)

    def pd(self, frame: DataFrame) -> npt.NDArray[np.float64]:
        """Calibrated probability of default within the performance window, shape (rows,), strictly in (0, 1).

        `frame` has the portfolio's columns or the processed features, in any order; more columns do no harm.
        Raises ValueError naming the columns that are missing, or that hold no numbers where numbers are needed.
        """
        return self.calibration.apply(self.margin(frame))

    def score(self, frame: DataFrame) -> DataFrame:
        """Columns `pd` and `score` (points), one row an application, index as given. An empty frame gives none."""
        import pandas as pd

        probability = self.pd(frame)
        return pd.DataFrame({"pd": probability, "score": self.scale.points(probability)}, index=frame.index)

    def _inputs(self, frame: DataFrame) -> DataFrame:
        import pandas as pd

        missing = [name for name in self.input_columns if name not in frame.columns]
        if missing:
            raise ValueError(f"the model needs columns that are not there: {', '.join(missing)}")
        columns: dict[str, Series[Any]] = {}
        for name in self.input_columns:
            columns[name] = frame[name] if name in self.categorical else _numbers(frame[name])
        for name, (function, inputs) in self.derived.items():
            if name in frame.columns:
                columns[name] = _numbers(frame[name])
            else:
                given = {p: columns[inputs.get(p, p)] for p in parameters(function)}
                columns[name] = FUNCTIONS[function](**given)
        return pd.DataFrame({name: columns[name] for name in self.features}, index=frame.index)

    def save(self, folder: Path) -> None:
        """Write `scorer.json` and the native model file into `folder`, which is made where it is not there."""
        variant = VARIANTS[self.variant]
        folder.mkdir(parents=True, exist_ok=True)
        variant.save(self.model, folder / variant.filename)
        record = {
            "format": FORMAT,
            "variant": self.variant,
            "model_file": variant.filename,
            "features": list(self.features),
            "categorical": {name: list(levels) for name, levels in self.categorical.items()},
            "derived": {n: {"function": f, "inputs": dict(inputs)} for n, (f, inputs) in self.derived.items()},
            "calibration": asdict(self.calibration),
            "scale": asdict(self.scale),
        }
        (folder / SCORER_FILE).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path) -> CreditScorer:
        """Read a folder that `save` wrote. Raises ValueError where it is none, or of a format not known here."""
        try:
            record = json.loads((Path(folder) / SCORER_FILE).read_text("utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise ValueError(f"{folder} is no scorer: {SCORER_FILE} cannot be read ({error})") from error
        if record.get("format") != FORMAT:
            raise ValueError(f"{folder}: scorer format {record.get('format')!r}, this version reads {FORMAT}")
        variant = VARIANTS.get(record["variant"])
        if variant is None or record["model_file"] != variant.filename:
            raise ValueError(f"{folder}: no variant {record['variant']!r} with file {record['model_file']!r}")
        unknown = sorted({d["function"] for d in record["derived"].values()} - set(FUNCTIONS))
        if unknown:
            raise ValueError(f"{folder}: features by functions that this version lacks: {', '.join(unknown)}")
        return cls(
            variant=variant.name,
            model=variant.load(Path(folder) / variant.filename),
            features=tuple(record["features"]),
            categorical={name: tuple(levels) for name, levels in record["categorical"].items()},
            derived={name: (d["function"], d["inputs"]) for name, d in record["derived"].items()},
            calibration=PlattCalibration(**record["calibration"]),
            scale=ScoreScale(**record["scale"]),
        )


def _numbers(column: Series[Any]) -> Series[float]:
    try:
        return column.astype("float64")
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {column.name!r} must hold numbers") from error


class _Served:
    """What MLflow serves: `predict` of a frame of applications."""

    def __init__(self, scorer: CreditScorer) -> None:
        self._scorer = scorer

    def predict(self, applications: DataFrame, params: Mapping[str, Any] | None = None) -> DataFrame:
        return self._scorer.score(applications)


def _load_pyfunc(path: str) -> _Served:
    """MLflow's hook of a `loader_module`: `path` is the scorer's folder."""
    return _Served(CreditScorer.load(Path(path)))
