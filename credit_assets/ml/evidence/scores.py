"""The table of scores: made of what the champion and the model on trial said, and taken apart again by version.

Belongs here: which of the two stands first in a row (who decided) and which beside it. Does not belong here: who
decides about an application (`arms`) and what the scores show (`shadow`, `drift`, `performance`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from credit_assets.ml.evidence.arms import CHALLENGER, CHAMPION, REFUSED, assign

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Scored:
    """What one version said of some applications: PDs and points, in the order of their rows; NaN where it refuses one
    for a value that is missing.
    """

    version: str
    pd: NDArray[Any]
    score: NDArray[Any]


def decided(keys: pa.Table, champion: Scored, shadow: Scored | None, *, share: float, key: str) -> pa.Table:
    """The scores of some applications, with the model that decides about each.

    Parameters
    ----------
    keys
        Id and date of the applications, in this order, and what else of them stands beside their scores.
    champion, shadow
        What the two models said of the same rows; no shadow where no model is on trial.
    share, key
        The shadow decides about `share` of the applications, chosen by `arms.assign` under this key; the champion
        about all where there is no shadow. Where the model that is to decide refuses an application, its PD and points
        are null, and its arm is "refused".

    Returns
    -------
    pyarrow.Table
        The columns of `keys`, and those of `schemas.scores_schema`; nobody is declined yet.

    Examples
    --------
    >>> import numpy as np
    >>> import pyarrow as pa
    >>> keys = pa.table({"id": ["a", "b"], "day": [1, 1]})
    >>> champion = Scored("1", np.array([0.1, 0.2]), np.array([600.0, 590.0]))
    >>> decided(keys, champion, None, share=0.3, key="secret").column("model_version").to_pylist()
    ['1', '1']
    """
    import numpy as np
    import pyarrow as pa

    rows = keys.num_rows
    if shadow is None:
        columns = {
            "pd": _array(champion.pd),
            "score": _array(champion.score),
            "model_version": pa.repeat(pa.scalar(champion.version), rows),
            "arm": _arm(champion.pd, CHAMPION),
            "other_pd": pa.nulls(rows, pa.float64()),
            "other_score": pa.nulls(rows, pa.float64()),
            "other_version": pa.nulls(rows, pa.string()),
        }
    else:
        challenged = assign(keys.column(0).to_pylist(), share, key, salt=shadow.version)

        def of(theirs: Any, ours: Any) -> pa.Array:
            return _array(np.where(challenged, theirs, ours))

        columns = {
            "pd": of(shadow.pd, champion.pd),
            "score": of(shadow.score, champion.score),
            "model_version": of(shadow.version, champion.version),
            "arm": _arm(np.where(challenged, shadow.pd, champion.pd), np.where(challenged, CHALLENGER, CHAMPION)),
            "other_pd": of(champion.pd, shadow.pd),
            "other_score": of(champion.score, shadow.score),
            "other_version": of(champion.version, shadow.version),
        }
    columns |= {"declined": pa.nulls(rows, pa.bool_()), "reasons": pa.nulls(rows, pa.list_(pa.string()))}
    return pa.table({**dict(zip(keys.column_names, keys.columns, strict=True)), **columns})


def _array(values: NDArray[Any]) -> pa.Array:
    """Null where a number is NaN."""
    import pyarrow as pa

    return pa.array(values, from_pandas=True)


def _arm(pd: NDArray[Any], arm: NDArray[Any] | str) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    refused = np.isnan(pd)
    if isinstance(arm, str) and not refused.any():
        return pa.repeat(pa.scalar(arm), len(pd))
    return pa.array(np.where(refused, REFUSED, arm))


POINTS = ("score", "model_version", "other_score", "other_version")
"""The columns that `points_of` reads."""


def points_of(scores: pd.DataFrame, version: str) -> pd.Series[float]:
    """Points of the rows that the version scored, deciding or beside the model that decided."""
    other = scores["other_score"].where(scores["other_version"] == version)
    return scores["score"].where(scores["model_version"] == version, other).dropna()


def side_by_side(scores: pd.DataFrame, champion: str, shadow: str) -> pd.DataFrame:
    """Rows that both versions scored and neither refused, whoever decided, with `champion_pd`, `champion_score`,
    `shadow_pd` and `shadow_score` beside their own columns.
    """
    decides = (scores["model_version"] == champion) & (scores["other_version"] == shadow)
    beside = (scores["model_version"] == shadow) & (scores["other_version"] == champion)
    both = (decides | beside) & scores["pd"].notna() & scores["other_pd"].notna()
    rows, decides = scores[both], decides[both]
    return rows.assign(
        champion_pd=rows["pd"].where(decides, rows["other_pd"]).astype("float64"),
        champion_score=rows["score"].where(decides, rows["other_score"]).astype("float64"),
        shadow_pd=rows["other_pd"].where(decides, rows["pd"]).astype("float64"),
        shadow_score=rows["other_score"].where(decides, rows["score"]).astype("float64"),
    )


@dataclass
class DayOfScores:
    """What was scored of a day, over all its pieces, and how many applications a model refused."""

    rows: int = 0
    refused: int = 0
    pd_sum: float = 0.0
    by_challenger: int = 0
    declined: int | None = None
    shadowed: bool = False

    def add(self, scores: pa.Table) -> None:
        import pyarrow.compute as pc

        refused = scores["pd"].null_count
        self.rows += scores.num_rows - refused
        self.refused += refused
        self.pd_sum += pc.sum(scores["pd"]).as_py() or 0.0
        self.by_challenger += pc.sum(pc.equal(scores["arm"], CHALLENGER)).as_py()
        declined = pc.sum(scores["declined"]).as_py() if "declined" in scores.column_names else None
        if declined is not None:
            self.declined = (self.declined or 0) + declined
        self.shadowed = self.shadowed or scores["other_pd"].null_count < scores.num_rows

    def summary(self, share: float) -> dict[str, Any]:
        """What a person reads of the day, where the challenger decides about `share` of it."""
        refused = {"refused": self.refused} if self.refused else {}
        arms = {"challenger_share": share, "decided_by_challenger": self.by_challenger}
        return {
            **refused,
            **(arms if self.shadowed and share else {}),
            **({"mean_pd": self.pd_sum / self.rows} if self.rows else {}),
            **({} if self.declined is None else {"declined": self.declined}),
            **({"approval_rate": 1 - self.declined / self.rows} if self.declined is not None and self.rows else {}),
        }
