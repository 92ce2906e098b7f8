"""The gate `volume`: a day's number of rows against the days before it.

Belongs here: what a day is compared with, and when it is too far from that. Does not belong here: counting
(`credit_assets.warehouse`), and all other gates of a day (`day_gates`).

A day is compared with the median of the same weekday, where the last `volume_history_days` have at least three of them,
else, or where the portfolio says `volume_compare: all_days`, with all days that had rows. Where rows are few, half of
them may be missing for weeks and no single day shows it: the sum of the last 7 days is compared too, with those of the
weeks before, and of outcomes, which are the fewest, that of the last 28.

A number is unusual where it leaves its expectation by DEVIATIONS standard deviations on the scale on which those of a
Poisson count are constant (2 sqrt(n + 3/8); Anscombe 1948), widened by the scatter that the history shows beyond that
and by what the expectation itself is uncertain, and by LEAST_RATIO at least; a large one must also be larger than any
of the history, since some books are booked once a month. That is a warning. Beyond `volume_max_ratio` a day is
rejected, where at least `volume_min_expected` rows were expected of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import sqrt
from statistics import median

from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.data.portfolio import Gates

DEVIATIONS, SPAN_DEVIATIONS = 4.0, 3.0
"""Of a day alone, and of the spans, which are what shows a loss among few rows."""
LEAST_RATIO = 1.5
"""Books grow, and the newest days are the ones that late rows are still missing from."""
APPLICATION_SPANS, OUTCOME_SPANS = (1, 7), (1, 7, 28)
"""Over how many days rows are compared."""
_FEWEST_LIKE = 3
_SPANS_BEFORE = 4
_WEEKDAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")


def history_days(limits: Gates) -> int:
    """How many days before a day the gate looks at: what it is compared with, and how much that scatters."""
    return max(limits.volume_history_days, (_SPANS_BEFORE + 1) * max(OUTCOME_SPANS))


@dataclass(frozen=True)
class _Comparison:
    """One number of rows, and the numbers it is held against."""

    rows: int
    like: Sequence[int]
    what: str
    scatter: float
    allowed: float = DEVIATIONS

    @property
    def expected(self) -> float:
        return float(median(self.like))

    @property
    def ratio(self) -> float:
        low, high = sorted((float(self.rows), self.expected))
        return high / low if low else float("inf") if high else 1.0

    @property
    def deviations(self) -> float:
        # The median of a few is about half again as uncertain as their mean.
        spread = sqrt(self.scatter * (1 + 1.5 / len(self.like)))
        return abs(_stable(self.rows) - _stable(self.expected)) / spread

    @property
    def unusual(self) -> bool:
        beyond = self.rows < self.expected or self.rows > max(self.like)
        return beyond and self.deviations > self.allowed and self.ratio >= LEAST_RATIO

    def __str__(self) -> str:
        return f"{self.rows:,} rows where {self.expected:,.6g} were expected, the median of {self.what}"


def volume_gate(
    day: date, rows: int, limits: Gates, recent: Mapping[int, int], spans: Sequence[int], *, empty_is_news: bool
) -> GateResult:
    """The gate on a day of `rows` rows.

    Parameters
    ----------
    day, rows
        The day and the number of its rows.
    limits
        The portfolio's thresholds.
    recent
        Rows of earlier days, by their ordinal; days left out had none.
    spans
        Over how many days, the day itself the last, numbers are compared; the first is 1, the day alone.
    empty_is_news
        Whether a day without rows is worth a word though few were expected.

    Examples
    --------
    >>> monday = date(2024, 3, 4)
    >>> mondays = {monday.toordinal() - 7 * week: 1000 + week for week in range(1, 5)}
    >>> volume_gate(monday, 990, Gates(), mondays, (1,), empty_is_news=True).description
    'In line with the days before: 990 rows where 1,002.5 were expected, the median of the last 4 Mondays.'
    """
    today = day.toordinal()
    # The same days whatever else is ingested with this one.
    before = {one: n for one in range(today - history_days(limits), today) if (n := recent.get(one, 0))}
    here = _of_day(day, rows, limits, before)
    made = [here, *(_of_span(today, rows, span, before) for span in spans if span > 1)]
    empty = empty_is_news and rows == 0 and not (here is not None and here.expected == 0)
    unusual = [one for one in made if one is not None and one.unusual]
    blocks = bool(
        here is not None
        and rows
        and here.unusual
        and here.ratio > limits.volume_max_ratio
        and here.expected >= limits.volume_min_expected
    )
    shown = "; ".join(map(str, unusual or filter(None, [here])))
    if empty:
        text = f"The day is empty: a valid partition without rows, if nobody applied. {shown}"
    elif unusual:
        text = f"{shown}: see whether the load was cut short or doubled."
    else:
        text = f"In line with the days before: {shown}." if shown else "No recent day to compare with."
    return GateResult(
        name="volume",
        passed=not unusual and not empty,
        severity="error" if blocks else "warn",
        value=rows,
        threshold=f"within a factor of {limits.volume_max_ratio:g} (gates: volume_max_ratio) of {here.expected:,.6g}, "
        f"the median of {here.what}; a warning beyond {DEVIATIONS:g} deviations and a factor of {LEAST_RATIO:g}"
        if here is not None
        else "at least 1 row",
        description=text.strip(),
        setting="gates: volume_compare, volume_history_days, volume_max_ratio, volume_min_expected",
    )


def _of_day(day: date, rows: int, limits: Gates, recent: Mapping[int, int]) -> _Comparison | None:
    """The day against like days; None where there is none."""
    today, first = day.toordinal(), day.toordinal() - limits.volume_history_days
    if not any(one >= first for one in recent):
        return None
    first = max(first, min(recent))
    if limits.volume_compare == "same_weekday":
        # A weekday on which nobody ever applies is expected to be empty.
        like = [recent.get(one, 0) for one in range(today - 7, first - 1, -7)]
        if len(like) >= _FEWEST_LIKE:
            return _Comparison(
                rows, like, f"the last {len(like)} {_WEEKDAYS[day.weekday()]}", _scatter(today, recent, 1)
            )
    like = [count for one in range(first, today) if (count := recent.get(one, 0))]
    what = f"{len(like)} days with rows among the last {limits.volume_history_days}"
    return _Comparison(rows, like, what, 1.0)


def _of_span(today: int, rows: int, span: int, recent: Mapping[int, int]) -> _Comparison | None:
    """The last `span` days against as many before, as often as the history goes back."""
    sums = _sums(today, span, recent) if recent else []
    if len(sums) < _FEWEST_LIKE:
        return None
    here = rows + _sum(today - 1, span - 1, recent)
    what = f"the {len(sums)} spans of {span} days before; this is that of the last {span}"
    # Of weeks: there are too few months to tell.
    return _Comparison(here, sums, what, _scatter(today, recent, 7), SPAN_DEVIATIONS)


def _sums(today: int, span: int, recent: Mapping[int, int]) -> list[int]:
    """Rows of the spans before the one that ends today, as far as the history holds whole ones."""
    begin = min(recent)
    ends = [today - span * number for number in range(1, _SPANS_BEFORE + 1)]
    return [
        sum(recent.get(one, 0) for one in range(end - span + 1, end + 1)) for end in ends if end - span + 1 >= begin
    ]


def _scatter(today: int, recent: Mapping[int, int], span: int) -> float:
    """By what the variance of the history's counts exceeds that of Poisson counts; 1 at least.

    Of the differences between a span and the one a week, or a span, before it: neither the week nor growth is in them.
    """
    begin, step = min(recent), max(span, 7)
    differences = []
    for end in range(today - 1, begin + step + span - 2, -span):
        here, before = _sum(end, span, recent), _sum(end - step, span, recent)
        differences.append((_stable(here) - _stable(before)) ** 2 / 2)
    return max(1.0, sum(differences) / len(differences)) if len(differences) >= _FEWEST_LIKE else 1.0


def _sum(end: int, span: int, recent: Mapping[int, int]) -> int:
    """Rows of the `span` days up to `end`."""
    return sum(recent.get(one, 0) for one in range(end - span + 1, end + 1))


def _stable(count: float) -> float:
    return 2 * sqrt(count + 3 / 8)
