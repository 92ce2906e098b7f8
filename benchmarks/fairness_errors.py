"""How often the rules on fairness speak where nothing is wrong, and how often they miss what was planted.

Run: `python -m benchmarks.fairness_errors` (a minute of CPU), or with `quick`. Belongs here: books whose truth is known
and the tables of docs/fairness.md. Does not belong here: the measures and the rules themselves.

A group stands beside a reference group four times its size. Points are normal, the cut-off approves 80% of the
reference group, a tenth of all loans is bad; who applied is who was lent to.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from credit_assets.ml.data.fairness import Attribute, Fairness
from credit_assets.ml.evidence.fairness import MISSING, FairnessSample, Groups, groups_of_values, measure_attribute
from credit_assets.ml.evidence.protected_association import measure_association
from credit_assets.ml.rules.fairness_rules import judge_fairness

SIZES = (100, 300, 1_000, 3_000, 10_000)
LIMITS = ("min_air", "max_smd", "max_opportunity_difference", "max_calibration_ratio")
RULES: tuple[Literal["significant", "point"], ...] = ("significant", "point")
SHARE, BAD_RATE = 0.8, 0.1
ATTRIBUTE = Attribute(column="group", reference="reference")


@dataclass(frozen=True)
class Planted:
    """What is wrong with the group: `lower` points, in standard deviations; `bads` for each that is expected; `air`,
    the ratio of approvals, which are dealt out at random beside the points.
    """

    name: str
    lower: float = 0.0
    bads: float = 1.0
    air: float | None = None


NOTHING = Planted("nothing")
PLANTED = (
    NOTHING,
    Planted("approved .85 times as often, which is allowed", air=0.85),
    Planted("approved .75 times as often", air=0.75),
    Planted("approved .70 times as often", air=0.70),
    Planted("approved .60 times as often", air=0.60),
    Planted("points half a deviation lower", lower=0.5),
    Planted("1.5 times the expected defaults", bads=1.5),
    Planted("twice the expected defaults", bads=2.0),
)


def spoken(planted: Planted, size: int, rng: np.random.Generator) -> dict[str, set[str]]:
    """By rule, the limits that are said to be passed in one book."""
    rows = 5 * size
    place = np.repeat([0, 1], [size, 4 * size])
    points = rng.normal(size=rows) - planted.lower * (place == 0)
    risk = 1 / (1 + np.exp(0.8 * points + 2.5))
    pd = risk * BAD_RATE / risk.mean()
    truth = np.minimum(1.0, np.where(place == 0, planted.bads, 1.0) * pd)
    bad = rng.random(rows) < truth
    shown = pd
    if planted.air is not None:
        # Approvals by chance alone: what is measured is their ratio.
        share = np.where(place == 0, planted.air, 1.0) * SHARE
        shown = np.where(rng.random(rows) < share, 0.05, 0.5)
        cut = 0.1
    else:
        cut = float(np.quantile(pd[place == 1], SHARE))
    groups, found = Groups(("group", "reference", MISSING), place), dict[str, set[str]]()
    sides = (groups, FairnessSample(shown, points)), (groups, FairnessSample(pd, points, bad))
    measured = measure_attribute(ATTRIBUTE, Fairness(), *sides, cut)
    for rule in RULES:
        limits = Fairness(disparity="block", rule=rule).model_dump(mode="json")
        evidence = {"limits": limits, "attributes": [measured], "association": [], "indicative": False}
        text = " ".join(reason.text for reason in judge_fairness(evidence) if not reason.passed)
        found[rule] = {limit for limit in LIMITS if f"fairness: {limit})" in text}
    return found


def disparities(repeats: int, sizes: Sequence[int] = SIZES) -> list[dict[str, Any]]:
    """By what is planted, rule and size, how often each limit speaks; of nothing five times as many books."""
    found = []
    for planted in PLANTED:
        books = 5 * repeats if planted is NOTHING else repeats
        for size in sizes:
            rng = np.random.default_rng([size, len(planted.name)])
            said = [spoken(planted, size, rng) for _ in range(books)]
            for rule in RULES:
                shares = {limit: sum(limit in one[rule] for one in said) / books for limit in LIMITS}
                shares["any"] = sum(bool(one[rule]) for one in said) / books
                found.append({"planted": planted.name, "rule": rule, "size": size, **shares})
    return found


FEATURES: Mapping[str, float | None] = {
    "nothing of the age": None,
    "correlated with it by .3": 0.3,
    "by .5": 0.5,
    "by .7": 0.7,
    "by .8": 0.8,
    "by .9, six years of noise": 0.9,
    "by .95": 0.95,
    "the age itself": 1.0,
}


def associations(repeats: int, sizes: Sequence[int] = (400, 1_000, 5_000)) -> list[dict[str, Any]]:
    """By how far a feature goes with an age, how often it is told as a stand-in."""
    import pyarrow as pa

    found = []
    for name, correlation in FEATURES.items():
        for rows in sizes:
            rng, told = np.random.default_rng([rows, len(name)]), 0
            for _ in range(repeats):
                age, noise = rng.normal(size=rows), rng.normal(size=rows)
                r = correlation or 0.0
                values = pa.table({"x": r * age + np.sqrt(1 - r**2) * noise})
                groups = groups_of_values(Attribute(column="age"), pa.array(age), pa.chunked_array([[None] * rows]))
                one = measure_association(values, ["x"], {"age": groups}, 100)
                told += bool(one and one[0]["near"] > Fairness().max_association)
            found.append({"feature": name, "rows": rows, "told": told / repeats})
    return found


def markdown(found: Sequence[Mapping[str, Any]], stand_ins: Sequence[Mapping[str, Any]]) -> str:
    sizes = sorted({one["size"] for one in found})
    heads = " | ".join(f"{size:,}" for size in sizes)
    lines = [
        f"| planted | limit | rule | {heads} |",
        f"|---|---|---|{'---:|' * len(sizes)}",
    ]
    for planted in PLANTED:
        for limit in (*LIMITS, "any"):
            for rule in RULES:
                shares = {
                    one["size"]: one[limit] for one in found if one["planted"] == planted.name and one["rule"] == rule
                }
                # Of what is planted, the limits that it is about, by the default rule.
                if planted is NOTHING or (rule == "significant" and limit != "any" and max(shares.values()) >= 0.25):
                    cells = " | ".join(f"{100 * shares[size]:.1f}%" for size in sizes)
                    lines.append(f"| {planted.name} | {limit} | {rule} | {cells} |")
    rows = sorted({one["rows"] for one in stand_ins})
    lines += ["", f"| a feature that tells | {' | '.join(f'{n:,}' for n in rows)} |", f"|---|{'---:|' * len(rows)}"]
    for name in FEATURES:
        told = [f"{100 * one['told']:.1f}%" for one in stand_ins if one["feature"] == name]
        lines.append(f"| {name} | {' | '.join(told)} |")
    return "\n".join(lines)


def main(quick: bool) -> str:
    few = 10 if quick else 60
    sizes = SIZES[:2] if quick else SIZES
    return markdown(disparities(few, sizes), associations(few // 2, (400,) if quick else (400, 1_000, 5_000)))


if __name__ == "__main__":
    print(main("quick" in sys.argv[1:]))
