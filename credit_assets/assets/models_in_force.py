"""The models that score a day: the champion in force on it, and the model on trial beside it.

Belongs here: finding and loading them, and what becomes of a day where one of them cannot score. Does not belong here:
who decides about an application (`credit_assets.ml.evidence.scores`), and reading and writing (`scoring`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias

import dagster as dg

from credit_assets.assets.conventions import Table
from credit_assets.assets.model_inputs import MissingInputsError, ModelInputs
from credit_assets.assets.reasons_given import Decider, with_reasons
from credit_assets.failures import PermanentError, error_text, is_transient
from credit_assets.ledger.aliases import Aliases
from credit_assets.ledger.deployment import SHADOW
from credit_assets.ledger.registry import Registry, Version, refuse_lost
from credit_assets.ml.data.left_columns import in_words, way_out
from credit_assets.ml.rules.periods import period_on
from credit_assets.settings import Settings
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from credit_assets.ml.evidence.scores import Scored
    from credit_assets.ml.learners.scorer import CreditScorer

    Gaps: TypeAlias = Mapping[str, NDArray[np.bool_]]


class ModelsInForce:
    """The models in force on the days of a step, each loaded once."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        settings: Settings,
        registry: Registry,
        store: Store,
        days: Sequence[date],
    ) -> None:
        self._context, self._settings, self._registry = context, settings, registry
        self._inputs = ModelInputs(store, settings.portfolio_contract)
        versions, trials = registry.versions(), Aliases(registry).history(SHADOW)
        refuse_lost(registry, days, versions)
        self._champions = {day: registry.champion_at(day, versions) for day in days}
        periods = {day: period_on(day, trials) for day in days}
        self._trials = {day: period.version if period else None for day, period in periods.items()}
        self._deciders: dict[str, Decider] = {}
        self._silent: set[date] = set()
        portfolio = settings.portfolio_contract
        keys = (portfolio.id_column, portfolio.date_column, portfolio.customer_column)
        self._keys = [name for name in keys if name is not None]
        self.unable: dict[date, str] = {}
        """Why the champion of a day could not score it."""
        self.gaps: dict[date, Counter[tuple[str, str]]] = defaultdict(Counter)
        """By day, feature and policy the applications that lack what the champion has not learned to be without."""

    def champion(self, day: date) -> Version | None:
        return self._champions[day]

    def on_trial(self, day: date) -> str | None:
        """The model on trial beside the champion; None where there is none, or it is the champion itself."""
        champion, trial = self._champions[day], self._trials[day]
        return None if champion is None or trial == champion.version else trial

    def runs(self, tables: Mapping[date, Table]) -> Iterator[list[tuple[date, Table]]]:
        """Days that follow one another and are scored by the same models."""

        def models(item: tuple[date, Table]) -> tuple[str | None, str | None]:
            champion = self._champions[item[0]]
            return champion.version if champion else None, self.on_trial(item[0])

        for _, together in groupby(tables.items(), key=models):
            yield list(together)

    def score(self, tables: Sequence[tuple[date, Table]]) -> pa.Table | None:
        """Scores of days that have the same models, in the order of their rows, but for days that lack what the
        champion reads (`unable`); None without a champion, or where it can score none of them.
        """
        import pyarrow as pa

        from credit_assets.ml.evidence.scores import decided

        first = tables[0][0]
        champion, trial = self._champions[first], self.on_trial(first)
        if champion is None:
            return None
        able = dict(self._complete(champion, tables))
        if not able:
            return None
        plain = [(day, table) for day, table in tables if day in able]
        shadow = None if trial is None else self._score_beside(plain, trial)
        scored, gaps = self._score(list(able.values()), champion)
        self._count(gaps, champion, plain)
        scores = decided(
            pa.concat_tables([table.select(self._keys) for _, table in plain]).combine_chunks(),
            scored,
            shadow,
            share=self._settings.challenger_share,
            key=self._settings.assignment_key.get_secret_value(),
        )

        def rows(version: str) -> pa.Table:
            # Those of the champion are there; a model on trial may read others beside its day's.
            found = able.values() if version == champion.version else self._beside(plain, version)
            return pa.concat_tables(found).combine_chunks()

        return with_reasons(scores, self._decider, rows, self._settings.training_threads)

    def _complete(self, version: Version, tables: Sequence[tuple[date, Table]]) -> Iterator[tuple[date, pa.Table]]:
        """The days with all that the champion reads, of those that have it."""
        scorer = self._scorer(version)
        for day, table in tables:
            try:
                yield day, self._inputs.beside(table, scorer)
            except MissingInputsError as error:
                way = way_out(self._inputs.left(scorer))
                self.unable[day] = f"champion version {version.version} could not score {day}: {error}; {way}"

    def _count(self, gaps: Gaps, version: Version, tables: Sequence[tuple[date, Table]]) -> None:
        import numpy as np

        ends = np.cumsum([rows.num_rows for _, rows in tables])
        meanings = self._deciders[version.version].scorer.missing
        for name, missing in gaps.items():
            for (day, _), of_day in zip(tables, np.split(missing, ends[:-1]), strict=True):
                if of_day.any():
                    self.gaps[day][name, meanings[name].policy] += int(of_day.sum())

    def _scorer(self, version: Version) -> CreditScorer:
        return self._decider(version.version, version).scorer

    def _decider(self, version: str, found: Version | None = None) -> Decider:
        from credit_assets.ml.data.extensions import ExtensionError

        if version not in self._deciders:
            try:
                folder = self._registry.download(found or self._registry.version(version))
                self._deciders[version] = Decider.load(folder)
            except ExtensionError as error:
                raise PermanentError(f"version {version}: {error}") from error
        return self._deciders[version]

    def _beside(self, tables: Sequence[tuple[date, Table]], version: str) -> list[pa.Table]:
        scorer = self._decider(version).scorer
        return [self._inputs.beside(table, scorer) for _, table in tables]

    def _score(self, tables: Sequence[pa.Table], version: Version) -> tuple[Scored, Gaps]:
        import pyarrow as pa

        from credit_assets.ml.evidence.scores import Scored

        features, threads = pa.concat_tables(tables).combine_chunks(), self._settings.training_threads
        scores, gaps = self._scorer(version).score_with_gaps(features, threads=threads)
        return Scored(version.version, scores["pd"].to_numpy(), scores["score"].to_numpy()), gaps

    def _score_beside(self, tables: Sequence[tuple[date, Table]], version: str) -> Scored | None:
        # Whatever is wrong with a model on trial, the champion's decisions do not wait for it.
        days = [day for day, _ in tables]
        try:
            found = self._registry.version(version)
            return self._score(self._beside(tables, version), found)[0]
        except Exception as error:
            if is_transient(error):
                raise
            shown = days[0].isoformat() if len(days) == 1 else f"{days[0]} .. {days[-1]}"
            self._context.log.warning(f"version {version}, on trial, did not score {shown}: {error_text(error)}")
            self._silent.update(days)
            return None

    def refused_for(self) -> str:
        """Features for which the champion refused applications, with how many."""
        found = Counter[str]()
        for gaps in self.gaps.values():
            found.update({name: count for (name, policy), count in gaps.items() if policy == "reject"})
        named = ", ".join(f"{name} ({count:,})" for name, count in found.most_common())
        return named or "what the model on trial needs"

    def describe(self, day: date) -> dict[str, Any]:
        """What a person reads of the day's models."""
        champion, trial = self._champions[day], self.on_trial(day)
        if champion is None:
            return {"champion": "none in force: no application was scored"}
        if day in self.unable:
            return {"champion": f"{champion.version}, which could not score", "why": self.unable[day]}
        missing = {f"{name} ({policy})": count for (name, policy), count in sorted(self.gaps[day].items())}
        decider = self._deciders.get(champion.version)
        left = self._inputs.left(decider.scorer) if decider else {}
        return {
            "champion": champion.version,
            **({"missing_values": missing} if missing else {}),
            **({"reads_columns_that_have_left": in_words(left)} if left else {}),
            **(
                {} if trial is None else {"shadow": f"{trial}, which could not score" if day in self._silent else trial}
            ),
        }
