"""Every name that carries the portfolio: the one place that says what of a portfolio is called how.

Belongs here: prefixes of asset keys, jobs, sensors, schedules and pools; registered model, experiment, folders. Does
not belong here: the plain names themselves (`stages`, `automation`), settings that name something else (`settings`),
and whether a name is somebody else's already (`credit_assets.instance.ownership`).

The packaged portfolio has the plain names. Any other has its own, all from one word, the prefix: its name where that is
lower case letters, digits and `_`, else that spelling of it and a hash of the name. So names that differ in case, or by
`.`, `-` and `_` alone, share nothing, whatever tells fewer letters apart: Dagster's names have no `.`, some file
systems and databases no case.

>>> Names("consumer_loans").asset("loan_scores"), Names("cards").asset("loan_scores")
(('loan_scores',), ('cards', 'loan_scores'))
>>> Names("cards").dagster("retrain_model"), Names("cards").registered_model, Names("Cards").prefix
('cards_retrain_model', 'credit-scorer-cards', 'cards_a52fcbbc')
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256

PACKAGED = "consumer_loans"
MODEL, EXPERIMENT = "credit-scorer", "credit_scoring"
FOLDER = "portfolios"
"""Under a store or a home, the folder in which each portfolio but the packaged one has its own."""
ALIASES = "model_aliases"
"""Asset keys `model_aliases/<alias>`: the only ones of two parts that have no portfolio before them."""

_HASH = 8
# Long enough for every service: a label of Kubernetes has 63 characters.
_LONGEST = 63
_PLAIN = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Names:
    """The names of a portfolio. `bare`: the plain ones whatever its name, as versions before this had them."""

    portfolio: str
    bare: bool = False
    shared_pools: frozenset[str] = field(default_factory=frozenset)
    """Plain names of pools whose slots this portfolio takes together with all others that share them."""

    @cached_property
    def word(self) -> str:
        """The portfolio in a word that every service takes, with plain names, too."""
        return prefix_of(self.portfolio)

    @cached_property
    def prefix(self) -> str:
        """The word that all other names begin or end with; empty where names are plain."""
        return "" if self.bare or self.portfolio == PACKAGED else self.word

    def asset(self, *path: str) -> tuple[str, ...]:
        """The key of an asset."""
        return (self.prefix, *path) if self.prefix else path

    def holds(self, path: Sequence[str]) -> bool:
        """Whether a key is one of this portfolio's assets."""
        if self.prefix:
            return len(path) > 1 and path[0] == self.prefix
        return len(path) == 1 or path[0] == ALIASES

    def asset_of_step(self, step: str) -> str:
        """The plain name of the asset that a step makes."""
        return step.removeprefix(f"{self.prefix}__") if self.prefix else step

    def dagster(self, name: str) -> str:
        """The name of a job, sensor or schedule."""
        return f"{self.prefix}_{name}" if self.prefix else name

    def plain(self, name: str) -> str:
        """The plain name of this portfolio's job, sensor or schedule; any other name as it is.

        >>> Names("cards").plain("cards_retrain_model"), Names("cards").plain("retrain_model")
        ('retrain_model', 'retrain_model')
        """
        return name.removeprefix(f"{self.prefix}_") if self.prefix else name

    def pool(self, name: str) -> str:
        """The pool by its plain name."""
        return name if name in self.shared_pools else self.dagster(name)

    @property
    def registered_model(self) -> str:
        return f"{MODEL}-{self.prefix}" if self.prefix else MODEL

    @property
    def experiment(self) -> str:
        return f"{EXPERIMENT}_{self.prefix}" if self.prefix else EXPERIMENT

    def folder(self, root: str) -> str:
        """This portfolio's part of a folder or bucket that several share."""
        return f"{root.rstrip('/')}/{FOLDER}/{self.prefix}" if self.prefix else root


def prefix_of(portfolio: str) -> str:
    """The prefix of a portfolio's names; no two portfolios have the same.

    >>> prefix_of("auto_loans"), prefix_of("Auto-Loans"), prefix_of("auto.loans")
    ('auto_loans', 'auto_loans_0222dcfd', 'auto_loans_7b3924df')
    """
    # A plain name that looks like a spelled one would be its double.
    if _PLAIN.fullmatch(portfolio) and len(portfolio) <= _LONGEST and not re.search(r"_[0-9a-f]{8}$", portfolio):
        return portfolio
    spelled = re.sub(r"[^a-z0-9]", "_", portfolio.lower()).strip("_")
    spelled = (spelled if spelled[:1].isalpha() else f"p_{spelled}")[: _LONGEST - _HASH - 1]
    return f"{spelled}_{sha256(portfolio.encode()).hexdigest()[:_HASH]}"


PLAIN = Names(PACKAGED)
"""The names of the packaged portfolio."""
