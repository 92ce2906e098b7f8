"""Reasons of applicants: adverse ones only, each group once, in an order that the row alone decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from credit_assets.ml.data import rows as rows_module
from credit_assets.ml.data.reasons import MISSING, ReasonContract, ReasonGroup, Reasons
from credit_assets.ml.learners import VARIANTS
from credit_assets.ml.learners.candidates import train_candidate
from credit_assets.ml.learners.reason_codes import effects, in_words, reason_codes
from credit_assets.ml.learners.scorer import CreditScorer, Explained, ScoreScale
from credit_assets_tests.support.modelling import PORTFOLIO, QUICK, applications, quick_config, training_set

ALL = pytest.mark.parametrize("name", list(QUICK))
# What an ensemble adds is the mean of what its members do: seen by `test_effects_and_the_rest_are_the_score`.
DEAR = pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.slow) if one == "ensemble" else one for one in QUICK]
)
BEFORE = Path(__file__).parents[2] / "data" / "scorers"
RAW = ["income", "debt", "inquiries", "noise", "purpose", "region"]
LENDERS_OWN = PORTFOLIO.model_copy(
    update={
        "reasons": Reasons(
            groups=(
                ReasonGroup(code="MEANS", text="Income and debt", features=("income", "debt", "burden")),
                ReasonGroup(code="REGION", text="Region", features=("region",)),
            ),
            none=("purpose",),
        )
    }
)
CONTRACT = ReasonContract.of(LENDERS_OWN)


@pytest.fixture(scope="module")
def scorers() -> dict[str, CreditScorer]:
    scale = ScoreScale(base=500, odds=20, pdo=40)
    frame = training_set(3000)
    # Gaps that the train rows hardly show: a policy puts values in their place, several for a category.
    frame.loc[frame.index[::2], "purpose"] = "car"
    return {name: train_candidate(frame, name, LENDERS_OWN, quick_config(name, scale=scale)).scorer for name in QUICK}


def applicants(rows: int, seed: int = 11) -> pd.DataFrame:
    frame = applications(rows, seed)[RAW].copy()
    rng = np.random.default_rng(seed)
    for column in RAW:
        frame.loc[rng.random(rows) < 0.05, column] = None
    frame.loc[rng.random(rows) < 0.03, "region"] = "a level that is new"
    return frame


@ALL
def test_effects_and_the_rest_are_the_score(name: str, scorers: dict[str, CreditScorer]) -> None:
    scorer, frame = scorers[name], applicants(600)
    assert name == "scorecard" or any(len(meaning.values) > 1 for meaning in scorer.missing.values())
    (found,) = effects(scorer, CONTRACT, frame)
    points = found.points.sum(axis=1) + found.rest + found.reference
    np.testing.assert_allclose(points, scorer.score(frame)["score"], atol=1e-8)
    (made,) = scorer.contributions(frame)
    np.testing.assert_allclose(made.base + made.values.sum(axis=1), scorer.margin(frame), atol=1e-9)
    # What costs points is what raises the log-odds.
    large = np.abs(found.log_odds) > 1e-3
    assert (np.sign(found.points[large]) == -np.sign(found.log_odds[large])).all()


@DEAR
def test_the_contract_over_ten_thousand_applicants(
    name: str, scorers: dict[str, CreditScorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, frame = scorers[name], applicants(10_000)
    found = reason_codes(scorer, CONTRACT, frame, threads=2)
    batches = list(effects(scorer, CONTRACT, frame))
    log_odds = np.concatenate([batch.log_odds for batch in batches])
    place = {code: at for at, group in enumerate(CONTRACT.groups) for code in (group.code, group.missing_code)}
    assert {code for code in place if MISSING not in code} == {"MEANS", "REGION", "INQUIRIES", "NOISE"}
    assert len(found) == 10_000
    fewer = 0
    for row, codes in enumerate(found):
        assert codes is not None
        sizes = [log_odds[row, place[code]] for code in codes]
        assert len({place[code] for code in codes}) == len(codes) <= CONTRACT.most
        assert all(size > 0 for size in sizes)
        # The gravest first; of equals the one that stands first in the contract.
        assert all(
            a > b or (a == b and place[x] < place[y]) for (a, x), (b, y) in pairwise(zip(sizes, codes, strict=True))
        )
        assert len(codes) == min(CONTRACT.most, (log_odds[row] > 0).sum())
        fewer += len(codes) < CONTRACT.most
    assert 0 < fewer < 10_000 or name == "scorecard"
    # Of the row alone: in other company, and in batches of any size.
    monkeypatch.setattr(rows_module, "BATCH_ROWS", 173)
    backwards = frame.iloc[500:0:-1]
    assert reason_codes(scorer, CONTRACT, backwards) == found[500:0:-1]
    assert [reason_codes(scorer, CONTRACT, frame.iloc[[row]])[0] for row in range(25)] == found[:25]


@DEAR
def test_making_the_feature_of_a_reason_better_does_not_raise_the_pd(
    name: str, scorers: dict[str, CreditScorer]
) -> None:
    """A counterfactual: for whoever is given a reason, some value that others have is better, of every reason; and of
    a feature with a direction every better value is.
    """
    scorer, frame = scorers[name], applicants(400, seed=5)
    found, before = reason_codes(scorer, CONTRACT, frame), scorer.pd(frame)
    others = applicants(60, seed=6).dropna()
    groups = {"MEANS": ["income", "debt"], "REGION": ["region"], "INQUIRIES": ["inquiries"], "NOISE": ["noise"]}
    for code, columns in groups.items():
        given = np.array([codes is not None and not {code, f"{code}{MISSING}"}.isdisjoint(codes) for codes in found])
        least = np.full(len(frame), np.inf)
        for _, other in others.iterrows():
            least = np.minimum(least, scorer.pd(frame.assign(**{column: other[column] for column in columns})))
        assert given.sum() > 20 or code in ("NOISE", "REGION")
        assert (least[given] <= before[given] + 1e-12).all()
    for code, column, better in (("MEANS", "income", 4.0), ("INQUIRIES", "inquiries", 0.25)):
        given = np.array([codes is not None and code in codes for codes in found]) & frame[column].notna().to_numpy()
        after = scorer.pd(frame.assign(**{column: frame[column].astype(float) * better}))
        assert (after[given] <= before[given] + 1e-12).all()


@ALL
def test_kept_scorers_of_former_versions_give_reasons_too(name: str) -> None:
    scorer, frame = CreditScorer.load(BEFORE / name), applicants(300)
    found = reason_codes(scorer, ReasonContract.of(PORTFOLIO), frame)
    assert all(codes is not None for codes in found)
    assert "DEBT" in {code for codes in found for code in codes or ()}


def test_a_row_that_is_refused_has_no_reasons(scorers: dict[str, CreditScorer]) -> None:
    scorer = scorers["lightgbm"]
    meaning = replace(scorer.missing["income"], policy="reject")
    refusing = replace(scorer, missing={**scorer.missing, "income": meaning})
    frame = applicants(200)
    found = reason_codes(refusing, CONTRACT, frame)
    assert [codes is None for codes in found] == frame["income"].isna().tolist()
    assert reason_codes(scorer, CONTRACT, frame.iloc[:0]) == []


class Given(CreditScorer):
    """A scorer whose contributions are given."""

    def contributions(self, data: Any, *, threads: int = 1) -> Iterator[Explained]:
        del threads
        values = np.array([row["given"] for row in data])
        gone = np.array([[name in row["gone"] for name in self.features] for row in data])
        yield Explained(-2.0, values, -20 * values, gone)


def given(
    scorer: CreditScorer, rows: list[list[float]], gone: tuple[str, ...] = (), **changes: Any
) -> list[list[str] | None]:
    contract = replace(ReasonContract.of(PORTFOLIO), **changes)
    fake = Given(**{name: getattr(scorer, name) for name in scorer.__dataclass_fields__})
    return reason_codes(fake, contract, [{"given": row, "gone": gone} for row in rows])  # type: ignore[arg-type]


def test_ties_noise_and_what_is_not_adverse(scorers: dict[str, CreditScorer]) -> None:
    # income, debt, inquiries, noise, purpose, region, burden: the last is one with debt.
    scorer = scorers["xgboost"]
    even, noisy = [0.1] * 6 + [0.0], [0.1 + 1e-9, 0.1 - 1e-9, 0.1, 0.1 + 2e-9, 0.1, 0.1, 1e-10]
    assert given(scorer, [even, noisy]) == [["INCOME", "DEBT", "INQUIRIES", "NOISE"]] * 2
    assert given(scorer, [[0.0, -0.2, 1e-9, 0.0, -1.0, 0.0, 0.0]]) == [[]]
    # Two features of one reason stand against each other, and add up before they are ranked.
    assert given(scorer, [[0.0, 0.3, 0.2, 0.0, 0.0, 0.1, -0.15]]) == [["INQUIRIES", "DEBT", "REGION"]]
    assert given(scorer, [[0.4, 0.3, 0.2, 0.5, 0.0, 0.0, 0.0]], most=2) == [["NOISE", "INCOME"]]
    assert in_words(ReasonContract.of(PORTFOLIO), ["DEBT", "REGION"]) == ["Debt", "Region"]


def test_a_missing_value_is_given_as_such_with_the_reason_of_the_input_that_is_missing(
    scorers: dict[str, CreditScorer],
) -> None:
    # income, debt, inquiries, noise, purpose, region, burden, which is debt to income and goes with debt.
    scorer, income, debt = scorers["xgboost"], "INCOME-MISSING", "DEBT-MISSING"
    assert scorer.features == ("income", "debt", "inquiries", "noise", "purpose", "region", "burden")
    lacking = [0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.2]
    assert given(scorer, [lacking], ("income", "burden")) == [[income]]
    # What the missing income does to the burden is no debt.
    assert given(scorer, [[-0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.2]], ("income", "burden")) == [[income]]
    assert given(scorer, [[-0.3, 0.1, 0.0, 0.0, 0.0, 0.0, 0.2]], ("income", "burden")) == [["DEBT"]]
    # Both are missing: its own input first.
    assert given(scorer, [[0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.2]], ("income", "debt", "burden")) == [[debt, income]]
    # It cannot be computed of what is there: values that are there speak.
    assert given(scorer, [lacking], ("burden",)) == [["INCOME", "DEBT"]]
    # Part of a group is missing: what adds more.
    assert given(scorer, [[0.0, 0.3, 0.0, 0.0, 0.0, 0.0, 0.2]], ("debt",)) == [[debt]]
    assert given(scorer, [[0.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.3]], ("debt",)) == [["DEBT"]]
    assert given(scorer, [[0.0, -0.2, 0.0, 0.0, 0.0, 0.0, 0.3]], ("debt",)) == [["DEBT"]]
    # Missing, and for the applicant or without effect.
    assert given(scorer, [[-0.3, 0.0, 1e-9, 0.0, 0.0, 0.1, 0.0]], ("income", "inquiries")) == [["REGION"]]
    # No reason of the lender's own, missing or not, and none of what follows from it alone.
    own = replace(ReasonContract.of(PORTFOLIO), none=("debt", "burden"), groups=ReasonContract.of(PORTFOLIO).groups[:1])
    assert given(scorer, [lacking], ("income", "burden"), groups=own.groups, none=own.none) == [[income]]
    of_debt = tuple(
        replace_features(g, ("burden",)) if g.code == "DEBT" else g for g in ReasonContract.of(PORTFOLIO).groups
    )
    assert given(scorer, [lacking], ("debt", "burden"), groups=of_debt, none=("debt",)) == [["INCOME"]]
    # A contract of before has one code for both.
    before = tuple(group.model_copy(update={"missing_text": None}) for group in ReasonContract.of(PORTFOLIO).groups)
    assert given(scorer, [lacking], ("income", "burden"), groups=before) == [["INCOME"]]
    texts = in_words(ReasonContract.of(PORTFOLIO), [income, "INCOME"])
    assert texts == ["No information on: income", "Income"]


def replace_features(group: ReasonGroup, features: tuple[str, ...]) -> ReasonGroup:
    return group.model_copy(update={"features": features})


@DEAR
def test_nobody_whose_value_is_missing_is_told_of_the_value(name: str, scorers: dict[str, CreditScorer]) -> None:
    """Of each feature and policy: what counts as the worst case, as a neutral value, and what the model has learned."""
    scorer, contract = scorers[name], replace(ReasonContract.of(PORTFOLIO), most=10)
    frame, given = applications(300, 11)[RAW].dropna(), 0
    for column in RAW:
        for missing in (scorer.missing, {key: one for key, one in scorer.missing.items() if key != column}):
            one, lacking = replace(scorer, missing=missing), frame.assign(**{column: None})
            if column not in ("purpose", "region"):
                lacking[column] = lacking[column].astype(float)
            code = contract.code_of(column)
            (found,) = effects(one, contract, lacking)
            place = [group.code for group in contract.groups].index(str(code))
            told = [codes or () for codes in reason_codes(one, contract, lacking)]
            # Debt and what derives from it are one reason: of nothing that is there.
            assert not any(code in codes for codes in told)
            assert [f"{code}{MISSING}" in codes for codes in told] == (found.log_odds[:, place] > 0).tolist()
            given += int((found.log_odds[:, place] > 0).sum())
    assert given > 500
    new = frame.assign(region="a level that is new")
    assert not any("REGION-MISSING" in (codes or ()) for codes in reason_codes(scorer, contract, new))


def test_a_learner_that_says_nothing_gives_no_reasons(
    scorers: dict[str, CreditScorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(VARIANTS["lightgbm"]), "explains", False)
    assert not scorers["lightgbm"].explains
    with pytest.raises(ValueError, match="does not say what each feature adds"):
        reason_codes(scorers["lightgbm"], CONTRACT, applicants(3))
