"""The door by which MLflow loads a registered model: every version carries this module's name, so that it stays.

Belongs here: what MLflow calls. Does not belong here: the scorer itself (`credit_assets.ml.learners.scorer`), the rules
of a request (`credit_assets.ml.data.request_rules`), and what knows MLflow (`credit_assets.tracking.serving`).
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from credit_assets.ml.data.reasons import ReasonContract
from credit_assets.ml.data.request_rules import CheckedRequest, RequestError, RequestRules
from credit_assets.ml.data.rows import Rows, batch_rows
from credit_assets.ml.learners.reason_codes import in_words, reason_codes
from credit_assets.ml.learners.scorer import CreditScorer

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from pandas import DataFrame, Series

WARNINGS = "warnings"
EXPLAIN = "explain"
DECLINED, REASONS, REASON_TEXTS = "declined", "reasons", "reason_texts"
COUNTS_AS = {"worst_case": "missing, and counts as the worst case", "allowed": "missing, and counts as a neutral value"}
_SERVING = "credit_assets.tracking.serving"


class ScoringError(RuntimeError):
    """A fault of the program: what kind and where. The library's own words are left out, which may quote a value."""

    def __init__(self, error: Exception) -> None:
        place = traceback.extract_tb(error.__traceback__)[-1]
        super().__init__(
            f"the rows could not be scored: {type(error).__name__} in {Path(place.filename).name}, line {place.lineno}"
        )


class ScoringModel:
    """The scorer as MLflow serves it: a request's rows in, PD and points out, held against the rules it was saved with.

    `rules` are None for a model that was saved without: values must be of the type of their column, and no more;
    `reasons` where it gives none.
    """

    def __init__(
        self, scorer: CreditScorer, rules: RequestRules | None = None, reasons: ReasonContract | None = None
    ) -> None:
        self.scorer = scorer
        self.reasons = reasons.covering(scorer.features) if reasons is not None and scorer.explains else None
        self.rules = rules or RequestRules.of_types(scorer.inputs, scorer.categories)

    def predict(
        self,
        model_input: Any,
        params: Mapping[str, Any] | None = None,
    ) -> DataFrame:
        """PD and points of each row, and `warnings`: text where a rule was broken that does not refuse the row, else
        None. A model that was saved without rules gives PD and points alone.

        With the parameter `explain: true` also whether the model's cut-off declines the row (`declined`, None without
        one), and what speaks against it whether or not: `reasons`, codes with the gravest first, as the pipeline gives
        them, and `reason_texts`, the same as an applicant reads it.

        `model_input` is a frame, an Arrow table, or what a frame can be made from (a list of records). Of its columns
        those of the scorer's `inputs` are read, in any order; derived features are always computed. The index of a
        frame stays. No rows give an empty frame.

        Raises RequestError, a ValueError, naming column, rule, count and place of the rows at fault, and ScoringError
        for whatever else goes wrong. Neither holds a value, and neither shows an exception that does.
        """
        try:
            return self._scores(model_input, explain=self._explains(params))
        except RequestError:
            raise
        except Exception as error:
            raise ScoringError(error) from None

    def _explains(self, params: Mapping[str, Any] | None) -> bool:
        explain = (params or {}).get(EXPLAIN, False)
        if not isinstance(explain, bool):
            raise RequestError(f"the parameter {EXPLAIN} is true or false")
        if explain and self.reasons is None:
            raise RequestError(
                "this version gives no reasons: it was registered without them, or its learner does not say what each "
                f"feature adds; leave {EXPLAIN} out"
            )
        return explain

    def _reasons(self, rows: Rows) -> dict[str, list[Any]]:
        """Codes and texts of the reasons of each row."""
        assert self.reasons is not None
        contract, codes = self.reasons, reason_codes(self.scorer, self.reasons, rows)
        return {REASONS: codes, REASON_TEXTS: [None if one is None else in_words(contract, one) for one in codes]}

    def _scores(self, model_input: Any, *, explain: bool) -> DataFrame:
        import numpy as np
        from pandas import DataFrame, Series, concat

        data = _table(model_input)
        given = self._given(data)
        request, scores, warnings = CheckedRequest(self.rules, self.scorer.categories), [], []
        # One batch of no rows where there are none.
        most = batch_rows(len(given))
        for begin in range(0, max(len(data), 1), most):
            rows = min(most, len(data) - begin)
            batch = {name: _slice(values, begin, rows) for name, values in given.items()}
            columns, warned = request.read(batch, rows)
            # All that is wrong with a request is told at once, and what it lacks shows as it is scored.
            if request.refusal is None or any(map(self.scorer.refuses, self.scorer.missing)):
                scored, gaps = self.scorer.score_with_gaps(Rows.of_columns(columns))
                request.refuse({name: missing for name, missing in gaps.items() if self.scorer.refuses(name)})
                if explain and request.refusal is None:
                    declined = self.scorer.declined(scored["pd"])
                    scored[DECLINED] = np.full(rows, None) if declined is None else declined.astype(object)
                    for name, values in self._reasons(Rows.of_columns(columns)).items():
                        scored[name] = Series(values, dtype=object, index=scored.index)
                scores.append(scored)
                warnings.append(self._with_gaps(np.full(rows, None, object) if warned is None else warned, gaps))
        if request.refusal is not None:
            raise request.refusal
        result = scores[0] if len(scores) == 1 else concat(scores, ignore_index=True)
        if self.rules.recorded:
            result[WARNINGS] = np.concatenate(warnings)
        if isinstance(data, DataFrame):
            result.index = data.index
        return result

    def _with_gaps(self, warnings: NDArray[np.object_], gaps: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.object_]:
        """With a word on what stands in the place of a missing value."""
        for name, missing in gaps.items():
            meaning = self.scorer.missing[name]
            if meaning.policy in COUNTS_AS and meaning.values:
                text = f"{name}: {COUNTS_AS[meaning.policy]}"
                warnings[missing] = [text if earlier is None else f"{earlier}; {text}" for earlier in warnings[missing]]
        return warnings

    def _given(self, data: DataFrame | pa.Table) -> dict[str, Any]:
        """The columns of the data that the model reads."""
        from pandas import DataFrame

        wanted = [column.name for column in self.rules.columns]
        times = Counter(data.columns if isinstance(data, DataFrame) else data.column_names)
        twice = [name for name in wanted if times[name] > 1]
        if twice:
            raise RequestError(f"columns are given more than once: {', '.join(twice)}")
        given = {name: data[name] for name in wanted if times[name]}
        # The only row of a file without a header is its header.
        if not given and (len(data) or times):
            raise RequestError(
                f"none of the model's columns is among those given; it reads {', '.join(wanted)}, each by its name"
            )
        return given


def _table(data: Any) -> DataFrame | pa.Table:
    from pandas import DataFrame
    from pyarrow import Table

    if isinstance(data, DataFrame | Table):
        return data
    if isinstance(data, Mapping) and not any(hasattr(v, "__len__") and not isinstance(v, str) for v in data.values()):
        data = [data]
    try:
        return DataFrame(data)
    except Exception:
        raise RequestError(
            f"a {type(data).__name__} that no table can be made from: give a frame, a table, or a list of records"
        ) from None


def _slice(values: Series[Any] | pa.ChunkedArray, begin: int, rows: int) -> Any:
    from pyarrow import ChunkedArray

    return values.slice(begin, rows) if isinstance(values, ChunkedArray) else values.iloc[begin : begin + rows]


def _load_pyfunc(path: str) -> ScoringModel:
    """MLflow's hook: the model flavor `python_function` with this module as its loader calls it with the folder."""
    # By its name, as MLflow finds this module: what knows MLflow lies above `ml`, where nothing of it may be imported.
    serving = import_module(_SERVING)
    serving.read_requests()
    serving.refuse_other_files(Path(path))
    return ScoringModel(CreditScorer.load(path), RequestRules.load(path), ReasonContract.load(path))
