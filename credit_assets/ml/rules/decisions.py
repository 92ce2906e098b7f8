"""Decisions: what one is, with every reason, and whether a registered model takes over.

Belongs here: pure rules on recorded evidence. Does not belong here: whether a model is registered (`model_rules`),
measuring (`evaluation`), the checks on data (`gates` and where they are made), and doing what was decided. No clock, no
file, no registry: the same record decides the same way for ever, so that a validator can judge a decision again from
its evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal, get_args

from credit_assets.ml.data.html_tables import HtmlTable, ShownAsTable

Promotion = Literal["immediate", "shadow", "manual"]
_GATE, _FEW = "gate ", 4
_SHOWN = {
    "min_auc", "champion", "improvement", "left_columns", "non_inferiority", "non_inferiority_first", "recalibration",
    "moved", "moved_first", "age", "condition", "correlation", "mean_pd", "performance", "policy",
}  # fmt: skip
"""Rules whose reasons say what a decision is about: skill, what it was held against, and who lets it take over."""


@dataclass(frozen=True)
class Reason:
    """One rule and what it found. `passed` means that this rule does not stand against the decision's subject."""

    rule: str
    passed: bool
    value: float | int | str | None
    threshold: float | int | str | None
    text: str

    def to_record(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Reason:
        """Restore what `to_record` gave. Raises ValueError for other keys."""
        if set(record) != set(cls.__dataclass_fields__):
            raise ValueError(f"not the record of a reason: {sorted(record)}")
        return cls(**record)


@dataclass(frozen=True)
class Decision(ShownAsTable):
    """Accepted when every reason passed."""

    accepted: bool
    reasons: tuple[Reason, ...]

    @classmethod
    def of(cls, reasons: Sequence[Reason]) -> Decision:
        return cls(all(reason.passed for reason in reasons), tuple(reasons))

    def summary(self) -> str:
        """One line: the reasons that stand against it. Where none does, how many gates and rules passed, and those by
        which one tells what was decided; all of a few.
        """
        if against := [reason.text for reason in self.reasons if not reason.passed]:
            return "; ".join(against)
        if len(self.reasons) <= _FEW:
            return "; ".join(reason.text for reason in self.reasons)
        gates = sum(reason.rule.startswith(_GATE) for reason in self.reasons)
        rules = len(self.reasons) - gates
        counted = [f"{number} {name}" for number, name in ((gates, "gates"), (rules, "rules")) if number]
        shown = [reason.text for reason in self.reasons if reason.rule in _SHOWN or _warns(reason)]
        return "; ".join([f"{' and '.join(counted)} passed", *shown])

    def html_tables(self) -> Iterable[HtmlTable]:
        rows = [(one.rule, one.passed, one.value, one.threshold, one.text) for one in self.reasons]
        caption = "accepted" if self.accepted else "not accepted"
        yield HtmlTable(caption, ("rule", "passed", "value", "allowed", "what it says"), rows)


def _warns(reason: Reason) -> bool:
    """Whether it is of a gate that failed and stops nothing."""
    return reason.rule.startswith(_GATE) and reason.text != f"{reason.rule} passed"


def summary_of(reasons: Iterable[Mapping[str, Any]]) -> str:
    """The summary of a decision, from the records of its reasons."""
    return Decision.of([Reason.from_record(reason) for reason in reasons]).summary()


@dataclass(frozen=True)
class ChampionDates:
    """As-of dates of the champions: of the newest that there has been, and of the one in force; None while there was
    none. The second is the older one while a rollback is in force.
    """

    newest: date | None = None
    in_force: date | None = None


def decide_promotion(
    policy: Promotion,
    *,
    as_of: date,
    standing: ChampionDates,
    accepted: bool,
    takeover: Sequence[Reason] = (),
    compared: Sequence[Reason] = (),
) -> Decision:
    """Whether the version of `as_of` becomes champion at once.

    A version with an older as-of date than a champion that there has been never takes over, whatever the policy: a
    backfill of last year must not decide about today's applicants. The same as-of date may, so that a day can be run
    again, but not while a rollback is in force: only a newer model ends that. "shadow" promotes the first model, which
    has nothing to run beside, and gives any other a trial; "manual" promotes nothing here. Whatever the policy, the
    newest days must look to the model like those that it was tested on, and its skill must be none that a person has to
    look at (`takeover`); and the champion that it takes over from must be the one that it was held against
    (`compared`): days that are trained at once all meet the champion of before.

    Parameters
    ----------
    policy
        How a registered model becomes champion.
    as_of, accepted
        The version's as-of date, and whether it was registered.
    standing
        The champions that there have been.
    takeover
        What `first_days.decide_first_days` and `leak_rules.judge_leaks` say of the version.
    compared
        What `chains.judged_against` says of it.

    Returns
    -------
    Decision
        With every reason.

    Raises
    ------
    ValueError
        For an unknown policy.

    Examples
    --------
    >>> first = decide_promotion("shadow", as_of=date(2024, 3, 31), standing=ChampionDates(), accepted=True)
    >>> champion = ChampionDates(newest=date(2024, 6, 30), in_force=date(2024, 6, 30))
    >>> older = decide_promotion("immediate", as_of=date(2024, 3, 31), standing=champion, accepted=True)
    >>> first.accepted, older.summary()
    (True, "as-of date 2024-03-31 is older than the champion's, 2024-06-30: an older model replaces no newer one")
    """
    if policy not in get_args(Promotion):
        raise ValueError(f"unknown promotion policy {policy!r}; known: {', '.join(get_args(Promotion))}")
    first = standing.newest is None
    texts = {
        "immediate": "promotion is immediate",
        "shadow": "promotion is by shadow, and there is no champion yet to run beside"
        if first
        else "promotion is by shadow: the version scores beside the champion first and decides nothing",
        "manual": "promotion is manual: a person approves the version, with a reason",
    }
    return Decision.of(
        [
            Reason(
                "registered",
                accepted,
                "registered" if accepted else "rejected",
                "registered",
                "the model was registered"
                if accepted
                else "the model was not registered, so there is nothing to promote",
            ),
            newer(as_of, standing),
            *compared,
            *takeover,
            Reason(
                "policy", policy == "immediate" or (policy == "shadow" and first), policy, "immediate", texts[policy]
            ),
        ]
    )


def newer(as_of: date, standing: ChampionDates) -> Reason:
    """Whether a version of `as_of` may take over from the champions that there have been."""
    rule, value = "as_of", as_of.isoformat()
    if standing.newest is None:
        return Reason(rule, True, value, None, "there has been no champion yet")
    newest = standing.newest.isoformat()
    if as_of < standing.newest:
        return Reason(
            rule,
            False,
            value,
            newest,
            f"as-of date {value} is older than the champion's, {newest}: an older model replaces no newer one",
        )
    if as_of == standing.newest and standing.in_force is not None and standing.in_force < as_of:
        return Reason(
            rule,
            False,
            value,
            newest,
            f"the champion of as-of date {newest} was rolled back: only a newer model takes over",
        )
    return Reason(rule, True, value, newest, f"as-of date {value} is not older than the champion's, {newest}")
