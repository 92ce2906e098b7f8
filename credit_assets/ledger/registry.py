"""The registered model: its versions, and what MLflow shows of each.

Belongs here: finding, making and reading versions, and writing their aliases and tags. Does not belong here: whether a
version may be registered or promoted (`credit_assets.ml.rules.decisions`), which alias is moved when (`aliases`), and
runs (`credit_assets.tracking`).

Who holds an alias, and which version was in force when, is read from the logs of the aliases (`alias_log`), which
decide; MLflow shows the same, once a move is through. What it shows meanwhile, or since somebody changed it there, is
`Registry.shown`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from credit_assets.failures import PermanentError
from credit_assets.instance.ownership import BookIdentity, book_of, parse
from credit_assets.ledger.alias_log import AliasLog, Move, logs_of, newest_moves, scope_of
from credit_assets.ledger.one_look import at_one_look, remember, remembered
from credit_assets.links import model_page
from credit_assets.masking import masked_url
from credit_assets.ml.data.manifest import MANIFEST, Manifest
from credit_assets.ml.rules.periods import champion_history, period_on
from credit_assets.naming import PLAIN, Names
from credit_assets.storage.claims import Claims
from credit_assets.tracking import Tracking
from credit_assets.tracking.mlflow_internals import misses_alias

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

    from credit_assets.tracking.server import Server

CHAMPION = "champion"
BOOK_TAG, PORTFOLIO, CONTRACT = "book", "portfolio", "contract"
BASELINE = "performance"
"""The tag with what the use of a version is held against (`ml.evidence.baseline`), the key of it in the record too."""
RECALIBRATES, TRAINED_AS_OF = "recalibrates", "trained_as_of"
"""Tags of a version that is another one with a new calibration: which, and as of which day its model was trained."""
_CHAMPION_NOW, _ARCHIVED = "champion", "archived"
_SHORT = 12
_PAGE = 1000
_T = TypeVar("_T")


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

    @property
    def was_champion(self) -> bool:
        """Whether it is the champion, or ever was, also where all its days were taken back since."""
        return self.status in (_CHAMPION_NOW, _ARCHIVED)

    @property
    def trained_as_of(self) -> date:
        """The as-of date of its training; where it is another version with a new calibration, of that one's."""
        return date.fromisoformat(self.tags.get(TRAINED_AS_OF, self.as_of.isoformat()))

    @property
    def baseline(self) -> dict[str, Any] | None:
        """What its use is held against (`ml.evidence.baseline`); None where an older release registered it."""
        return json.loads(self.tags[BASELINE]) if BASELINE in self.tags else None

    @property
    def manifest(self) -> Manifest | None:
        """Its files as they were registered; None where an older release registered it. Raises PermanentError where the
        tag was changed.
        """
        if MANIFEST not in self.tags:
            return None
        try:
            return Manifest.from_text(self.tags[MANIFEST])
        except ValueError as error:
            raise PermanentError(f"version {self.version}: its tag {MANIFEST} was changed by hand ({error})") from error


@dataclass(frozen=True)
class Owner:
    """Whose models a registry has: a portfolio, and its contract as it is now (`Portfolio.contract`)."""

    naming: Names = PLAIN
    contract: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """What a version of it bears."""
        return {PORTFOLIO: self.naming.portfolio, **({CONTRACT: self.contract} if self.contract else {})}

    def refuse_other(self, what: str, portfolio: str, contract: str = "") -> None:
        """Raise PermanentError where a model is another portfolio's; one that names none was made before they did."""
        if portfolio in ("", self.naming.portfolio):
            return
        theirs = f"portfolio {portfolio}" + (f" (contract {contract[:_SHORT]})" if contract else "")
        ours = f"portfolio {self.naming.portfolio}" + (f" (contract {self.contract[:_SHORT]})" if self.contract else "")
        raise PermanentError(
            f"{what} was made for {theirs}, and this is {ours}: no portfolio uses the model of another; train one "
            "of its own, or set CREDIT_PORTFOLIO (--portfolio) to the one that it belongs to"
        )


class Registry:
    """Versions of one registered model. Costs nothing to construct. Raises as `Tracking` does, and PermanentError for a
    version of another portfolio than the `owner`, wherever one is read.
    """

    def __init__(self, tracking: Tracking, model_name: str, claims: Claims, owner: Owner | None = None) -> None:
        self.tracking = tracking
        self.model_name = model_name
        self.claims = claims
        self.owner = owner or Owner()
        self._is_of_this_book = False

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
        """The version of this fingerprint: the one that is there, else a new one. Never two, also of two at once."""
        everything = {
            **(tags or {}),
            **self.owner.tags,
            "fingerprint": fingerprint,
            "as_of": as_of.isoformat(),
            "status": "registered",
        }

        def create() -> str:
            # There without a claim: the store has been replaced since, or whoever made it has not claimed it yet.
            there = self._of_fingerprint(fingerprint)
            new = {"run_id": run_id, "tags": everything, "description": description}
            return min(there, key=int) if there else _create_version(self, model_uri, **new)

        winner = self.claims.single(
            f"mlflow-versions/{self.scope(create=True)}/{fingerprint}",
            create=create,
            alive=lambda number: number in self._of_fingerprint(fingerprint),
            discard=self._delete,
        )
        # Left by one that lost the claim and was killed before it could delete its own.
        for number in self._of_fingerprint(fingerprint):
            if number != winner:
                self._delete(number)
        return self.version(winner)

    @at_one_look
    def versions(self) -> list[Version]:
        """All versions that this pipeline registered, oldest first. Empty where the model does not exist yet."""
        shown = self.shown()
        newest = newest_moves(self.logs()) if shown else {}
        return [_by_the_logs(version, newest) for version in shown]

    def shown(self) -> list[Version]:
        """The same as MLflow shows them, which is behind the logs where a move was cut short."""
        ours = [item for item in self._everything() if _is_ours(item)]
        aliases = _aliases(self.registered_model()) if ours else {}
        return sorted((self._own(item, aliases) for item in ours), key=lambda v: int(v.version))

    def registered_after(self, number: int) -> list[Version]:
        """The versions that came after that one, without their aliases: MLflow reads those and no others."""
        return [self._own(item, {}) for item in self._everything(number) if _is_ours(item)]

    def shows(self, alias: str) -> Version | None:
        """The version that holds the alias in MLflow, whatever its log says, without its periods: one look, which costs
        the same however many versions there are.
        """
        find = self._client.get_model_version_by_alias
        item = self._if_there("cannot get the version of an alias", find, self.model_name, alias)
        return self._own(item, {}) if item is not None and _is_ours(item) else None

    def has(self, version: Version) -> bool:
        """Whether MLflow has the version still, and no other by its number."""
        find = self._client.get_model_version
        found = self._if_there("cannot get a version", find, self.model_name, version.version)
        return found is not None and _version(found, {}).created == version.created

    def logs(self) -> list[AliasLog]:
        """The logs of the aliases that were ever moved."""
        return logs_of(self.claims, self.scope())

    def by_hand(self) -> list[str]:
        """The versions of the model that this pipeline did not register."""
        return sorted((str(item.version) for item in self._everything() if not _is_ours(item)), key=int)

    def _everything(self, after: int = 0) -> list[ModelVersion]:
        search, where = self._client.search_model_versions, f"name='{self.model_name}'"
        where += f" and version_number > {after}" if after else ""
        found: list[ModelVersion] = []
        token: str | None = ""
        while token is not None:
            page = self._server.call("cannot list versions", search, where, max_results=_PAGE, page_token=token or None)
            found, token = [*found, *page], page.token or None
        return found

    def version(self, version: str | int) -> Version:
        """One version. Raises PermanentError where it does not exist or was not made by this pipeline."""
        item = None
        if str(version).isdigit():
            item = self._if_there("cannot get a version", self._client.get_model_version, self.model_name, str(version))
        if item is None:
            known = ", ".join(v.version for v in self.versions()) or "none yet"
            raise PermanentError(f"{self.model_name} has no version {version}; registered: {known}")
        return self._single(item)

    @at_one_look
    def alias(self, name: str) -> Version | None:
        """The version that holds the alias; None where none does."""
        newest = AliasLog(self.claims, self.scope(), name).newest()
        if newest is not None:
            return self.version(newest.version) if newest.version else None
        find = self._client.get_model_version_by_alias
        item = self._if_there("cannot get the version of an alias", find, self.model_name, name)
        return None if item is None else self._single(item)

    def named(self, version: str | None) -> Version:
        """The version of that number, the champion where none is named. Raises PermanentError where there is none."""
        found = self.alias(CHAMPION) if version is None else self.version(version)
        if found is None:
            raise PermanentError("there is no champion yet: name a version, or train one with `credit-assets replay`")
        return found

    def champion_at(self, day: date, versions: Iterable[Version] | None = None) -> Version | None:
        """The version in force on `day`. `versions` saves reading them again for many days, of which `refuse_lost`."""
        known = {v.version: v for v in (self.versions() if versions is None else versions)}
        period = period_on(day, champion_history(known.values()))
        if period is None and versions is None:
            refuse_lost(self, [day], known.values())
        return known[period.version] if period else None

    def download(self, version: Version, *, as_is: bool = False) -> Path:
        """Local folder of the version's own files, held against its manifest unless `as_is`.

        Raises PermanentError where one is another one, or they were made for another portfolio than the tags say.
        """
        self._refuse_other(version.version, version.tags)
        return _files(self, version, None if as_is else version.manifest)

    def version_link(self, version: str) -> Any:
        """Dagster metadata: a link to the version in MLflow's UI where a server is known, else its name."""
        return self._server.link(model_page(self.model_name, version), f"{self.model_name} version {version}")

    def scope(self, create: bool = False) -> str:
        """Name and birth of the registered model: claims about one that was deleted do not bind its successor."""
        if scope := remembered((self._server.uri, self.model_name)):
            return scope
        model = self.registered_model()
        if model is None and create:
            self._server.call("cannot create the registered model", _create_model, self)
            model = self.registered_model()
        return self._scope(model)

    def _scope(self, model: RegisteredModel | None) -> str:
        return scope_of(self.model_name, model.creation_timestamp if model else 0)

    # What `aliases` writes, from its log

    def set_alias(self, name: str, version: str) -> None:
        write = self._client.set_registered_model_alias
        self._server.call("cannot set an alias", write, self.model_name, name, version)

    def delete_alias(self, name: str) -> None:
        self._server.call("cannot remove an alias", self._client.delete_registered_model_alias, self.model_name, name)

    def set_tags(self, version: Version, tags: Mapping[str, str]) -> None:
        """Tags that the version has already cost nothing."""
        write = self._client.set_model_version_tag
        for key, value in tags.items():
            if version.tags.get(key) != value:
                self._server.call("cannot set a tag", write, self.model_name, version.version, key, value)

    # What MLflow holds

    @property
    def _server(self) -> Server:
        return self.tracking.server

    @property
    def _client(self) -> MlflowClient:
        return self._server.client

    def registered_model(self) -> RegisteredModel | None:
        find = self._client.get_registered_model
        model = self._if_there("cannot get the registered model", find, self.model_name)
        tag, ours = model.tags.get(BOOK_TAG) if model else None, self._book()
        theirs = parse(tag, f"the tag {BOOK_TAG} of {self.model_name} in MLflow") if tag else None
        if theirs:
            self.owner.refuse_other(f"{self.model_name} in MLflow ({masked_url(self._server.uri)})", theirs.portfolio)
        # A store that was emptied at its place has a new mark.
        if theirs and ours and theirs.id != ours.id and theirs.store != ours.store:
            raise PermanentError(
                f"{self.model_name} in MLflow ({masked_url(self._server.uri)}, MLFLOW_TRACKING_URI) belongs to another "
                f"book, {theirs}; this one is {ours}: unset MLFLOW_TRACKING_URI, give each book a "
                "server of its own, or each portfolio a name of its own (`name` in its file)"
            )
        self._is_of_this_book = model is not None
        if model:
            remember((self._server.uri, self.model_name), self._scope(model))
        return model

    def _single(self, item: ModelVersion) -> Version:
        """A version that was asked for by itself, which MLflow gives with its aliases."""
        if not _is_ours(item):
            raise PermanentError(
                f"version {item.version} of {self.model_name} was registered by hand: it has no fingerprint and "
                "as-of date"
            )
        if not self._is_of_this_book:
            self.registered_model()
        return _by_the_logs(self._own(item, {str(item.version): sorted(item.aliases)}), newest_moves(self.logs()))

    def _own(self, item: ModelVersion, aliases: Mapping[str, Sequence[str]]) -> Version:
        self._refuse_other(str(item.version), item.tags)
        return _version(item, aliases)

    def _refuse_other(self, version: str, tags: Mapping[str, str]) -> None:
        what = f"version {version} of {self.model_name} in MLflow"
        self.owner.refuse_other(what, tags.get(PORTFOLIO, ""), tags.get(CONTRACT, ""))

    def _book(self) -> BookIdentity | None:
        """Whose models these are, by the mark of the store."""
        return book_of(self.claims)

    def _of_fingerprint(self, fingerprint: str) -> list[str]:
        where = f"name='{self.model_name}' and tags.fingerprint='{fingerprint}'"
        versions = self._server.call("cannot search versions", self._client.search_model_versions, where)
        return [str(item.version) for item in versions]

    def _delete(self, version: str) -> None:
        self._if_there("cannot delete a version", self._client.delete_model_version, self.model_name, version)

    def _if_there(self, doing: str, function: Callable[..., _T], *args: str) -> _T | None:
        """A call to MLflow's client; None where what it is about does not exist."""
        from mlflow.exceptions import MlflowException

        def call() -> _T | None:
            try:
                return function(*args)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST" or misses_alias(error):
                    return None
                raise

        return self._server.call(doing, call)


def _aliases(model: RegisteredModel | None) -> dict[str, tuple[str, ...]]:
    """By version the aliases that it holds in MLflow."""
    held: dict[str, tuple[str, ...]] = {}
    for alias, version in sorted((model.aliases if model else {}).items()):
        held[str(version)] = (*held.get(str(version), ()), alias)
    return held


def _create_model(registry: Registry) -> None:
    from mlflow.exceptions import MlflowException

    about = "Probability of default, one version for each accepted model."
    tags = {BOOK_TAG: book.to_json()} if (book := book_of(registry.claims)) else None
    try:
        registry.tracking.server.client.create_registered_model(registry.model_name, tags=tags, description=about)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _create_version(registry: Registry, model_uri: str, **new: Any) -> str:
    server = registry.tracking.server
    create = server.client.create_model_version
    # A server refuses a model's URI without the model's id.
    model_id = model_uri.removeprefix("models:/")
    # MLflow looks the model up at its global tracking URI, whatever client is used.
    with server.fluent():
        made = server.call(
            f"cannot register {model_uri}", create, registry.model_name, source=model_uri, model_id=model_id, **new
        )
    return str(made.version)


def own_tags(registry: Registry) -> dict[str, str] | None:
    """Tags of the registered model itself; None where there is no model."""
    return dict(model.tags) if (model := registry.registered_model()) else None


def _files(registry: Registry, version: Version, manifest: Manifest | None) -> Path:
    """The folder of a version's files, which are to be those of the manifest; of one of before any."""
    from credit_assets.ml.learners.scorer import made_for

    what = f"version {version.version} of {registry.model_name}"
    try:
        folder = registry.tracking.models.download(version.source, *([manifest.differs] if manifest else []))
    except PermanentError as error:
        raise PermanentError(f"{what}: {error}") from error
    registry.owner.refuse_other(f"the model of {what}", *made_for(folder))
    return folder


def _is_ours(item: ModelVersion) -> bool:
    """Whether this pipeline registered it, and not somebody by hand."""
    return "fingerprint" in item.tags and "as_of" in item.tags


def refuse_lost(registry: Registry, days: Iterable[date], versions: Iterable[Version]) -> None:
    """Raise PermanentError where the log has a champion for one of these days and MLflow has that version no more: the
    day would pass for one of before the first model.
    """
    newest = AliasLog(registry.claims, registry.scope(), CHAMPION).newest()
    there = {version.version for version in versions}
    for day in days if newest else ():
        period = period_on(day, newest.history if newest else ())
        if period is not None and period.version not in there:
            raise PermanentError(
                f"version {period.version} of {registry.model_name} was in force on {day}, and MLflow has it no more: "
                f"it was deleted there. Bring it back from a backup of MLflow, or let another have these days: "
                f"`credit-assets promote N --from {period.first} --reason WHY`"
            )


def _by_the_logs(shown: Version, newest: Mapping[str, Move]) -> Version:
    """The version as the newest entries of the aliases' logs say; MLflow's word counts for an alias without a log."""
    version = shown.version
    aliases = {alias for alias in shown.aliases if alias not in newest}
    aliases |= {alias for alias, move in newest.items() if move.version == version}
    found = replace(shown, aliases=tuple(sorted(aliases)))
    if (move := newest.get(CHAMPION)) is None:
        return found
    periods = tuple((first, last) for holder, first, last in move.history if holder == version)
    status = shown.status
    if move.version == version:
        status = _CHAMPION_NOW
    elif periods or shown.was_champion or version in (move.held or ()):
        status = _ARCHIVED
    return replace(found, status=status, champion_periods=periods)


def _version(item: ModelVersion, aliases: Mapping[str, Sequence[str]]) -> Version:
    tags, number = dict(item.tags), str(item.version)
    try:
        as_of = date.fromisoformat(tags["as_of"])
        written = json.loads(tags.get("champion_periods") or "[]")
        periods = tuple((date.fromisoformat(a), date.fromisoformat(b) if b else None) for a, b in written)
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
