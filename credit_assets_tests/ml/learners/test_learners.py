"""The learners: one interface, three libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from credit_assets.ml.evidence.evaluation import auc
from credit_assets.ml.learners import VARIANTS, Fitted, Parameter
from credit_assets.ml.learners.devices import visible_gpus
from credit_assets.ml.learners.encoding import encode, levels_of, matrix
from credit_assets.ml.learners.learner import FitConfig
from credit_assets_tests.support.modelling import BOOSTERS, FEATURES, LEVELS, QUICK, fit, sample, training_set

ALL = pytest.mark.parametrize("name", list(VARIANTS))
IN_ROUNDS = pytest.mark.parametrize("name", BOOSTERS)


@pytest.fixture(scope="module")
def parts() -> dict[str, pd.DataFrame]:
    frame = training_set()
    return {split: frame[frame["split"] == split] for split in ("train", "validation", "test")}


@pytest.fixture(scope="module")
def fitted(parts: dict[str, pd.DataFrame]) -> dict[str, Fitted]:
    return {name: fit(name, parts) for name in VARIANTS}


def margin(name: str, model: Any, frame: pd.DataFrame) -> np.ndarray:
    return VARIANTS[name].predict_margin(model, encode(frame, FEATURES, LEVELS))


# Loading


def test_the_list_costs_no_library() -> None:
    code = (
        "import sys; from credit_assets.ml.learners import VARIANTS; VARIANTS['xgboost'].resolve({'max_depth': 3}); "
        "heavy = {'numpy', 'pandas', 'xgboost', 'lightgbm', 'catboost', 'scipy', 'sklearn'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_and_defaults_that_others_rely_on() -> None:
    assert {name: variant.filename for name, variant in VARIANTS.items()} == {
        "xgboost": "model.ubj",
        "lightgbm": "model.txt",
        "catboost": "model.cbm",
        "scorecard": "scorecard_model.json",
        "ensemble": "model.zip",
    }
    assert VARIANTS["xgboost"].defaults["max_depth"] == 6
    assert VARIANTS["xgboost"].defaults["learning_rate"] == 0.01
    assert VARIANTS["lightgbm"].defaults["num_leaves"] == 31
    assert VARIANTS["lightgbm"].defaults["learning_rate"] == 0.05
    assert VARIANTS["catboost"].defaults["depth"] == 8
    assert VARIANTS["catboost"].defaults["learning_rate"] == 0.03


# Fitting


@IN_ROUNDS
def test_a_fit_learns_and_records_its_rounds(
    name: str, parts: dict[str, pd.DataFrame], fitted: dict[str, Fitted]
) -> None:
    found = fitted[name]
    assert auc(parts["test"]["default"], 1 / (1 + np.exp(-margin(name, found.model, parts["test"])))) > 0.66
    train, validation = found.history["train-logloss"], found.history["validation-logloss"]
    assert set(found.history) == {"train-logloss", "validation-logloss"}
    assert len(train) == len(validation) >= found.best_rounds >= 1
    assert train[-1] < train[0]
    assert found.best_rounds == int(np.argmin(validation)) + 1


@IN_ROUNDS
def test_training_stops_when_the_validation_loss_does_not_fall(name: str, parts: dict[str, pd.DataFrame]) -> None:
    # Targets that no feature explains: nothing to learn for long.
    rng = np.random.default_rng(3)
    shuffled = {split: frame.assign(default=rng.permutation(frame["default"])) for split, frame in parts.items()}
    found = fit(name, shuffled, max_rounds=500, early_stopping_rounds=5)
    assert len(found.history["validation-logloss"]) <= found.best_rounds + 5 < 500


@ALL
def test_the_recorded_loss_is_that_of_the_returned_model(
    name: str, parts: dict[str, pd.DataFrame], fitted: dict[str, Fitted]
) -> None:
    from credit_assets.ml.data.log_odds import probability
    from credit_assets.ml.evidence.evaluation import log_loss

    found = fitted[name]
    for split in ("train", "validation"):
        p = probability(margin(name, found.model, parts[split]))
        recorded = found.history[f"{split}-logloss"][found.best_rounds - 1]
        # CatBoost estimates its training loss while it fits; the others, and all on validation rows, are exact.
        tolerance = 1e-3 if (name, split) == ("catboost", "train") else 1e-6
        assert log_loss(parts[split]["default"], p) == pytest.approx(recorded, abs=tolerance)


@IN_ROUNDS
def test_equal_inputs_give_equal_bytes_and_another_seed_does_not(
    name: str, parts: dict[str, pd.DataFrame], fitted: dict[str, Fitted], tmp_path: Path
) -> None:
    variant = VARIANTS[name]

    def content(found: Fitted) -> bytes:
        variant.save(found.model, tmp_path / "model")
        return (tmp_path / "model").read_bytes()

    first = content(fitted[name])
    assert content(fit(name, parts)) == first
    other = fit(name, parts, seed=8)
    assert not np.array_equal(margin(name, other.model, parts["test"]), margin(name, fitted[name].model, parts["test"]))


@ALL
def test_a_model_file_round_trips_exactly(
    name: str, parts: dict[str, pd.DataFrame], fitted: dict[str, Fitted], tmp_path: Path
) -> None:
    variant, path = VARIANTS[name], tmp_path / VARIANTS[name].filename
    variant.save(fitted[name].model, path)
    loaded = variant.load(path)
    assert np.array_equal(margin(name, loaded, parts["test"]), margin(name, fitted[name].model, parts["test"]))
    variant.save(loaded, tmp_path / "again")
    assert np.array_equal(
        margin(name, variant.load(tmp_path / "again"), parts["test"]), margin(name, loaded, parts["test"])
    )
    assert [file.name for file in tmp_path.iterdir() if file.name not in (variant.filename, "again")] == []


@ALL
def test_threads_do_not_change_the_scores(name: str, parts: dict[str, pd.DataFrame], fitted: dict[str, Fitted]) -> None:
    two = fit(name, parts, threads=2)
    np.testing.assert_allclose(
        margin(name, two.model, parts["test"]), margin(name, fitted[name].model, parts["test"]), rtol=0, atol=1e-6
    )
    frame = encode(parts["test"], FEATURES, LEVELS)
    variant = VARIANTS[name]
    assert np.array_equal(
        variant.predict_margin(two.model, frame, threads=2), variant.predict_margin(two.model, frame, threads=1)
    )


@ALL
def test_a_file_of_something_else_is_refused(name: str, fitted: dict[str, Fitted], tmp_path: Path) -> None:
    path = tmp_path / VARIANTS[name].filename
    VARIANTS[name].save(fitted[name].model, path)
    whole = path.read_bytes()
    for content in (b"", b"not a model", b"\x80\x04\x95\x00\x00", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=name):
            VARIANTS[name].load(path)


def test_no_console_output_and_no_files(tmp_path: Path) -> None:
    """One process for all of them: what they import takes longer than what they do."""
    code = (
        "from credit_assets_tests.support.modelling import fit, training_set; f = training_set(800)\n"
        f"for name in {tuple(VARIANTS)!r}:\n"
        "    print(name, flush=True)\n"
        "    fit(name, {s: f[f['split'] == s] for s in ('train', 'validation', 'test')})"
    )
    root = str(Path(__file__).resolve().parents[3])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{code}"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    # What stands below a name is what that learner printed.
    assert (done.stdout.split("\n"), done.stderr) == ([*VARIANTS, ""], "")
    assert list(tmp_path.iterdir()) == []


# Directions


@ALL
@pytest.mark.parametrize(("feature", "direction"), [("income", -1), ("inquiries", 1), ("burden", 1)])
def test_pd_moves_with_a_feature_as_the_portfolio_says(
    name: str, feature: str, direction: int, parts: dict[str, pd.DataFrame], fitted: dict[str, Fitted]
) -> None:
    rows = parts["test"].head(60)
    grid = np.quantile(parts["train"][feature].dropna(), np.linspace(0, 1, 25))
    margins = np.array([margin(name, fitted[name].model, rows.assign(**{feature: value})) for value in grid])
    steps = np.diff(margins, axis=0) * direction
    assert steps.min() >= -1e-6
    assert steps.max() > 0


@ALL
def test_the_constraint_is_what_keeps_the_direction(name: str, parts: dict[str, pd.DataFrame]) -> None:
    """Held against the truth: a direction that the data contradict leaves the feature without influence."""
    wrong = fit(name, parts, monotone={"inquiries": -1})
    rows = parts["test"].head(60)
    margins = np.array([margin(name, wrong.model, rows.assign(inquiries=float(value))) for value in range(6)])
    assert np.diff(margins, axis=0).max() <= 1e-6


@ALL
def test_a_category_has_no_direction(name: str, parts: dict[str, pd.DataFrame]) -> None:
    with pytest.raises(ValueError, match=rf"variant {name}: a category has no monotone direction: purpose"):
        fit(name, parts, monotone={"purpose": 1})


# Categories and missing values


@ALL
def test_categories_matter_and_unseen_levels_count_as_missing(
    name: str, parts: dict[str, pd.DataFrame], fitted: dict[str, Fitted]
) -> None:
    rows, model = parts["test"].head(40), fitted[name].model
    by_level = {level: margin(name, model, rows.assign(purpose=level)) for level in LEVELS["purpose"]}
    assert by_level["small_business"].mean() > by_level["car"].mean() + 0.2
    missing = margin(name, model, rows.assign(purpose=None))
    assert np.array_equal(margin(name, model, rows.assign(purpose="a purpose of next year")), missing)
    assert np.isfinite(missing).all()


@ALL
def test_missing_numbers_are_scored_and_differ_from_zero(
    name: str, parts: dict[str, pd.DataFrame], fitted: dict[str, Fitted]
) -> None:
    rows = parts["test"].head(40)
    missing = margin(name, fitted[name].model, rows.assign(burden=np.nan, income=np.nan))
    assert np.isfinite(missing).all()
    assert not np.array_equal(missing, margin(name, fitted[name].model, rows.assign(burden=9.0, income=1.0)))


@ALL
def test_columns_without_any_value_are_no_obstacle(name: str, parts: dict[str, pd.DataFrame]) -> None:
    empty = {split: frame.assign(noise=np.nan, region=None, inquiries=np.nan) for split, frame in parts.items()}
    found = fit(name, empty, categorical={**LEVELS, "region": ()})
    encoded = encode(empty["test"], FEATURES, {**LEVELS, "region": ()})
    assert np.isfinite(VARIANTS[name].predict_margin(found.model, encoded)).all()


@ALL
def test_a_portfolio_without_categories(name: str, parts: dict[str, pd.DataFrame]) -> None:
    numbers = {split: frame.drop(columns=["purpose", "region"]) for split, frame in parts.items()}
    columns = [feature for feature in FEATURES if feature not in LEVELS]
    train, validation = (sample(numbers[split], columns) for split in ("train", "validation"))
    config = FitConfig(QUICK[name], seed=1, max_rounds=20, early_stopping_rounds=5)
    found = VARIANTS[name].fit(train, validation, monotone={}, categorical={}, config=config)
    assert VARIANTS[name].predict_margin(found.model, encode(numbers["test"], columns, {})).std() > 0


@ALL
def test_no_rows_give_no_margins(name: str, parts: dict[str, pd.DataFrame], fitted: dict[str, Fitted]) -> None:
    assert margin(name, fitted[name].model, parts["test"].iloc[:0]).shape == (0,)


@ALL
def test_one_row_scores_as_it_does_among_others(
    name: str, parts: dict[str, pd.DataFrame], fitted: dict[str, Fitted]
) -> None:
    rows = parts["test"].head(20)
    together = margin(name, fitted[name].model, rows)
    alone = np.concatenate([margin(name, fitted[name].model, rows.iloc[[i]]) for i in range(len(rows))])
    assert np.array_equal(together, alone)


@ALL
def test_a_frame_that_is_not_encoded_is_refused(
    name: str, parts: dict[str, pd.DataFrame], fitted: dict[str, Fitted]
) -> None:
    with pytest.raises(ValueError, match=rf"variant {name}: a DataFrame is not encoded: pass it to encode"):
        VARIANTS[name].predict_margin(fitted[name].model, parts["test"][list(FEATURES)])


# Parameters


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("xgboost", {"max_dept": 3}, r"variant xgboost: unknown parameter 'max_dept'; did you mean 'max_depth'\?"),
        ("xgboost", {"max_depth": 0}, r"variant xgboost: parameter 'max_depth' must be an integer of at least 1"),
        ("xgboost", {"max_depth": 6.5}, "'max_depth' must be an integer.*got 6.5"),
        ("xgboost", {"max_depth": True}, "'max_depth' must be an integer.*got True"),
        ("xgboost", {"max_depth": "6"}, "'max_depth' must be an integer.*got '6'"),
        ("xgboost", {"max_depth": None}, "'max_depth' must be an integer.*got None"),
        ("xgboost", {"learning_rate": float("nan")}, "'learning_rate' must be a number above 0 and at most 1; got nan"),
        ("xgboost", {"learning_rate": 0}, "'learning_rate' must be a number above 0"),
        ("xgboost", {"subsample": 0}, "'subsample' must be a number above 0"),
        ("xgboost", {"grow_policy": "wide"}, "'grow_policy' must be one of depthwise, lossguide; got 'wide'"),
        ("xgboost", {"seed": 3}, "'seed' is not free: it is set from seed"),
        ("xgboost", {"n_estimators": 3}, "'n_estimators' is not free: it is set from max_rounds"),
        ("lightgbm", {"num_leaves": -5}, r"variant lightgbm: parameter 'num_leaves' must be an integer of at least 2"),
        ("lightgbm", {"learning_rate": 2}, "'learning_rate' must be a number above 0 and at most 1; got 2"),
        ("lightgbm", {"max_depth": -2}, "'max_depth' must be"),
        ("lightgbm", {"extra_trees": "maybe"}, "'extra_trees' must be true or false"),
        ("lightgbm", {"monotone_constraints_method": "foo"}, "must be one of basic, intermediate, advanced"),
        ("lightgbm", {"num_threads": 3}, "'num_threads' is not free"),
        ("catboost", {"depth": 17}, r"variant catboost: parameter 'depth' must be .* at most 16; got 17"),
        ("catboost", {"learning_rate": -0.1}, "'learning_rate' must be a number above 0"),
        ("catboost", {"grow_policy": "Depthwise"}, "unknown parameter 'grow_policy'"),
        ("catboost", {"iterations": 10}, "'iterations' is not free"),
    ],
)  # fmt: skip
def test_bad_parameters_are_refused_by_name(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        VARIANTS[name].resolve(params)
    assert f"variant {name}" in str(caught.value)


@IN_ROUNDS
def test_parameters_go_over_the_defaults(name: str) -> None:
    variant = VARIANTS[name]
    resolved = variant.resolve({"learning_rate": 0.2})
    assert resolved == {**variant.defaults, "learning_rate": 0.2}
    assert variant.defaults["learning_rate"] != 0.2
    assert variant.resolve(variant.defaults) == variant.defaults


def _inside(parameter: Parameter) -> Any:
    if parameter.kind == "choice":
        return parameter.choices[-1]
    if parameter.kind == "boolean":
        return True
    if parameter.kind == "integer":
        return int(max(parameter.minimum or 0, 2))
    return 0.5


# Those of an ensemble's members are their own.
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow) if one == "ensemble" else one for one in VARIANTS]
)
def test_every_declared_parameter_is_one_that_the_library_knows(
    name: str, parts: dict[str, pd.DataFrame], capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    """A misspelt entry of the table would be passed on and ignored. Unknown names make each library speak up."""
    variant = VARIANTS[name]
    small = {split: frame.iloc[:: 4] for split, frame in parts.items()}  # fmt: skip
    for key, parameter in variant.parameters.items():
        value = _inside(parameter)
        assert parameter.accepts(value)
        fit(name, small, params={key: value}, max_rounds=2)
    if name == "xgboost":
        import xgboost as xgb

        data = xgb.DMatrix(np.zeros((4, 1)), label=[0, 1, 0, 1])
        with xgb.config_context(verbosity=1):
            xgb.train({key: _inside(p) for key, p in variant.parameters.items()} | {"tree_method": "hist"}, data, 1)
    if name == "lightgbm":
        import lightgbm as lgb

        params = {key: _inside(p) for key, p in variant.parameters.items()} | {"verbosity": 0}
        lgb.train(params, lgb.Dataset(np.random.default_rng(1).random((99, 1)), label=[0, 1, 0] * 33), 1)
    said = capfd.readouterr()
    spoken = said.out + said.err + "".join(str(warning.message) for warning in recwarn)
    assert "not used" not in spoken
    assert "Unknown parameter" not in spoken


@ALL
@pytest.mark.parametrize("option", ["threads", "max_rounds", "early_stopping_rounds"])
def test_bounds_of_a_fit_are_positive(name: str, option: str, parts: dict[str, pd.DataFrame]) -> None:
    with pytest.raises(ValueError, match=rf"variant {name}: {option} must be at least 1; got 0"):
        fit(name, parts, **{option: 0})


@ALL
def test_targets_that_cannot_be_learnt_are_refused(name: str, parts: dict[str, pd.DataFrame]) -> None:
    for split in ("train", "validation"):
        with pytest.raises(ValueError, match=rf"variant {name}: the {split} target must hold both goods"):
            fit(name, {**parts, split: parts[split].assign(default=0)})
        with pytest.raises(ValueError, match=rf"variant {name}: the {split} target must hold both goods"):
            fit(name, {**parts, split: parts[split].iloc[:0]})
    train, validation = (sample(parts[split], FEATURES) for split in ("train", "validation"))
    short = train._replace(target=[0, 1])
    with pytest.raises(ValueError, match="train rows, but 2 train targets"):
        VARIANTS[name].fit(short, validation, monotone={}, categorical=LEVELS, config=FitConfig(max_rounds=1))


def test_what_the_library_refuses_names_the_variant(parts: dict[str, pd.DataFrame]) -> None:
    constant = {
        split: frame.assign(income=1.0, debt=1.0, inquiries=1.0, noise=1.0, burden=1.0, purpose="car", region="north")
        for split, frame in parts.items()
    }
    with pytest.raises(ValueError, match=r"variant catboost: catboost refuses the data or parameters: .*constant"):
        fit("catboost", constant)


# Devices


def test_catboost_on_a_gpu_refuses_what_the_library_would_ignore(parts: dict[str, pd.DataFrame]) -> None:
    with pytest.raises(
        ValueError, match=r"variant catboost: the library keeps no monotone directions on a GPU.*income"
    ):
        fit("catboost", parts, device="cuda")
    with pytest.raises(ValueError, match="variant catboost: parameter 'rsm' must be 1 on a GPU"):
        fit("catboost", parts, device="cuda", monotone={}, params={"rsm": 0.5})
    with pytest.raises(ValueError, match="variant catboost: parameter 'border_count' must be at most 255 on a GPU"):
        fit("catboost", parts, device="cuda", monotone={}, params={"border_count": 512})


def test_what_catboost_is_asked_for_on_a_gpu_is_what_it_takes() -> None:
    """The library's own check of parameters, which needs no GPU."""
    from catboost._catboost import CatBoostError, _check_train_params

    def check(**changes: Any) -> None:
        _check_train_params({"loss_function": "Logloss", "task_type": "GPU", "bootstrap_type": "MVS", **changes})

    with pytest.raises(CatBoostError, match="rsm on GPU"):
        check(**VARIANTS["catboost"].defaults)
    check(**VARIANTS["catboost"].resolve({}, "cuda"))


@pytest.mark.parametrize("name", ["xgboost", "catboost"])
def test_a_gpu_that_is_not_there_is_an_error(name: str, parts: dict[str, pd.DataFrame]) -> None:
    if visible_gpus():
        pytest.skip("there is a GPU here")
    message = {"xgboost": "device cuda was asked for and the library uses cpu", "catboost": "catboost refuses"}[name]
    with pytest.raises(ValueError, match=f"variant {name}: {message}"):
        fit(name, parts, device="cuda", monotone={})


def test_lightgbm_trains_on_the_cpu_whatever_the_device(
    parts: dict[str, pd.DataFrame], fitted: dict[str, Fitted]
) -> None:
    found = fit("lightgbm", parts, device="cuda")
    assert found.model.model_to_string() == fitted["lightgbm"].model.model_to_string()


@pytest.mark.parametrize("name", ["xgboost", "catboost"])
def test_a_model_of_a_gpu_scores_anywhere(name: str, parts: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    if not visible_gpus():
        pytest.skip("needs a GPU that CUDA can use")
    variant, found = VARIANTS[name], fit(name, parts, device="cuda", monotone={})
    on_cpu = fit(name, parts, monotone={}, params={**QUICK[name], **({"rsm": 1.0} if name == "catboost" else {})})
    variant.save(found.model, tmp_path / "model")
    loaded = variant.load(tmp_path / "model")
    margins = margin(name, loaded, parts["test"])
    assert np.array_equal(margins, margin(name, found.model, parts["test"]))
    truth = parts["test"]["default"]
    assert auc(truth, 1 / (1 + np.exp(-margins))) == pytest.approx(
        auc(truth, 1 / (1 + np.exp(-margin(name, on_cpu.model, parts["test"])))), abs=0.02
    )


@ALL
@pytest.mark.parametrize("key", ["device", "task_type"])
def test_the_device_is_no_parameter(name: str, key: str) -> None:
    with pytest.raises(ValueError, match=f"parameter '{key}' is not free: it is set from device"):
        VARIANTS[name].resolve({key: "GPU"})


# Encoding


def test_levels_are_sorted_texts_without_missing_ones() -> None:
    batches = [{"c": pd.Series(["b", None], dtype=object), "n": pd.Series([3.0, np.nan])}]
    batches += [{"c": pd.Series(["a", "b", np.nan], dtype=object), "n": pd.Series([1.0])}]
    assert levels_of(batches, ["c", "n"]) == {"c": ("a", "b"), "n": ("1", "3")}


def test_encoding_fixes_order_types_and_levels() -> None:
    frame = pd.DataFrame(
        {"c": ["b", "zzz", None, "a"], "extra": 1, "n": ["1", "2.5", "none", None], "flag": [True, False, True, False]},
        index=[5, 6, 7, 8],
    )
    encoded = encode(frame, ("n", "c", "flag"), {"c": ("a", "b")})
    assert encoded.names == ("n", "c", "flag")
    assert encoded.levels == {"c": ("a", "b")}
    assert len(encoded) == 4
    nan = np.nan
    np.testing.assert_array_equal(matrix(encoded), [[1, 1, 1], [2.5, nan, 0], [nan, nan, 1], [nan, 0, 0]])
    with pytest.raises(ValueError, match="lacks the features c, n"):
        encode(frame[["flag"]], ("c", "flag", "n"), {"c": ("a",)})


def test_levels_of_a_category_with_the_text_of_missing() -> None:
    frame = training_set(400).assign(purpose="__missing__")
    parts = {split: frame[frame["split"] == split] for split in ("train", "validation", "test")}
    found = fit("catboost", parts, categorical={**LEVELS, "purpose": ("__missing__",)})
    encoded = encode(parts["test"], FEATURES, {**LEVELS, "purpose": ("__missing__",)})
    assert np.isfinite(VARIANTS["catboost"].predict_margin(found.model, encoded)).all()
