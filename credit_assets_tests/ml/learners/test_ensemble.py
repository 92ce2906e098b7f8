"""The ensemble: the mean of its members' log-odds, whole in one file, and never trained unless it is named."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from credit_assets.assets.policies import training_config
from credit_assets.ml.learners import VARIANTS, Fitted, default_variants
from credit_assets.ml.learners.encoding import encode
from credit_assets.ml.learners.ensemble import MEMBERS, of_member, with_members
from credit_assets.settings import load_settings
from credit_assets_tests.support.modelling import FEATURES, LEVELS, PORTFOLIO, QUICK, fit, training_set

ENSEMBLE = VARIANTS["ensemble"]


@pytest.fixture(scope="module")
def parts() -> dict[str, pd.DataFrame]:
    frame = training_set()
    return {split: frame[frame["split"] == split] for split in ("train", "validation", "test")}


@pytest.fixture(scope="module")
def fitted(parts: dict[str, pd.DataFrame]) -> Fitted:
    return fit("ensemble", parts)


def test_its_margin_is_the_mean_of_what_each_member_fits_by_itself(parts: Any, fitted: Fitted) -> None:
    rows = encode(parts["test"], FEATURES, LEVELS)
    alone = [VARIANTS[name].predict_margin(fit(name, parts).model, rows) for name in MEMBERS]
    assert ENSEMBLE.predict_margin(fitted.model, rows) == pytest.approx(np.mean(alone, axis=0), abs=1e-12)


def test_what_each_feature_adds_is_the_mean_of_what_it_adds_in_each_member(parts: Any, fitted: Fitted) -> None:
    rows = encode(parts["test"].head(200), FEATURES, LEVELS)
    found = ENSEMBLE.contributions(fitted.model, rows)
    assert found.base + found.values.sum(axis=1) == pytest.approx(ENSEMBLE.predict_margin(fitted.model, rows), abs=1e-9)
    alone = [VARIANTS[name].contributions(fitted.model[name], rows).values for name in MEMBERS]
    assert found.values == pytest.approx(np.mean(alone, axis=0), abs=1e-6)


def test_directions_of_the_members_are_its_own(parts: Any, fitted: Fitted) -> None:
    poorer = parts["test"].assign(income=parts["test"]["income"] * 0.5)
    before, after = (
        ENSEMBLE.predict_margin(fitted.model, encode(frame, FEATURES, LEVELS)) for frame in (parts["test"], poorer)
    )
    assert PORTFOLIO.monotone["income"] == -1
    assert (after >= before - 1e-9).all()


def test_equal_fits_give_equal_bytes_which_load_as_they_were(parts: Any, fitted: Fitted, tmp_path: Path) -> None:
    one, other = tmp_path / "one.zip", tmp_path / "other.zip"
    ENSEMBLE.save(fitted.model, one)
    ENSEMBLE.save(fit("ensemble", parts).model, other)
    assert one.read_bytes() == other.read_bytes()
    rows = encode(parts["test"], FEATURES, LEVELS)
    assert np.array_equal(
        ENSEMBLE.predict_margin(ENSEMBLE.load(one), rows), ENSEMBLE.predict_margin(fitted.model, rows)
    )


def test_half_an_ensemble_is_refused(fitted: Fitted, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    ENSEMBLE.save(fitted.model, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="holds no whole ensemble"):
        ENSEMBLE.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../model.ubj", b"x")
    with pytest.raises(ValueError, match="holds no whole ensemble"):
        ENSEMBLE.load(path)
    assert not (tmp_path.parent / "model.ubj").exists()


def test_it_takes_the_parameters_of_its_members(tmp_path: Path) -> None:
    settings = load_settings(
        home=tmp_path,
        variants="xgboost,ensemble",
        variant_params={"xgboost": {"max_depth": 3}, "ensemble": {"lightgbm.num_leaves": 9, "xgboost.subsample": 0.9}},
    )
    resolved = ENSEMBLE.resolve(training_config(settings, "ensemble").params)
    assert of_member("xgboost", resolved)["max_depth"] == 3
    assert of_member("xgboost", resolved)["subsample"] == 0.9
    assert of_member("lightgbm", resolved)["num_leaves"] == 9
    assert of_member("catboost", resolved) == VARIANTS["catboost"].resolve({})
    assert with_members("xgboost", settings.variant_params) == {"max_depth": 3}
    with pytest.raises(ValueError, match=r"variant ensemble: unknown parameter 'xgboost.max_dept'"):
        ENSEMBLE.resolve({"xgboost.max_dept": 3})
    assert set(QUICK["ensemble"]) < set(ENSEMBLE.parameters)


def test_nobody_gets_it_who_did_not_name_it(tmp_path: Path) -> None:
    assert "ensemble" not in default_variants()
    assert "ensemble" not in load_settings(home=tmp_path).variants
