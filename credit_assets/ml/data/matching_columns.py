"""Columns by pattern: `columns_matching` of a portfolio file, for tables of hundreds of columns that are alike.

Belongs here: the key, and which names of a table a pattern takes. Does not belong here: what a column is
(`portfolio`), and where the names of the table come from (`credit_assets.settings.matching`).

A portfolio is a contract: which columns it has must not follow from what the table happens to have on the day on which
somebody looks. So patterns are resolved once, against a list of names that is kept; from then on the columns stand
there as if each had been written down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class MatchingColumns(BaseModel):
    """Columns whose names match (`*`, `?` and `[..]`, letters as they are), each with the keys that a column may have.

    >>> MatchingColumns(names="bureau_*", type="float").keys
    {'type': 'float'}
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    names: str = Field(min_length=1)

    @property
    def keys(self) -> dict[str, Any]:
        """The keys of each of its columns."""
        return dict(self.model_extra or {})

    def matches(self, name: str) -> bool:
        return fnmatchcase(name, self.names)


def matched(
    patterns: Sequence[MatchingColumns], names: Sequence[str], explicit: set[str]
) -> dict[str, Mapping[str, Any]]:
    """The keys of each of `names` that a pattern takes, in their order; those that are `explicit` stay what they are.

    Raises ValueError naming columns that two patterns take, and patterns that take none.

    >>> patterns = [MatchingColumns(names="b_*", type="float"), MatchingColumns(names="c_?", type="category")]
    >>> matched(patterns, ["id", "b_1", "c_1", "b_2"], {"id", "b_2"})
    {'b_1': {'type': 'float'}, 'c_1': {'type': 'category'}}
    """
    taken: dict[str, Mapping[str, Any]] = {}
    found: dict[str, int] = {pattern.names: 0 for pattern in patterns}
    for name in names:
        by = [pattern for pattern in patterns if pattern.matches(name)]
        for pattern in by:
            found[pattern.names] += 1
        if name in explicit or not by:
            continue
        if len(by) > 1:
            both = " and ".join(repr(pattern.names) for pattern in by)
            raise ValueError(
                f"columns_matching: column {name!r} is matched by {both}: make the patterns exclude one another, or "
                "give the column under `columns`, which wins"
            )
        taken[name] = by[0].keys
    if nothing := [names for names, count in found.items() if not count]:
        raise ValueError(
            f"columns_matching: {', '.join(map(repr, nothing))} matches none of the {len(names):,} columns of the "
            "applications: correct the pattern (letters count as they are written), or leave it out"
        )
    return taken
