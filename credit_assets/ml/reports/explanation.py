"""Why one applicant has the score he has: as a record, and as a page for the credit officer.

Belongs here: what is said of one application and its page. Does not belong here: the reasons themselves
(`credit_assets.ml.learners.reason_codes`), and where application and model are found (`credit_assets.cli.explain`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from credit_assets.ml.learners.reason_codes import effects, in_words, reason_codes

if TYPE_CHECKING:
    import pyarrow as pa

    from credit_assets.ml.data.reasons import ReasonContract
    from credit_assets.ml.learners.scorer import CreditScorer

DECISIONS = {
    "declined": "Declined",
    "approved": "Approved",
    "refused": "Not scored",
    "none": "Scored; the model has no cut-off, and decides nothing",
}


def explanation(scorer: CreditScorer, contract: ReasonContract | None, row: pa.Table) -> dict[str, Any]:
    """What a model says of one application, and why.

    Parameters
    ----------
    scorer, contract
        The model, and its reasons; None for one that does not say what a feature adds.
    row
        The application, with what the model reads.

    Returns
    -------
    dict
        JSON types: `pd`, `score`, `cut_off`, `decision` (a key of DECISIONS), `declined`, `reasons` (codes, the gravest
        first, whether it is declined or not; None without a contract or a PD), `texts`, and `effects`: the points that
        each reason adds, the gravest first, with `reference_points`, what nobody in particular has, and `rest_points`
        of the features that are no reason. They come to the score.
    """
    scores, gaps = scorer.score_with_gaps(row)
    pd, score = float(scores["pd"].iloc[0]), float(scores["score"].iloc[0])
    refused = bool(np.isnan(pd))
    declined = None if refused or scorer.cut_off is None else pd > scorer.cut_off
    decision = "refused" if refused else "none" if declined is None else "declined" if declined else "approved"
    record: dict[str, Any] = {
        "pd": None if refused else pd,
        "score": None if refused else score,
        "cut_off": scorer.cut_off,
        "cut_off_points": None if scorer.cut_off is None else _points(scorer, scorer.cut_off),
        "decision": decision,
        "declined": declined,
        "lacks": sorted(name for name in gaps if scorer.refuses(name)),
        "reasons": None,
        "texts": None,
    }
    if contract is None or refused:
        return record
    contract = contract.covering(scorer.features)
    (codes,) = reason_codes(scorer, contract, row)
    (found,) = effects(scorer, contract, row)
    order = np.argsort(-found.log_odds[0], kind="stable")
    groups = [contract.groups[at] for at in order]
    by_missing = found.missing[0, order]
    shown = [group.missing_code if gone else group.code for group, gone in zip(groups, by_missing, strict=True)]
    return {
        **record,
        "reasons": codes,
        "texts": in_words(contract, codes or ()),
        "effects": [
            {"code": code, "text": contract.text_of(code), "points": float(found.points[0, at])}
            for code, at in zip(shown, order, strict=True)
        ],
        "rest": list(contract.none),
        "rest_points": float(found.rest[0]),
        "reference_points": found.reference,
    }


def officer_page(record: dict[str, Any]) -> str:
    """The page of one applicant, whole in itself: the decision, and the reasons as the customer reads them.

    `record` is an `explanation`, with `application_id`, `day`, `version`, `variant`, `portfolio`, `as_recorded` and
    `contract` beside it.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("credit_assets.ml.reports"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = record.get("effects", [])
    largest = max((abs(one["points"]) for one in shown), default=0.0) or 1.0
    text: str = environment.get_template("officer_page.html").render(
        record=record, decision=DECISIONS[record["decision"]], effects=shown, largest=largest
    )
    return text


def _points(scorer: CreditScorer, pd: float) -> float:
    return float(scorer.scale.points(np.log(pd / (1 - pd))))
