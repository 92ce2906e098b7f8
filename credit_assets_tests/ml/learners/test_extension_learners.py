"""Learners of a lender's own: held to the interface, and their models to what is saved of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from credit_assets.ml.data.extensions import ExtensionError, use
from credit_assets.ml.learners import VARIANTS
from credit_assets.ml.learners.candidates import candidate_identity, train_candidate
from credit_assets.ml.learners.devices import DevicePolicy, Gpus, decide
from credit_assets.ml.learners.learner import FitConfig
from credit_assets.ml.learners.scorer import SCORER_FILE, CreditScorer, ExtensionMismatchError
from credit_assets.ml.learners.training import TrainingConfig
from credit_assets.ml.scorer import _load_pyfunc
from credit_assets.settings import SettingsError, load_settings
from credit_assets_tests.support.lender import MODULES, Lender
from credit_assets_tests.support.modelling import FEATURES, LEVELS, PORTFOLIO, quick_config, sample, training_set

LEARNER = '''
"""A learner: the log-odds of two groups of one feature."""
import json
from credit_assets.ml.extensions import Fitted, FitInputs, Parameter, Variant, learner

@learner
class OwnSplit(Variant):
    """One split of the first feature."""

    name = "own_split"
    label = "One split"
    filename = "split.json"
    distribution = "numpy"
    parameters = {"quantile": Parameter("number", minimum=0, maximum=1)}
    defaults = {"quantile": 0.5}

    def _fit(self, inputs: FitInputs) -> Fitted:
        import numpy as np
        first = np.concatenate([batch[0] for batch in inputs.train.batches()])
        cut = float(np.nanquantile(first, inputs.params["quantile"]))
        above = first > cut
        odds = [float(np.log(y.sum() + 1) - np.log(len(y) - y.sum() + 1)) for y in (inputs.y[~above], inputs.y[above])]
        return Fitted({"cut": cut, "odds": odds}, 1, {"train-logloss": [0.5], "validation-logloss": [0.5]})

    def save(self, model, path):
        path.write_text(json.dumps(model))

    def load(self, path):
        return json.loads(path.read_text())

    def _margins(self, model, rows, threads):
        import numpy as np
        for batch in rows.batches():
            yield np.where(batch[0] > model["cut"], model["odds"][1], model["odds"][0])
'''


@pytest.fixture
def lender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lender:
    return Lender(tmp_path, monkeypatch).write(learners=LEARNER).install(module="learners")


def config() -> TrainingConfig:
    return TrainingConfig(max_rounds=5, early_stopping_rounds=2)


def test_it_trains_scores_and_is_read_again(lender: Lender, tmp_path: Path) -> None:
    candidate = train_candidate(training_set(), "own_split", PORTFOLIO, config())
    assert candidate.metrics["test"].auc > 0.5
    assert candidate.params == {
        "quantile": 0.5,
        "max_rounds": 5,
        "early_stopping_rounds": 2,
        "library": f"numpy {np.__version__}",
    }
    candidate.scorer.save(tmp_path / "model")
    record = json.loads((tmp_path / "model" / SCORER_FILE).read_text())
    (made_by,) = record["extensions"]
    assert (made_by["kind"], made_by["name"], made_by["distribution"], made_by["version"]) == (
        *("learner", "own_split"),
        *(lender.name, "1.2.0"),
    )
    rows = training_set().head(50)
    read = CreditScorer.load(tmp_path / "model")
    pd.testing.assert_frame_equal(read.score(rows), candidate.scorer.score(rows))


def test_settings_take_it_by_its_name(lender: Lender) -> None:
    settings = load_settings(variants="own_split,lightgbm", variant_params='{"own_split": {"quantile": 0.3}}')
    assert settings.variants == ("own_split", "lightgbm")
    with pytest.raises(SettingsError, match="variant own_split: parameter 'quantile' must be a number of at least 0"):
        load_settings(variant_params='{"own_split": {"quantile": 2}}')
    lender.uninstall()
    with pytest.raises(SettingsError) as refused:
        load_settings(variants="own_split")
    assert (
        "CREDIT_VARIANTS: must list some of xgboost, lightgbm, catboost, scorecard, ensemble, each once; got own_split"
        in str(refused.value)
    )
    assert "install the package that brings it" in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("(Variant)", "", "a learner is a subclass of Variant"),
        ('    filename = "split.json"\n', "", "it does not say its filename"),
        ('"split.json"', '"scorer.json"', "filename 'scorer.json' is no name for a model's file"),
        ('"split.json"', '"../split.json"', "filename '../split.json' is no name for a model's file"),
        ('"numpy"', '"nowhere-at-all"', "the package 'nowhere-at-all' that it names is not installed"),
        ('Parameter("number", minimum=0, maximum=1)', "0.5", "its parameters must be a dict of names and Parameter"),
        ('"quantile": Parameter', '"seed": Parameter', "its parameters name seed, which every learner gets"),
        (
            '{"quantile": 0.5}',
            '{"quantile": 1.5}',
            "its default quantile=1.5 cannot be: it takes a number of at least 0",
        ),
        ('{"quantile": 0.5}', '{"quantil": 0.5}', "its default quantil=0.5 cannot be: there is no such parameter"),
        ("def _margins", "def margins", "it does not have _margins"),
        ('name = "own_split"', 'name = "xgboost"', "credit_assets has a learner of this name itself"),
        ('name = "own_split"', 'name = "Own-Split"', "'Own-Split' is no name of an extension"),
        ("    name =", "    def __init__(self, depth): ...\n    name =", "it cannot be made: TypeError"),
    ],
)
def test_a_class_that_is_none_is_refused_when_settings_load(lender: Lender, old: str, new: str, said: str) -> None:
    lender.edit("learners", old, new)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert said in str(refused.value)
    assert lender.name in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("path.write_text(json.dumps(model))", "pass", "its save wrote no file split.json"),
        (
            "path.write_text(json.dumps(model))",
            "import pickle; path.write_bytes(pickle.dumps(model))",
            "its save writes a pickle, which runs code when it is read",
        ),
        (
            "path.write_text(json.dumps(model))",
            "import pickle, zipfile; zipfile.ZipFile(path, 'w').writestr('model.pkl', pickle.dumps(model))",
            "its save writes a pickle",
        ),
        (
            "path.write_text(json.dumps(model))",
            "path.write_text(json.dumps(model | {'odds': [0.0, 0.1]}))",
            "a model that was saved and read again scores otherwise",
        ),
        ('np.where(batch[0] > model["cut"]', 'np.nan * np.where(batch[0] > model["cut"]', "one finite number for each"),
        (
            'return Fitted({"cut": cut, "odds": odds}, 1,',
            "return ({}, 1,",
            "its _fit gives a tuple: it must give a Fitted",
        ),
        ("cut = float(", "cut = 1 / 0 + float(", "its fit failed with ZeroDivisionError (learners.py, line 20)"),
    ],
)
def test_a_model_that_is_none_is_refused_when_it_is_trained(lender: Lender, old: str, new: str, said: str) -> None:
    lender.edit("learners", old, new)
    parts = {split: sample(rows, FEATURES) for split, rows in training_set(600).groupby("split")}
    with pytest.raises(ExtensionError) as refused:
        VARIANTS["own_split"].fit(
            parts["train"], parts["validation"], monotone={}, categorical=LEVELS, config=FitConfig(max_rounds=1)
        )
    assert said in str(refused.value)


def test_it_trains_on_the_cpu_unless_it_says_otherwise(lender: Lender) -> None:
    for device in ("auto", "cuda"):
        placed = decide(
            DevicePolicy(device, "fail"), VARIANTS["own_split"], monotone={}, params={}, gpus=Gpus(("a GPU",), "a test")
        )
        assert (placed.device, placed.reason) == ("cpu", "One split trains on the CPU")


# Identity, and models without their extension


def test_the_identity_names_what_is_used_and_nothing_else(lender: Lender) -> None:
    def identity(variant: str) -> dict[str, object]:
        settings = config() if variant == "own_split" else quick_config(variant)
        return candidate_identity(variant, "2024-01-31", "data", settings, PORTFOLIO)

    own, packaged = identity("own_split"), identity("lightgbm")
    assert list(own["extensions"]) == ["learner own_split"]  # type: ignore[call-overload]
    assert "extensions" not in packaged
    lender.install("2.0.0", "learners")
    assert identity("own_split") == own, "another version of the same source trains nothing anew"
    lender.edit("learners", "> cut", ">= cut")
    assert identity("own_split") != own
    assert identity("lightgbm") == packaged
    use([])
    lender.uninstall()
    assert identity("lightgbm") == packaged


@pytest.mark.parametrize("kind", ["learner", "feature"])
def test_a_model_is_not_read_without_just_its_extension(lender: Lender, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "model"
    if kind == "learner":
        train_candidate(training_set(), "own_split", PORTFOLIO, config()).scorer.save(folder)
        changed = ("learners", "> cut", ">= cut")
    else:
        lender.write(**MODULES).install()
        own = PORTFOLIO.model_copy(
            update={"derived": (PORTFOLIO.derived[0].model_copy(update={"function": "own_burden", "inputs": {}}),)}
        )
        train_candidate(training_set(), "lightgbm", own, quick_config("lightgbm")).scorer.save(folder)
        changed = ("rates", "2.0", "2.5")
    for read in (CreditScorer.load, lambda folder: _load_pyfunc(str(folder))):
        assert read(folder)
        lender.edit(*changed)
        with pytest.raises(ExtensionMismatchError) as refused:
            read(folder)
        assert f"this model cannot score here: {kind} own_" in str(refused.value)
        assert f"of {lender.name} 1.2.0" in str(refused.value)
        assert f"is another one here, {kind} own_" in str(refused.value)
        lender.edit(changed[0], changed[2], changed[1])
    lender.uninstall()
    with pytest.raises(ExtensionMismatchError, match=f"is not installed here: install {lender.name}==1.2.0"):
        CreditScorer.load(folder)


def test_a_file_of_a_model_names_no_module_to_import(lender: Lender, tmp_path: Path) -> None:
    """A record that names another module makes nobody import it."""
    folder = tmp_path / "model"
    train_candidate(training_set(), "own_split", PORTFOLIO, config()).scorer.save(folder)
    lender.write(trap="raise SystemExit('imported')\n")
    record = json.loads((folder / SCORER_FILE).read_text())
    record["extensions"][0]["module"] = f"{lender.name}.trap"
    (folder / SCORER_FILE).write_text(json.dumps(record))
    assert CreditScorer.load(folder).variant == "own_split"
    lender.uninstall()
    with pytest.raises(ExtensionMismatchError):
        CreditScorer.load(folder)
