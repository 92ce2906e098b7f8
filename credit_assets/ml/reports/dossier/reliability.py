"""Reliability: PDs beside outcomes part by part, and what the Brier score is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from credit_assets.ml.reports.dossier.blocks import (
    Block,
    Cell,
    Fact,
    Facts,
    Table,
    count,
    interval,
    number,
    share,
    text,
)
from credit_assets.ml.reports.dossier.material import Recorded

_COLUMNS = ("part", "loans", "defaults", "mean PD", "bad rate", "95% interval", "O/E", "95% interval ", "p (Jeffreys)")
_NOTE = (
    "O/E: observed over expected defaults. p: how likely the true rate is no higher than the mean PD; small where risk "
    "is understated. Of twenty parts of a model that is right, one has a p below .05."
)
_PARTS = {
    "brier": "Brier score, by tenth of PD",
    "reliability": "reliability: bad rates of tenths from their PDs (0 is right)",
    "resolution": "resolution: bad rates of tenths from one another",
    "uncertainty": "uncertainty: what the bad rate alone leaves",
    "within": "within tenths",
}
_NAMES = {"decile": "tenth of PD, the riskiest first", "score": "score, bands", "vintage": "month of application"}


def blocks_of_reliability(found: Recorded) -> list[Block]:
    """The facts of the Brier score, and a table for each cut."""
    brier = found["brier"]
    facts = tuple(Fact(label, number(brier[key], 5), found.source) for key, label in _PARTS.items())
    tables = [
        Table(f"PDs beside outcomes by {_NAMES.get(name, name)}", _COLUMNS, _rows(parts), (found.source,), _NOTE)
        for name, parts in found["tables"].items()
    ]
    return [Facts(facts, "Brier score = reliability - resolution + uncertainty + within"), *tables]


def _rows(parts: Sequence[Mapping[str, Any]]) -> tuple[tuple[Cell, ...], ...]:
    return tuple(_row(part, part["bad_rate"] or {}, part["observed_over_expected"] or {}) for part in parts)


def _row(part: Mapping[str, Any], rate: Mapping[str, float], ratio: Mapping[str, float]) -> tuple[Cell, ...]:
    return (
        text(part["part"]),
        count(part["rows"]),
        count(part["bads"]),
        share(part["mean_pd"], 2),
        share(rate.get("value"), 2),
        interval(rate.get("low"), rate.get("high")),
        number(ratio.get("value"), 2),
        interval(ratio.get("low"), ratio.get("high"), 2),
        # Versions of before have none.
        number(part.get("understated_p")),
    )
