"""The policy as data: its version follows every key, it is no part of contract or identity, and it is documented."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from pydantic import ValidationError

from credit_assets.ml.data.fingerprints import MODEL_CODE
from credit_assets.ml.data.policies import Policy
from credit_assets.ml.data.policies.files import load_policy
from credit_assets.ml.data.policies.keys import PolicySection
from credit_assets.ml.data.portfolio import Portfolio, load_portfolio
from credit_assets.settings import variable

DOCS = Path(__file__).resolve().parents[4] / "docs" / "policy.md"
KEYS = [
    (name, key, field)
    for name, section in Policy.model_fields.items()
    for key, field in section.annotation.model_fields.items()  # type: ignore[union-attr]
]
NAMED = [f"{section}.{key}" for section, key, _ in KEYS]


def others(value: Any, annotation: Any) -> Iterator[Any]:
    """Values of the type of another one, some of which its bounds allow."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1)
    elif isinstance(value, float):
        yield from (value * 1.01 + 0.001, value * 0.99)
    elif value is None:
        yield from (0.5, 2, 0.01, "2024-01-01", "x")
    else:
        yield from (["x"], {"x": 0.5}, {"x": 1})


def with_another(section: str, key: str, field: Any) -> Policy:
    for other in others(field.get_default(call_default_factory=True), field.annotation):
        try:
            policy = Policy.model_validate({section: {key: other}})
        except ValidationError:
            continue
        if policy != Policy():
            return policy
    raise AssertionError(f"no other value of {section}.{key} is tried here")


@pytest.mark.parametrize(("section", "key", "field"), KEYS, ids=NAMED)
def test_every_key_enters_the_version_and_survives_its_record(section: str, key: str, field: Any) -> None:
    policy = with_another(section, key, field)
    assert policy.version != Policy().version
    record = json.loads(json.dumps(policy.to_record(), allow_nan=False))
    assert Policy.from_record(record) == policy
    assert Policy.from_record(record).version == record["version"] == policy.version


def test_a_policy_is_no_part_of_the_contract_and_its_code_makes_no_model() -> None:
    portfolio = load_portfolio()
    other = {**dict(portfolio), "policy": Policy.model_validate({"comparison": {"min_auc": 0.6}})}
    changed = Portfolio.model_validate(other)
    assert changed.policy.version != portfolio.policy.version
    assert changed.contract == portfolio.contract
    assert not [name for name in MODEL_CODE if name.startswith("data.policies")]


@pytest.mark.parametrize(("section", "key", "field"), KEYS, ids=NAMED)
def test_a_key_says_what_it_means_and_refuses_what_is_none_of_it(section: str, key: str, field: Any) -> None:
    assert field.description
    assert field.description.endswith(".")
    assert set(field.json_schema_extra) == {"unit", "setting"}
    assert issubclass(Policy.model_fields[section].annotation, PolicySection)  # type: ignore[arg-type]
    for wrong in ("much", float("nan"), {"a": {"b": 1}}, [[1]], -1e9):
        if isinstance(field.default, str) or (isinstance(wrong, dict | list) and not isinstance(field.default, float)):
            continue
        if not isinstance(field.default, bool | int | float):
            continue
        with pytest.raises(ValidationError, match=rf"{section}.{key}|{key}"):
            Policy.model_validate({section: {key: wrong}})


# The documentation


def documented() -> dict[str, list[str]]:
    """The cells of the row of each key, by section and key."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in DOCS.read_text("utf-8").splitlines():
        if heading := re.fullmatch(r"## `(\w+)`", line):
            section = heading[1]
        elif line.startswith("## "):
            section = ""
        elif section and (row := re.match(r"\| `(\w+)` \| (.*) \|$", line)):
            found[f"{section}.{row[1]}"] = [cell.strip() for cell in row[2].split(" | ")]
    return found


def test_every_key_stands_in_the_documentation_as_it_is() -> None:
    rows = documented()
    assert list(rows) == NAMED
    for (section, key, field), (default, unit, of_variable, meaning) in zip(KEYS, rows.values(), strict=True):
        where, setting = f"{section}.{key}", field.json_schema_extra["setting"]
        assert yaml.safe_load(default) == json.loads(Policy().model_dump_json())[section][key], where
        assert unit == (field.json_schema_extra["unit"] or "-"), where
        assert of_variable == (f"`{variable(setting)}`" if setting else "-"), where
        assert meaning == field.description, where


def test_the_documented_policy_is_the_packaged_one_as_a_whole(tmp_path: Path) -> None:
    """One YAML with every section and key; nobody has to guess what a file may hold."""
    (text,) = re.findall(r"```yaml\n(policy:\n  # All of it.*?)```", DOCS.read_text("utf-8"), flags=re.DOTALL)
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    assert load_policy(file) == load_portfolio().policy == Policy()
    assert yaml.safe_load(text)["policy"] == json.loads(Policy().model_dump_json())
