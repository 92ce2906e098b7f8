"""The search of hyper-parameters of a candidate, with its trials in the store: a step that is killed goes on with them.

Belongs here: when there is a search, what it is known by, where its trials are kept, and making them again. Does not
belong here: the search (`credit_assets.ml.learners.search`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

from credit_assets import stopping
from credit_assets.assets.policies import training_config
from credit_assets.failures import PermanentError
from credit_assets.ledger.kept import SEARCHES, evidence_hash
from credit_assets.settings import Settings
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    from credit_assets.assets.engines import Training
    from credit_assets.ml.learners.search import SearchTrial


def searches(settings: Settings, variant: str) -> bool:
    """Whether the parameters of a variant are searched."""
    from credit_assets.ml.learners.search import SPACES

    return settings.search_trials > 0 and variant in SPACES


def search_identity(settings: Settings, variant: str) -> dict[str, Any]:
    """What decides, beside all else of a candidate's identity, which parameters are found; nothing without a search.

    Raises PermanentError where optuna is not installed.
    """
    from credit_assets.ml.learners.search import installed, left_free

    if not searches(settings, variant):
        return {}
    if not installed():
        raise PermanentError(
            f"CREDIT_SEARCH_TRIALS={settings.search_trials} searches the parameters of {variant} with optuna, which "
            "is not installed here: pip install 'credit-assets[search]', or set CREDIT_SEARCH_TRIALS=0"
        )
    searched = left_free(variant, training_config(settings, variant).params)
    return {"search": {"trials": settings.search_trials, "searched": searched, **made_by()}}


def made_by() -> dict[str, str]:
    """What draws and judges trials here: the version of optuna, and the hash of the search's code."""
    from credit_assets.ml.data.fingerprints import code_version

    return {"optuna": metadata.version("optuna"), "code": code_version(("learners.search",))}


def with_found(settings: Settings, training: Training, kept: Trials) -> tuple[Training, dict[str, Any]]:
    """The training with the parameters that were found, and for the record what the search came to; unchanged without
    one. Raises ValueError as `search`.
    """
    from credit_assets.ml.learners.search import search

    config, variant = training.config, training.variant
    if not searches(settings, variant):
        return training, {}
    found = search(training.table, variant, settings.portfolio_contract, config, settings.search_trials, kept)
    kept.log.info(f"{variant}: {found.why}")
    params = {**config.params, **found.params}
    record = {**found.to_record(), "content": content_of(found.trials)}
    return replace(training, config=replace(config, params=params)), {"search": record}


def content_of(trials: Sequence[SearchTrial]) -> str:
    """The hash by which a candidate's record names its trials: of their record in the store."""
    return evidence_hash(_record_of(trials))


def _record_of(trials: Sequence[SearchTrial]) -> dict[str, Any]:
    return {"trials": [one.to_record() for one in trials]}


class Trials:
    """The trials of one search, a record in the store by the fingerprint of its candidate."""

    def __init__(self, store: Store, key: str, log: Any) -> None:
        self._store, self._path, self.log = store, store.path(SEARCHES, f"{key}.json"), log

    def load(self) -> Sequence[SearchTrial]:
        """Those of an earlier start. Raises PermanentError where the record is damaged."""
        from credit_assets.ml.learners.search import SearchTrial

        if not self._path.exists():
            return ()
        records: Sequence[Mapping[str, Any]] = self._store.read_record(self._path)["trials"]
        return [SearchTrial.from_record(one) for one in records]

    def save(self, trials: Sequence[SearchTrial]) -> None:
        """Keep them all, and end here where the step was asked to stop."""
        self._store.write_record(self._path, _record_of(trials))
        self.log.info(f"trial {len(trials)}: log loss {trials[-1].loss:.5f}")
        stopping.check()
