"""The search of a version's hyper-parameters, made again trial by trial.

Belongs here: holding the trials that were kept, their order of drawing and what was chosen of them against what comes
today. Does not belong here: the search (`credit_assets.ml.learners.search`), keeping its trials (`searching`), and
training with what it found (`made_again`).

Each trial is drawn again from those kept before it and tried again with the parameters that were kept: what comes out
otherwise is named by its number, and makes no later trial another one. The model is trained with what was recorded as
found, whatever comes of that: that its bytes are the same and that its parameters follow from a search are two things.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from credit_assets.assets.made_again import config_of
from credit_assets.assets.recorded_version import NEW, RecordedVersion
from credit_assets.assets.searching import Trials, content_of, made_by
from credit_assets.failures import PermanentError
from credit_assets.ml.reports.reproduction import rounds_otherwise

if TYPE_CHECKING:
    from credit_assets.ml.learners.search import SearchTrial

TOLERANCE = 1e-5
"""Largest difference of a log loss where the machine, a library or the number of threads is another one."""
_SEARCH: Final = "search"


def search_again(of: RecordedVersion) -> str | None:
    """Make the trials of a version's search again and enter what differs; how it came out, in words, None without."""
    from credit_assets.ml.learners.search import chosen, installed, trials_again

    made = of.made.get(_SEARCH)
    if not made:
        return None
    if "searched" not in made:
        text = f"its {made['trials']} trials are not made again: which parameters were searched was not kept"
        of.differs("not kept", _SEARCH, f"{text}; trained with those that they found", NEW)
        return "not made again"
    kept = _kept(of, made)
    if kept is None:
        return "not made again"
    if not installed():
        of.differs("cannot", _SEARCH, "optuna is not installed here", "pip install 'credit-assets[search]'")
        return "not made again"
    drawn_by = _drawn_by(of)
    assert of.training_set is not None
    # Before anything was found: the identity has the defaults and what was set by hand.
    config = config_of(of, {})
    again = trials_again(of.training_set, of.version.variant, of.portfolio, config, made["searched"], kept)
    drawn, tried = _other(kept, again, TOLERANCE if rounds_otherwise(of.found) else 0.0)
    if drawn and drawn_by:
        of.differs("library", "optuna", f"trials {_numbers(drawn)} are drawn otherwise by the one that is here")
    elif drawn:
        text = f"trials {_numbers(drawn)} are drawn otherwise from those before them than was recorded"
        of.differs(_SEARCH, "trials", text, "see what else differs")
    if tried:
        text = f"trials {_numbers(tried)} come to another log loss than was recorded"
        of.differs(_SEARCH, "trials", text, "see what else differs")
    found = chosen(tuple(kept))
    if dict(found.params) != made["params"]:
        text = (
            f"{made['params'] or 'the defaults'} were recorded, and its trials give {dict(found.params)}: {found.why}"
        )
        of.differs(_SEARCH, "choice", text, "see what else differs")
    if drawn or tried or dict(found.params) != made["params"]:
        return "another one"
    return f"the same: {len(kept)} trials drawn and tried again, {found.why}"


def _kept(of: RecordedVersion, made: Mapping[str, Any]) -> Sequence[SearchTrial] | None:
    """The trials as they were recorded; None, and why, where they are not there."""
    try:
        kept = Trials(of.store, of.version.fingerprint, None).load()
    except PermanentError as error:
        of.differs("cannot", _SEARCH, f"{error}", "bring the file back from a backup")
        return None
    if len(kept) < made["trials"]:
        text = f"{len(kept)} of its {made['trials']} trials are in the store"
        of.differs("cannot", _SEARCH, text, "bring the folder `searches` back from a backup")
        return None
    kept = kept[: made["trials"]]
    if content_of(kept) != made["content"]:
        of.differs("kept", "trials", "have not the recorded content: they were edited", "bring them back from a backup")
    return kept


def _drawn_by(of: RecordedVersion) -> bool:
    """Enter what draws and judges trials otherwise here; whether optuna is another one."""
    then, now = of.made["identity"][_SEARCH], made_by()
    if then["code"] != now["code"]:
        of.differs("code", "credit_assets.ml.learners.search", "is another one here", "compare the two releases there")
    if then["optuna"] != now["optuna"]:
        of.differs("library", "optuna", f"{then['optuna']} then, {now['optuna']} here")
    return bool(then["optuna"] != now["optuna"])


def _other(kept: Sequence[SearchTrial], again: Iterator[SearchTrial], tolerance: float) -> tuple[list[int], list[int]]:
    """The numbers of the trials that are drawn otherwise, and of those that come to other losses."""
    drawn, tried = [], []
    for number, (then, now) in enumerate(zip(kept, again, strict=True), 1):
        if dict(then.params) != dict(now.params):
            drawn.append(number)
        same = len(then.losses) == len(now.losses) and all(
            math.isclose(a, b, rel_tol=0, abs_tol=tolerance) for a, b in zip(then.losses, now.losses, strict=True)
        )
        if not same:
            tried.append(number)
    return drawn, tried


def _numbers(of: Sequence[int]) -> str:
    return ", ".join(map(str, of[:8])) + (f" and {len(of) - 8} more" if len(of) > 8 else "")
