"""The policy in force: a variable that is set comes before the portfolio file, and the file before the default."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from annotated_types import Ge, Gt, Le, Lt

from credit_assets.ml.data.policies import Policy
from credit_assets.settings import Settings, SettingsError, load_settings, variable
from credit_assets.settings.policies import OVERRIDES, policy_of, source_of

COLUMNS = (
    "name: own\ncolumns:\n- {name: id, type: integer, role: id, nullable: false}\n"
    "- {name: day, type: date, role: date, nullable: false}\n- {name: income, type: float}\n"
)


def own(tmp_path: Path, policy: str) -> Path:
    file = tmp_path / "own.yaml"
    file.write_text(COLUMNS + policy)
    return file


def field_of(setting: str) -> Any:
    section, key = OVERRIDES[setting]
    return Policy.model_fields[section].annotation.model_fields[key]  # type: ignore[union-attr]


def other_than(setting: str) -> Any:
    """A value that the key may have and does not have by default."""
    field = field_of(setting)
    if isinstance(field.default, bool):
        return not field.default
    if isinstance(field.default, str):
        return next(value for value in get_args(field.annotation) if value != field.default)
    bounds = [bound for bound in field.metadata if isinstance(bound, Ge | Gt | Le | Lt)]
    steps = (1, -1) if isinstance(field.default, int) else (0.001, -0.001)

    def allowed(value: float) -> bool:
        return all(
            (not isinstance(bound, Ge) or value >= bound.ge)  # type: ignore[operator]
            and (not isinstance(bound, Gt) or value > bound.gt)  # type: ignore[operator]
            and (not isinstance(bound, Le) or value <= bound.le)  # type: ignore[operator]
            and (not isinstance(bound, Lt) or value < bound.lt)  # type: ignore[operator]
            for bound in bounds
        )

    return next(field.default + step for step in steps if allowed(field.default + step))


@pytest.mark.parametrize("setting", OVERRIDES)
def test_a_variable_overrides_its_key_and_no_other(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable(setting), str(other_than(setting)))
    settings, (section, key) = load_settings(), OVERRIDES[setting]
    expected = Policy().model_dump()
    expected[section][key] = other_than(setting)
    assert policy_of(settings).model_dump() == expected
    assert source_of(settings, setting, "environment") == "environment"


@pytest.mark.parametrize("setting", OVERRIDES)
def test_the_portfolio_decides_where_no_variable_is_set(setting: str, tmp_path: Path) -> None:
    section, key = OVERRIDES[setting]
    text = str(other_than(setting)).lower()
    settings = load_settings(portfolio=own(tmp_path, f"policy:\n  {section}:\n    {key}: {text}\n"))
    assert getattr(settings, setting) is None
    assert getattr(getattr(policy_of(settings), section), key) == other_than(setting)
    assert source_of(settings, setting, "default") == "portfolio file"
    assert source_of(load_settings(), setting, "default") == "default"
    given = load_settings(portfolio=settings.portfolio, **{setting: field_of(setting).default})
    assert getattr(getattr(policy_of(given), section), key) == field_of(setting).default


@pytest.mark.parametrize("setting", OVERRIDES)
def test_a_setting_has_the_bounds_and_the_meaning_of_its_key(setting: str) -> None:
    of_setting, of_key = Settings.model_fields[setting], field_of(setting)
    assert of_setting.metadata == of_key.metadata
    assert of_setting.description == of_key.description
    assert of_setting.annotation == of_key.annotation | None


def test_a_variable_that_contradicts_the_file_is_refused_with_both_named(tmp_path: Path) -> None:
    file = own(tmp_path, "policy:\n  comparison: {max_auc: 0.6}\n")
    with pytest.raises(SettingsError, match=r"CREDIT_MIN_AUC .*: comparison: min_auc must lie below max_auc; got 0.7"):
        load_settings(portfolio=file, min_auc=0.7)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (
            "policy:\n  comparision: {min_auc: 0.6}\n",
            "policy: there is no key 'comparision' (did you mean",
        ),
        (
            "policy:\n  comparison: {min_acu: 0.6}\n",
            "policy.comparison: there is no key 'min_acu' (did",
        ),
        ("policy:\n  comparison: {min_auc: much}\n", "policy.comparison.min_auc: Input should be a valid number"),
        ("policy:\n  comparison: {min_auc: 0.8, max_auc: 0.7}\n", "policy.comparison: min_auc must lie below max_auc"),
        ("policy:\n  comparison: {min_improvement: .nan}\n", "policy.comparison.min_improvement"),
        ("policy: strict\n", "policy: Input should be a valid dictionary"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_with_its_place(policy: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(portfolio=own(tmp_path, policy))
    assert said in str(caught.value)
    assert "own.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)
