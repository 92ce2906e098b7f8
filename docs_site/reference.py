"""References made from the code: settings, the portfolio file, commands, assets and their checks, the library.

Belongs here: a function a reference, which returns Markdown, and its line in GENERATED. Does not belong here: any
meaning of a key, option or function, which stands with it in the code.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

HOME = "<home>"
SCHEMA = "portfolio.schema.json"
"""At the top of the site."""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; a bar or a line break within a cell stays in it."""
    head = list(head)
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """The text as code, `<` and all."""
    return f"`{text}`"


@contextmanager
def untouched() -> Iterator[str]:
    """An environment in which nothing is set, and the home is a folder that is named and empty."""
    kept = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        for name in list(os.environ):
            if name.upper().startswith("CREDIT_") or name.upper() in ("MLFLOW_TRACKING_URI", "DAGSTER_HOME"):
                del os.environ[name]
        os.environ["CREDIT_HOME"] = folder
        try:
            yield folder
        finally:
            os.environ.clear()
            os.environ.update(kept)


def settings() -> str:
    """Every setting by its group: variable, default, what it takes, meaning."""
    from credit_assets.cli.doctor import describe_settings
    from credit_assets.settings import Settings, load_settings, variable

    with untouched() as home:
        found = {one.name: one.value.replace(home, HOME) for one in describe_settings(load_settings())}
    # What depends on the machine, or on what is installed here, as it is written down.
    found |= {"CREDIT_HOME": ".credit_assets", "CREDIT_THREADS": "0"}
    found["CREDIT_ASSIGNMENT_KEY"] = Settings.model_fields["assignment_key"].default.get_secret_value()
    taken = Settings.model_json_schema(by_alias=False)["properties"]
    pieces = []
    for group in reversed([base for base in Settings.__mro__ if base.__name__ in _GROUPS]):
        names = [name for name in Settings.model_fields if name in _own_fields(group)]
        rows = [
            [
                code(variable(name)),
                code(found[variable(name)] or "none"),
                kind(taken[name], {}),
                Settings.model_fields[name].description or "",
            ]
            for name in names
        ]
        about = _first_paragraph(group.__doc__)
        pieces.append(f"## {_GROUPS[group.__name__]}\n\n{about}\n\n{table(_SETTING_HEAD, rows)}")
    return "\n\n".join(pieces)


_SETTING_HEAD = ("variable", "default", "takes", "meaning")
_GROUPS = {
    "Places": "Places",
    "BookSettings": "Book",
    "TrainingSettings": "Training",
    "Points": "Points",
    "PolicyKeys": "Policy",
    "DeploymentSettings": "Deployment",
    "Monitoring": "Monitoring",
    "Retraining": "Retraining",
    "Execution": "Execution",
    "StepPods": "Step pods on a cluster",
    "CatalogueSettings": "Catalogue",
    "Alerts": "Alerts and addresses",
    "RetentionSettings": "What is kept, and for how long",
    "Access": "Who is let in",
}


def _own_fields(group: type) -> set[str]:
    inherited = {name for base in group.__bases__ for name in getattr(base, "model_fields", {})}
    return set(group.model_fields) - inherited  # type: ignore[attr-defined]


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").strip().split("\n\n")[0].split())


def kind(schema: Mapping[str, Any], links: Mapping[str, str]) -> str:
    """What a value may be, in words, from its JSON schema."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}]({links[name]})" if name in links else name
    if "const" in schema:
        return code(_value(schema["const"]))
    if "enum" in schema:
        return ", ".join(code(_value(one)) for one in schema["enum"])
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(kind(one, links) for one in schema[several] if one.get("type") != "null"))
    if schema.get("type") == "array" and schema.get("items"):
        return "list of " + kind(schema["items"], links)
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return "mapping to " + kind(schema["additionalProperties"], links)
    word = {"object": "mapping", "array": "list", "boolean": "true or false"}.get(
        schema.get("type", ""), schema.get("type", "anything")
    )
    return (
        {"path": "path", "date": "day", "password": "text (secret)", "string": "text"}.get(
            schema.get("format") or schema.get("type", ""), word
        )
    ) + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    said = [
        f"{sign} {_value(schema[bound])}"
        for bound, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if bound in schema
    ]
    return ", " + ", ".join(said) if said else ""


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def schema() -> dict[str, Any]:
    """The JSON schema of a portfolio file, which editors complete and check by."""
    from credit_assets.ml.data.portfolio import Portfolio

    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Portfolio.model_json_schema()}


def schema_text() -> str:
    """The file of it."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def portfolio_schema() -> str:
    """Every key of the portfolio file and of each thing in it."""
    whole = schema()
    parts = whole.get("$defs", {})
    links = {name: f"#{name.lower()}" for name in parts}
    pieces = [f'The file: <a href="../{SCHEMA}">{SCHEMA}</a>', "## The file", _keys(whole, links)]
    for name in _as_met(whole, parts):
        about = _first_paragraph(parts[name].get("description"))
        pieces += [f"## {name}", *([about] if about else []), _keys(parts[name], links)]
    return "\n\n".join(pieces)


def _keys(part: Mapping[str, Any], links: Mapping[str, str]) -> str:
    needed = set(part.get("required", ()))
    rows = []
    for key, of in part.get("properties", {}).items():
        default = of.get("default")
        # What has keys of its own is described by them.
        whole = isinstance(default, dict) and default
        said = code(_value(default)) if _says(default) else ""
        shown = "**required**" if key in needed else "as below" if whole else said
        rows.append([code(key), kind(of, links), shown, of.get("description", "")])
    described = any(row[3] for row in rows)
    return table(
        ("key", "takes", "default", "meaning")[: 4 if described else 3], (row[: 4 if described else 3] for row in rows)
    )


def _says(default: Any) -> bool:
    return default not in (None, "", [], {})


def _as_met(whole: Mapping[str, Any], parts: Mapping[str, Any]) -> list[str]:
    """The parts in the order in which a reader comes to them."""
    met: list[str] = []

    def walk(node: Any) -> None:
        for name in re.findall(r'"#/\$defs/(\w+)"', json.dumps(node.get("properties", {}))):
            if name not in met:
                met.append(name)
                walk(parts[name])

    walk(whole)
    return met


def commands() -> str:
    """Every verb with its arguments and options, as `--help` has them."""
    from typer.main import get_command

    from credit_assets.cli.main import app

    return "\n\n".join(_verb(*one) for one in sorted(verbs(get_command(app)), key=lambda one: one[0]))


def verbs(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every verb of a command and of its groups, by its words."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from verbs(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def _verb(name: str, command: Any) -> str:
    words = re.split(r"\n\s*\n", (command.help or "").strip())
    said = []
    for paragraph in (" ".join(one.split()) for one in words):
        example = re.match(r"Example: (.+?)(?:\. ([A-Z].*))?$", paragraph)
        said.append(f"```\n{example[1]}\n```\n\n{example[2] or ''}".strip() if example else paragraph)
    rows = [
        [" ".join([*(code(one) for one in _names(option)), _default(option)]).strip(), option.help or ""]
        for option in sorted(command.params, key=lambda one: one.param_type_name)
        if not getattr(option, "hidden", False) and option.name != "help"
    ]
    return "\n\n".join([f"## `{name}`", *said, *([table(("argument or option", "meaning"), rows)] if rows else [])])


def _names(option: Any) -> list[str]:
    if option.param_type_name == "argument":
        return [option.metavar or option.name.upper()]
    return [*option.opts, *option.secondary_opts]


def _default(option: Any) -> str:
    value = option.default
    if option.required:
        return "(required)"
    if callable(value) or value in (None, False, True, "", [], ()) or type(value).__name__ == "Sentinel":
        return ""
    return f"({_value(value) if isinstance(value, str | int | float) else value})"


def assets() -> str:
    """The assets of a day in the order in which they are made, with what each reads, and the jobs that make them."""
    from credit_assets.ml.learners import VARIANTS
    from credit_assets.stages import JOBS, Graph

    graph = Graph(tuple(VARIANTS.packaged), frozenset({"decisions", "histories"}))
    rows = [
        [
            code(row.name),
            row.stage,
            row.group,
            ", ".join(code(name) for name in row.reads) or "the warehouse, or nothing",
            code(row.profile),
        ]
        for row in graph.assets
    ]
    jobs = [[code(name), ", ".join(stages)] for name, stages in JOBS.items()]
    return (
        table(("asset", "stage", "group", "reads", "profile"), rows)
        + "\n\n## Jobs\n\n"
        + table(("job", "makes the stages"), jobs)
    )


def checks() -> str:
    """Every gate of the package with what it asks for."""
    from credit_assets import checks as of
    from credit_assets.ml.rules.model_rules import MODEL_RULES

    groups: dict[str, Mapping[str, str]] = {
        "raw_loan_data": of.APPLICATION_GATES,
        "loan_outcomes": {**of.OUTCOME_GATES, **of.STATUSES, **of.RECORDED_GATES},
        "history_features": of.HISTORY_GATES,
        "training_set": {**of.TRAINING_GATES, **of.OF_CUSTOMERS},
        "trained_model": {rule.name: rule.description for rule in MODEL_RULES},
    }
    return "\n\n".join(
        f"### On `{asset}`\n\n{table(('check', 'asks'), ([code(name), text] for name, text in gates.items()))}"
        for asset, gates in groups.items()
    )


def library() -> str:
    """The public names of the package, from their docstrings."""
    import credit_assets

    pieces = []
    for name in sorted(credit_assets.__all__, key=str.lower):
        one = getattr(credit_assets, name)
        made = "class" if isinstance(one, type) else "function" if callable(one) else "data"
        pieces.append(f"## `{name}`\n\n```{{eval-rst}}\n.. auto{made}:: credit_assets.{name}\n   :no-index:\n```")
    return "\n\n".join(pieces)


GENERATED: Mapping[str, Callable[[], str]] = {
    "settings": settings,
    "portfolio-schema": portfolio_schema,
    "commands": commands,
    "assets": assets,
    "checks": checks,
    "library": library,
}
"""What the marker `<!-- generated: NAME -->` of a page is replaced by."""
