"""The cut-off of a model: the PD above which it declines.

Belongs here: finding it by the policy, which makes it part of the model. Does not belong here: which applications it is
found by (`credit_assets.assets.cutoffs`), and what each cut-off would bring (`money`).
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from credit_assets.ml.data.policies import CutoffPolicy


def cut_off(pd: ArrayLike, policy: CutoffPolicy) -> float | None:
    """The PD above which a model declines; None where the policy has nobody declined.

    Parameters
    ----------
    pd
        What the model says of those who applied; NaN of those that it refuses, who count on neither side.
    policy
        With `approval_rate` the smallest of these PDs up to which that share of them lies, so that at least so many are
        approved, and more only where PDs are equal; `max_pd` where that is lower.

    Raises
    ------
    ValueError
        Where an approval rate is asked of no PDs.

    Examples
    --------
    >>> from credit_assets.ml.data.policies import CutoffPolicy
    >>> cut_off([0.02, 0.04, 0.04, 0.10, 0.30], CutoffPolicy(approval_rate=0.8))
    0.1
    >>> cut_off([0.02, 0.04, 0.04, 0.10, 0.30], CutoffPolicy(approval_rate=0.8, max_pd=0.05))
    0.05
    """
    if policy.approval_rate is None:
        return policy.max_pd
    known = np.asarray(pd, dtype=np.float64)
    known = np.sort(known[~np.isnan(known)])
    if not len(known):
        raise ValueError("no PDs are known of which a share could be approved")
    # A share of a count is a whole number but for rounding: .07 of 100 are seven, not eight.
    place = max(1, ceil(policy.approval_rate * len(known) - 1e-9))
    by_rate = float(known[place - 1])
    return by_rate if policy.max_pd is None else min(by_rate, policy.max_pd)
