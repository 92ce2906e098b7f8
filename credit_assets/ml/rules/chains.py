"""Chains of refreshes: which model the ones after it were only shown not to be worse than.

Belongs here: how a champion came to be registered, and the first of its chain. Does not belong here: where versions are
kept (`credit_assets.ledger.registry`) and how far a refresh may fall short (`comparison_rules`).

Each of twelve refreshes may be a little worse than the one before without any being shown so, and the twelfth be worse
by all of it. So a refresh is held against the first of its chain as well: the newest model among the champion and those
that it goes back to by refreshes which was registered for being better, or as the first of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from credit_assets.ml.rules.decisions import Reason

SHOWN, COMPARED_WITH = "shown", "compared_with"
"""Tags of a version: how it was registered, and the number of the champion that it was held against, or NONE."""
NONE = "none"
FIRST, BETTER, NOT_WORSE = "first", "better", "not_worse"
"""How: as the first of all; shown to be better than the champion; shown not to be worse."""


def how_shown(reasons: Iterable[Reason]) -> str:
    """How a model was registered, by the reasons that let it pass.

    What was better as measured alone, by a policy that asks for no more, or is a recalibration of the champion, goes on
    with the champion's chain.
    """
    passed = {reason.rule: reason.value for reason in reasons if reason.passed}
    low = passed.get("shown_better")
    if isinstance(low, float | int) and low > 0:
        return BETTER
    return FIRST if "champion" in passed else NOT_WORSE


def judged_against(compared_with: str, champion: str | None) -> Reason:
    """Whether a version was held against the champion that it would take over from, both by number, NONE and None where
    there is none: that it is better than another one says nothing.
    """
    same = compared_with == (champion or NONE)
    was = "no champion, as the first" if compared_with == NONE else f"champion version {compared_with}"
    if same:
        text = f"the model was held against {was}, as it stands"
    else:
        text = (
            f"the model was held against {was}, and version {champion or NONE} is in force since: nothing says that "
            "it is better; a training as of a later day is held against it"
        )
    return Reason(COMPARED_WITH, same, compared_with, champion or NONE, text)


def first_of_chain(version: str, tags: Mapping[str, Mapping[str, str]]) -> str:
    """The first model of the chain that a version belongs to: itself, where it was not registered as a refresh.

    Parameters
    ----------
    version
        Number of a version.
    tags
        The tags of all versions. One without them was registered before they were written: nothing says what it was
        held against, and its chain begins with it. So does that of a version whose predecessor is gone.

    Examples
    --------
    >>> tags = {"1": {"shown": "first"}, "2": {"shown": "better", "compared_with": "1"}}
    >>> tags |= {number: {"shown": "not_worse", "compared_with": f"{int(number) - 1}"} for number in ("3", "4")}
    >>> first_of_chain("4", tags), first_of_chain("1", tags)
    ('2', '1')
    """
    seen = {version}
    while (own := tags.get(version, {})).get(SHOWN, FIRST) not in (FIRST, BETTER):
        before = own.get(COMPARED_WITH, NONE)
        if before not in tags or before in seen:
            break
        seen.add(before)
        version = before
    return version
