"""Which runs of a Dagster instance are a portfolio's, where several share it.

Belongs here: telling and finding them. Does not belong here: what a portfolio's names are (`credit_assets.naming`), and
which code location a run belongs to, which Dagster knows of all but those that a command made in its own process.

Runs of a job carry the portfolio's name as a tag. What somebody starts on an asset's page, or a backfill, has no tag of
ours, but the keys that it makes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import dagster as dg

from credit_assets.naming import Names
from credit_assets.tags import PORTFOLIO_TAG

if TYPE_CHECKING:
    from credit_assets.instance.embedded_reads import Readable

_PAGE = 100


def is_own(naming: Names, run: dg.DagsterRun) -> bool:
    """Whether a run is this portfolio's."""
    if (portfolio := run.tags.get(PORTFOLIO_TAG)) is not None:
        return portfolio == naming.portfolio
    keys = [*(run.asset_selection or ()), *(one.asset_key for one in run.asset_check_selection or ())]
    if keys:
        return any(naming.holds(key.path) for key in keys)
    # Of before runs had the tag, when all names were plain.
    return not naming.prefix or naming.plain(run.job_name) != run.job_name


def own_runs(instance: Readable, naming: Names, limit: int, wanted: dg.RunsFilter | None = None) -> list[dg.DagsterRun]:
    """This portfolio's newest runs, newest first, at most so many."""
    return list(islice(filter(lambda run: is_own(naming, run), _newest(instance, wanted)), limit))


def _newest(instance: Readable, wanted: dg.RunsFilter | None) -> Iterator[dg.DagsterRun]:
    last: str | None = None
    while page := instance.get_runs(wanted, cursor=last, limit=_PAGE):
        yield from page
        last = page[-1].run_id
