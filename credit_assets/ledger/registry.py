"""The registered model: its versions, and which of them holds which alias from when to when.

Belongs here: finding, making and reading versions, moving aliases, and the history of the champion. Does not belong
here: whether a version may be registered or promoted (`credit_assets.ml.rules.decisions`) and the runs (`tracking`).

Moves. MLflow sets an alias without asking what it was, and a move of the champion is several calls: the alias, the
period of the new champion, the period of the former one. So each move is first claimed as the next entry of a numbered
log in the store (`mlflow-aliases/<model>/<alias>/000001`), which holds the whole history after it. One of two movers at
once gets the number; the other reads the winner's history and moves on from there. What MLflow shows is written from
the newest entry, by whoever moves, and read again afterwards: a mover that was overtaken while writing writes the newer
state. One that was killed between claim and writing is completed by the next call with the same or another version, as
a step's retry makes it.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from credit_assets.failures import PermanentError, TransientError
from credit_assets.ml.rules.periods import Period, champion_history, ended, holder_now, moved, period_on
from credit_assets.storage.claims import Claims
from credit_assets.tracking import Tracking

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
_PAGE = 1000
_MOVES = 100


@dataclass(frozen=True)
class Version:
    """One registered version. Tags hold its metrics and where it came from."""

    version: str
    as_of: date
    fingerprint: str
    variant: str
    status: str
    """registered, champion or archived."""
    run_id: str
    source: str
    """URI of the logged model, models:/m-..."""
    created: datetime
    aliases: tuple[str, ...]
    champion_periods: tuple[tuple[date, date | None], ...]
    """First and last day in force, both inclusive; None while it is in force."""
    tags: Mapping[str, str]
    description: str = ""


class Move(NamedTuple):
    """One entry of an alias's log."""

    number: int
    version: str
    """Empty where the alias was taken away."""
    effective_from: date
    reason: str
    by: str
    at: str
    history: tuple[Period, ...]
    """Oldest first: the whole history after this move."""


class Registry:
    """Versions of one registered model. Costs nothing to construct. Raises as `Tracking` does."""

    def __init__(self, tracking: Tracking, model_name: str, claims: Claims) -> None:
        self.tracking = tracking
        self.model_name = model_name
        self.claims = claims

    # Versions

    def register(
        self,
        model_uri: str,
        *,
        run_id: str,
        fingerprint: str,
        as_of: date,
        tags: Mapping[str, str] | None = None,
        description: str = "",
    ) -> Version:
        """The version of this fingerprint: the one that is there, else a new one. Never two, whoever asks at once."""
        tracking, client, model = self.tracking, self.tracking.server.client, self.model_name
        everything = {
            **(tags or {}),
            "fingerprint": fingerprint,
            "as_of": as_of.isoformat(),
            "status": "registered",
        }

        def create() -> str:
            # There without a claim: the store has been replaced since, or whoever made it has not claimed it yet.
            there = self._of_fingerprint(fingerprint)
            if there:
                return min(there, key=int)
            with tracking.server.fluent():
                # MLflow looks the model up at its global tracking URI, whatever client is asked.
                made = tracking.server.call(
                    f"cannot register {model_uri}",
                    client.create_model_version,
                    model,
                    source=model_uri,
                    run_id=run_id,
                    tags=everything,
                    description=description,
                    # A server refuses a model's URI without it.
                    model_id=model_uri.removeprefix("models:/"),
                )
            return str(made.version)

        winner = self.claims.single(
            f"mlflow-versions/{self._scope(create=True)}/{fingerprint}",
            create=create,
            alive=lambda number: number in self._of_fingerprint(fingerprint),
            discard=self._delete,
        )
        # Left by one that lost the claim and was killed before it could delete its own.
        for number in self._of_fingerprint(fingerprint):
            if number != winner:
                self._delete(number)
        return self.version(winner)

    def versions(self) -> list[Version]:
        """All versions that this pipeline registered, oldest first. Empty where the model does not exist yet."""
        found: list[ModelVersion] = []
        token = None
        while True:
            page = self.tracking.server.call(
                "cannot list versions",
                self.tracking.server.client.search_model_versions,
                f"name='{self.model_name}'",
                max_results=_PAGE,
                page_token=token,
            )
            found.extend(page)
            token = page.token
            if not token:
                break
        if not found:
            return []
        aliases = self._aliases()
        versions = [_version(item, aliases) for item in found if "fingerprint" in item.tags and "as_of" in item.tags]
        return sorted(versions, key=lambda v: int(v.version))

    def version(self, version: str | int) -> Version:
        """One version. Raises PermanentError where it does not exist or was not made by this pipeline."""
        item = None
        if str(version).isdigit():
            item = self._ask("get_model_version", self.model_name, str(version))
        if item is None:
            known = ", ".join(v.version for v in self.versions()) or "none yet"
            raise PermanentError(f"{self.model_name} has no version {version}; registered: {known}")
        if "fingerprint" not in item.tags or "as_of" not in item.tags:
            raise PermanentError(
                f"version {version} of {self.model_name} was registered by hand: it has no fingerprint and as-of date"
            )
        return _version(item, self._aliases())

    def alias(self, name: str) -> Version | None:
        """The version that holds the alias; None where none does."""
        item = self._ask("get_model_version_by_alias", self.model_name, name)
        return None if item is None else self.version(item.version)

    def champion_at(self, day: date, versions: Iterable[Version] | None = None) -> Version | None:
        """The version in force on `day`. `versions` saves asking the server again for many days."""
        known = {v.version: v for v in (self.versions() if versions is None else versions)}
        period = period_on(day, champion_history(known.values()))
        return known[period.version] if period else None

    def download(self, version: Version) -> Path:
        """Local folder of the version's own files (`scorer.json` and the native model file)."""
        return self.tracking.models.download(version.source)

    def version_link(self, version: str) -> Any:
        """Dagster metadata: a link to the version in MLflow's UI where a server is known, else its name."""
        return self.tracking.server.link(
            f"/models/{self.model_name}/versions/{version}", f"{self.model_name} version {version}"
        )

    # Aliases

    def move_alias(
        self,
        name: str,
        version: str,
        *,
        effective_from: date,
        reason: str,
        by: str,
        forward_only: bool = False,
    ) -> Version:
        """Give the alias to the version from `effective_from` on; return the version that holds it afterwards.

        Days before keep their champion, days from then on lose any other. The alias itself moves now, also where
        `effective_from` lies ahead. Calling it again changes nothing. With `forward_only` the move is left where the
        holder has a newer as-of date, judged in the same step as the move: two runs at once cannot turn time back.
        """
        target = self.version(version)

        def move(history: Sequence[Period], holder: Period | None) -> list[Period] | None:
            if holder is None:
                return moved(history, target.version, effective_from)
            stays = holder.version == target.version and holder.first <= effective_from
            if forward_only and holder.version != target.version:
                there = {v.version: v for v in self.versions()}.get(holder.version)
                stays = there is not None and there.as_of > target.as_of
            return None if stays else moved(history, target.version, effective_from)

        holder = self._write_move(name, target.version, effective_from, reason, by, move)
        return self.version(holder)

    def end_alias(self, name: str, version: str, *, effective_from: date, reason: str, by: str) -> None:
        """Take the alias from `version`, whose last day is the one before `effective_from`.

        Changes nothing where another version, or none, holds it: calling it again is safe.
        """

        def end(history: Sequence[Period], holder: Period | None) -> list[Period] | None:
            if holder is None or holder.version != version:
                return None
            return ended(history, effective_from)

        self._write_move(name, "", effective_from, reason, by, end)

    def _write_move(
        self,
        name: str,
        version: str,
        effective_from: date,
        reason: str,
        by: str,
        after: Callable[[Sequence[Period], Period | None], list[Period] | None],
    ) -> str:
        """Enter a move into the log and show it in MLflow; return who holds the alias then, "" for nobody.

        `after` gives the history after the move from the history and the holder before it, None for no move.
        """
        folder = self.log_of(name)
        for _ in range(_MOVES):
            newest = self._newest(folder)
            history = newest.history if newest else self._history_in_tags(name)
            holder = holder_now(history)
            changed = after(history, holder)
            if changed is None:
                held = holder.version if holder else ""
                self._show(name, folder, held)
                return held
            number = newest.number + 1 if newest else 1
            entry = json.dumps(
                {
                    "id": uuid.uuid4().hex,
                    "version": version,
                    "effective_from": effective_from.isoformat(),
                    "reason": reason,
                    "by": by,
                    "at": datetime.now(UTC).isoformat(timespec="seconds"),
                    "history": [[v, a.isoformat(), b.isoformat() if b else None] for v, a, b in changed],
                }
            )
            if self.claims.claim(f"{folder}/{number:06d}", entry) == entry:
                self._show(name, folder, version)
                return version
        raise TransientError(f"alias {name} is being moved by others all the time")

    def history(self, name: str) -> tuple[Period, ...]:
        """Every period of an alias, oldest first."""
        newest = self._newest(self.log_of(name))
        return newest.history if newest else self._history_in_tags(name)

    def period_of(self, name: str, day: date) -> Period | None:
        """The period in which a version holds the alias on `day`; None where none does. Costs the same for any day."""
        return period_on(day, self.history(name))

    def holder_at(self, name: str, day: date) -> Version | None:
        """The version that holds the alias on `day`; None where none does."""
        period = self.period_of(name, day)
        return None if period is None else self.version(period.version)

    def moves(self, name: str, since: int = 0) -> list[Move]:
        """Moves of an alias after number `since`, oldest first, with who and why."""
        folder = self.log_of(name)
        return [self._move(folder, entry) for entry in self.claims.names(folder) if int(entry) > since]

    def log_of(self, name: str) -> str:
        """Name of an alias's log: another one where the registered model was deleted and made anew."""
        return f"mlflow-aliases/{self._scope()}/{name}"

    def _show(self, name: str, folder: str, fallback: str) -> None:
        """Write the newest entry of the log into MLflow, until it is the newest still when that is done."""
        call, client = self.tracking.server.call, self.tracking.server.client
        while True:
            newest = self._newest(folder)
            holder = newest.version if newest else fallback
            there = {v.version: v for v in self.versions()}
            # The new holder before the former one: a day between two periods would have no champion at all.
            for version in sorted(there.values(), key=lambda v: v.version != holder):
                if version.version == holder and name not in version.aliases:
                    call("cannot set an alias", client.set_registered_model_alias, self.model_name, name, holder)
                if not holder and name in version.aliases:
                    call("cannot remove an alias", client.delete_registered_model_alias, self.model_name, name)
                if name != CHAMPION or newest is None:
                    continue
                for key, value in _tags_after(newest, version).items():
                    if version.tags.get(key) != value:
                        call(
                            "cannot set a tag",
                            client.set_model_version_tag,
                            self.model_name,
                            version.version,
                            key,
                            value,
                        )
            after = self._newest(folder)
            if (after.number if after else 0) == (newest.number if newest else 0):
                return

    def _newest(self, folder: str) -> Move | None:
        entries = self.claims.names(folder)
        return self._move(folder, entries[-1]) if entries else None

    def _move(self, folder: str, entry: str) -> Move:
        text = self.claims.get(f"{folder}/{entry}")
        try:
            record = json.loads(text or "")
            return Move(
                number=int(entry),
                version=str(record["version"]),
                effective_from=date.fromisoformat(record["effective_from"]),
                reason=record["reason"],
                by=record["by"],
                at=record["at"],
                history=tuple(Period(str(v), date.fromisoformat(a), _day(b)) for v, a, b in record["history"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise PermanentError(f"entry {entry} of {folder} in the store is damaged ({error})") from error

    def _history_in_tags(self, name: str) -> tuple[Period, ...]:
        """What MLflow knows where the store has no log: it was replaced since."""
        if name != CHAMPION:
            return ()
        return tuple(champion_history(self.versions()))

    # What MLflow holds

    def _scope(self, create: bool = False) -> str:
        """Name and birth of the registered model: claims about one that was deleted do not bind its successor."""
        model = self._ask("get_registered_model", self.model_name)
        if model is None and create:
            from mlflow.exceptions import MlflowException

            def make() -> None:
                try:
                    self.tracking.server.client.create_registered_model(
                        self.model_name, description="Probability of default, one version for each accepted model."
                    )
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise

            self.tracking.server.call("cannot create the registered model", make)
            model = self._ask("get_registered_model", self.model_name)
        born = model.creation_timestamp if model else 0
        return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', self.model_name)}-{born}"

    def _of_fingerprint(self, fingerprint: str) -> list[str]:
        found = self.tracking.server.call(
            "cannot search versions",
            self.tracking.server.client.search_model_versions,
            f"name='{self.model_name}' and tags.fingerprint='{fingerprint}'",
        )
        return [str(item.version) for item in found]

    def _delete(self, version: str) -> None:
        self._ask("delete_model_version", self.model_name, version)

    def _aliases(self) -> dict[str, tuple[str, ...]]:
        model = self._ask("get_registered_model", self.model_name)
        held: dict[str, tuple[str, ...]] = {}
        for alias, version in sorted((model.aliases if model else {}).items()):
            held[str(version)] = (*held.get(str(version), ()), alias)
        return held

    def _ask(self, method: str, *args: str) -> Any:
        """A method of MLflow's client; None where what it is about does not exist."""
        client = self.tracking.server.client
        from mlflow.exceptions import MlflowException

        def ask() -> Any:
            try:
                return getattr(client, method)(*args)
            except MlflowException as error:
                # A missing alias is an invalid parameter to MLflow's SQL store.
                missing_alias = error.error_code == "INVALID_PARAMETER_VALUE" and "alias" in str(error).lower()
                if error.error_code == "RESOURCE_DOES_NOT_EXIST" or missing_alias:
                    return None
                raise

        return self.tracking.server.call(f"cannot {method.replace('_', ' ')}", ask)


def _version(item: ModelVersion, aliases: Mapping[str, Sequence[str]]) -> Version:
    tags, number = dict(item.tags), str(item.version)
    try:
        as_of = date.fromisoformat(tags["as_of"])
        periods = tuple((date.fromisoformat(a), _day(b)) for a, b in json.loads(tags.get("champion_periods") or "[]"))
    except (ValueError, TypeError) as error:
        raise PermanentError(
            f"version {number} of {item.name}: its tags as_of or champion_periods were changed by hand ({error})"
        ) from error
    return Version(
        version=number,
        as_of=as_of,
        fingerprint=tags["fingerprint"],
        variant=tags.get("variant", ""),
        status=tags.get("status", "registered"),
        run_id=str(item.run_id or ""),
        source=str(item.source),
        created=datetime.fromtimestamp(item.creation_timestamp / 1000, UTC),
        aliases=tuple(aliases.get(number, ())),
        champion_periods=periods,
        tags=tags,
        description=item.description or "",
    )


def _tags_after(move: Move, version: Version) -> dict[str, str]:
    """Tags of a version that the champion's history decides."""
    periods = [[a.isoformat(), b.isoformat() if b else None] for v, a, b in move.history if v == version.version]
    tags = {}
    if periods or version.champion_periods:
        tags["champion_periods"] = json.dumps(periods)
    if move.version == version.version:
        tags |= {"status": "champion", "promoted_by": move.by, "promoted_at": move.at, "promotion_reason": move.reason}
    elif version.status == "champion" or periods:
        tags["status"] = "archived"
        if version.status == "champion":
            tags["archived_for_version"] = move.version
    return tags


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None
