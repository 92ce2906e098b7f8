"""The mean of the three boosters' log-odds, as a learner of its own. Off by default: it has to earn its place.

Belongs here: fitting, saving and asking the members together. Does not belong here: what one of them needs (its own
module).
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from credit_assets.aside import temporary_folder
from credit_assets.ml.learners.catboost import CatBoostVariant
from credit_assets.ml.learners.learner import Contributions, FitInputs, Fitted, Parameter, Variant
from credit_assets.ml.learners.lightgbm import LightGBMVariant
from credit_assets.ml.learners.xgboost import XGBoostVariant

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from credit_assets.ml.learners.encoding import Encoded

MEMBERS: Mapping[str, Variant] = {one.name: one for one in (XGBoostVariant(), LightGBMVariant(), CatBoostVariant())}
# Equal models give equal bytes: a file in the archive has no time of its own.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


class EnsembleVariant(Variant):
    """Each member is fitted, and stopped early, by itself on the same rows; the margin is the mean of theirs. Its model
    file is an uncompressed archive of their native files.

    Parameters are those of the members with their name before them ("xgboost.max_depth"); the settings hand in what
    they have for each member.
    """

    name = "ensemble"
    label = "Ensemble"
    filename = "model.zip"
    distribution = "xgboost"
    by_default = False
    explains = True
    scoring_packages: ClassVar[tuple[str, ...]] = tuple(one.distribution for one in MEMBERS.values())
    parameters: ClassVar[Mapping[str, Parameter]] = {
        f"{name}.{key}": one for name, member in MEMBERS.items() for key, one in member.parameters.items()
    }
    defaults: ClassVar[Mapping[str, Any]] = {
        f"{name}.{key}": one for name, member in MEMBERS.items() for key, one in member.defaults.items()
    }

    def gpu_obstacle(self, _given: Mapping[str, Any], _monotone: Mapping[str, int], /) -> str:
        return "the ensemble trains its members on the CPU"

    def library(self) -> str:
        return ", ".join(f"{package} {metadata.version(package)}" for package in self.scoring_packages)

    def _fit(self, inputs: FitInputs) -> Fitted:
        fitted = {
            name: member.fit_encoded(replace(inputs, params=of_member(name, inputs.params)))
            for name, member in MEMBERS.items()
        }
        model, threads = {name: one.model for name, one in fitted.items()}, inputs.config.threads
        # Each member has rounds of its own; the mean is made once.
        return Fitted(
            model=model,
            best_rounds=1,
            history={
                "train-logloss": [_log_loss(inputs.y, self.predict_margin(model, inputs.train, threads=threads))],
                "validation-logloss": [
                    _log_loss(inputs.y_val, self.predict_margin(model, inputs.validation, threads=threads))
                ],
            },
        )

    def save(self, model: Any, path: Path) -> None:
        with temporary_folder("model") as folder, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, member in MEMBERS.items():
                file = folder / member.filename
                member.save(model[name], file)
                archive.writestr(zipfile.ZipInfo(_inside(name), _NO_TIME), file.read_bytes())

    def load(self, path: Path) -> Any:
        try:
            with zipfile.ZipFile(path) as archive, temporary_folder("model") as folder:
                models = {}
                for name, member in MEMBERS.items():
                    file = folder / member.filename
                    file.write_bytes(archive.read(_inside(name)))
                    models[name] = member.load(file)
                return models
        except (zipfile.BadZipFile, KeyError, OSError) as error:
            raise ValueError(f"variant {self.name}: {path.name} holds no whole ensemble") from error

    def _margins(self, model: Any, rows: Encoded, threads: int) -> Iterator[NDArray[Any]]:
        whole = None
        for name, member in MEMBERS.items():
            margin = member.predict_margin(model[name], rows, threads=threads)
            whole = margin if whole is None else whole + margin
        assert whole is not None
        yield whole / len(MEMBERS)

    def _contributions(self, model: Any, rows: Encoded, threads: int, /) -> Contributions:
        found = [member.contributions(model[name], rows, threads=threads) for name, member in MEMBERS.items()]
        values = sum((one.values for one in found[1:]), found[0].values)
        return Contributions(sum(one.base for one in found) / len(MEMBERS), values / len(MEMBERS))


def with_members(variant: str, params: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The parameters that settings have for a variant; of the ensemble with those of its members, below its own."""
    own = dict(params.get(variant, {}))
    if variant != EnsembleVariant.name:
        return own
    return {f"{name}.{key}": value for name in MEMBERS for key, value in params.get(name, {}).items()} | own


def of_member(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a member, of those of the ensemble."""
    return {key.removeprefix(f"{name}."): value for key, value in params.items() if key.startswith(f"{name}.")}


def _inside(name: str) -> str:
    return f"{name}/{MEMBERS[name].filename}"


def _log_loss(y: NDArray[np.float32], margin: NDArray[np.float64]) -> float:
    import numpy as np

    return float(np.mean(np.logaddexp(0.0, np.where(y == 1, -margin, margin))))
