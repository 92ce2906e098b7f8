"""What a validator looks for on the MLflow run of a candidate.

Belongs here: which of a training's results are logged, and a model's signature and example. Does not belong here: how
anything is logged (`run`).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from credit_assets.aside import temporary_folder
from credit_assets.ml.data.extensions import SCORING, described
from credit_assets.ml.data.manifest import Manifest
from credit_assets.ml.data.reasons import ReasonContract
from credit_assets.ml.data.request_rules import RequestRules
from credit_assets.ml.data.values import numbers
from credit_assets.tracking.run import CandidateRun

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from mlflow.models import ModelSignature

    from credit_assets.ml.data.portfolio import Column, Portfolio
    from credit_assets.ml.learners.candidates import Candidate


# A level that no portfolio knows, which is a warning of a request and no fault.
_ANY_LEVEL = "any"


def log_candidate(
    run: CandidateRun, trained: Candidate, record: Mapping[str, Any], table: pa.Table, portfolio: Portfolio
) -> tuple[str, dict[str, str]]:
    """Log all that there is to know about a candidate; return the URI of its model, and the SHA-256 of its files.

    Parameters, metrics of each split, metrics over rounds, data set with digest, feature list, figures, and the model
    with its drift reference, the rules of requests, the contract of reasons, signature and an input example that is no
    applicant's.
    """
    from credit_assets.ml.reports.figures import candidate_figures

    run.log_params(
        {
            **trained.params,
            "variant": record["variant"],
            "seed": record["identity"]["seed"],
            "threads": record.get("threads"),
            "best_rounds": trained.best_rounds,
            "portfolio": portfolio.name,
            **{f"extension_{one['kind']}_{one['name']}": described(one) for one in record.get("extensions", ())},
        }
    )
    test = record["metrics"]["test"]
    # By what MLflow's list is read: for whom, when and how good, in the first column.
    run.rename(f"{record['as_of']} {record['variant']} AUC {test['auc']:.3f}")
    run.log_dataset(
        "training_set",
        digest=record["identity"]["data"],
        table=table,
        source=f"{run.server.store_uri.rstrip('/')}/training_set/{record['as_of']}.parquet",
        target="default",
    )
    with temporary_folder("model") as folder:
        scorer_dir = folder / "scorer"
        files = save_model(trained, portfolio, scorer_dir)
        model_uri = run.log_model(
            scorer_dir,
            input_example=example_application(table, portfolio),
            signature=application_signature(portfolio),
            pip_requirements=pinned(*required(record["variant"], record.get("extensions", ()))),
        )
    run.log_metrics(
        {
            f"{split}_{name}": value
            for split, values in record["metrics"].items()
            for name, value in values.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        },
        model_uri,
    )
    run.log_metrics_history(trained.history)
    run.log_dict({"features": list(portfolio.feature_names), "monotone": dict(portfolio.monotone)}, "features.json")
    for name, figure in candidate_figures(trained).items():
        run.log_figure(figure, f"figures/{name}.png")
    return model_uri, files


def save_model(trained: Candidate, portfolio: Portfolio, folder: Path) -> dict[str, str]:
    """Write all that a model is made of into a folder, with its manifest; return the SHA-256 of each file, as
    `files_of`.
    """
    trained.scorer.save(folder)
    trained.reference.save(folder)
    RequestRules.of(portfolio).save(folder)
    if trained.scorer.explains:
        ReasonContract.of(portfolio).save(folder)
    Manifest.of(folder).save(folder)
    return files_of(folder)


def files_of(folder: Path) -> dict[str, str]:
    """SHA-256 (hex) of each file of a model's folder, by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".")
    }


def required(variant: str, extensions: Sequence[Mapping[str, str]]) -> list[str]:
    """The packages that a model needs to score: those of its library, and of the extensions that made its features and
    its learner. Gates and triggers score nothing.
    """
    from credit_assets.ml.learners import VARIANTS

    theirs, learner = {one["distribution"] for one in extensions if one["kind"] in SCORING} - {""}, VARIANTS[variant]
    own = (learner.distribution,) if learner.scoring_packages is None else learner.scoring_packages
    return ["credit-assets", "mlflow", "numpy", "pandas", *own, *sorted(theirs)]


def application_signature(portfolio: Portfolio) -> ModelSignature:
    """From the columns of an application as the warehouse has them to PD, score and warnings, and with the parameter
    `explain` whether it is declined and what speaks against it.

    Inputs are named and of any type: the model reads them by the portfolio's contract, which travels with it
    (`request_rules.json`). A type of MLflow's would refuse whole numbers among fractions, and a missing one among whole
    numbers. A column that may be missing is optional.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
    from mlflow.types.schema import AnyType, Array

    from credit_assets.ml.scorer import DECLINED, EXPLAIN, REASON_TEXTS, REASONS, WARNINGS

    anything = AnyType()  # type: ignore[no-untyped-call]
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(anything, c.name, required=not c.nullable) for c in portfolio.model_inputs
    ]
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec("double", "pd"),
        ColSpec("double", "score"),
        ColSpec("string", WARNINGS, required=False),
        ColSpec("boolean", DECLINED, required=False),
        *(ColSpec(Array(DataType.string), name, required=False) for name in (REASONS, REASON_TEXTS)),
    ]
    params = ParamSchema([ParamSpec(EXPLAIN, "boolean", False)])
    return ModelSignature(Schema(inputs), Schema(outputs), params)


def example_application(table: pa.Table, portfolio: Portfolio) -> pd.DataFrame:
    """One application that nobody made: near the median of each number, the most frequent level of each category, as
    `shown_values` tells them. It keeps the contract: whole numbers and truth values stay such.
    """
    import numpy as np
    import pandas as pd

    from credit_assets.ml.data.shown_values import shown_at

    row: dict[str, list[Any]] = {}
    for column in portfolio.model_inputs:
        known = table[column.name].drop_null()
        if column.type == "category":
            row[column.name] = [_most_frequent(known, column)]
        else:
            ordered = np.sort(numbers(known))
            row[column.name] = [shown_at(ordered, (len(ordered) - 1) // 2) if len(ordered) else float("nan")]
    return pd.DataFrame(row)


def _most_frequent(texts: pa.ChunkedArray, column: Column) -> str | None:
    """Of several the first in order of the alphabet, so that the same data give the same example. One that few rows
    have may be an applicant's: then any that the portfolio allows.
    """
    from credit_assets.ml.data.shown_values import SHARED

    counts = texts.value_counts().to_pylist()
    if not counts:
        return None
    most = min(counts, key=lambda item: (-item["counts"], item["values"]))
    if most["counts"] >= SHARED:
        return str(most["values"])
    return column.allowed[0] if column.allowed else None if column.nullable else _ANY_LEVEL


def pinned(*packages: str) -> list[str]:
    """The installed version of each package as a requirement. Packages that are not installed are left out."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{package}=={version(package)}")
    return found
