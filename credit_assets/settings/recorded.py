"""The settings as they were when something was made: those of today, with what was recorded in their place.

Belongs here: putting a recorded portfolio, policy and settings over the ones in force, in memory alone. Does not belong
here: recording them, and what is made again with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from credit_assets.settings.policies import OVERRIDES

if TYPE_CHECKING:
    from credit_assets.ml.data.policies import Policy
    from credit_assets.ml.data.portfolio import Portfolio
    from credit_assets.settings import Settings

_OF_PORTFOLIO = ("portfolio_contract", "window_days")
"""What settings have worked out of their portfolio, which another one has to be worked out of anew."""


def as_recorded(settings: Settings, portfolio: Portfolio, policy: Policy | None, **recorded: Any) -> Settings:
    """A copy of the settings with another portfolio, policy (None: the one in force) and single settings.

    Places and names stay those of today: what is made again is read from the same store.
    """
    from credit_assets.settings.policies import policy_of

    # Worked out before the portfolio is another one.
    assert settings.store
    assert settings.experiment_name
    in_force = policy_of(settings)
    copy = settings.model_copy(update={**dict.fromkeys(OVERRIDES), **recorded})
    for name in _OF_PORTFOLIO:
        copy.__dict__.pop(name, None)
    copy.__dict__["portfolio_contract"] = portfolio.model_copy(update={"policy": policy or in_force})
    return copy
