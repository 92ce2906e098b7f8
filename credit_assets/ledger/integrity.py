"""Whether the ledger is what was written: its chains, and their heads as MLflow has them.

Belongs here: which logs there are, noting their heads in MLflow, the cheap look that every training and promotion takes
before it begins, and refusing where something is broken. Does not belong here: the chains themselves
(`credit_assets.storage.chain`), and the whole walk (`credit_assets.ledger.audit`).

The end of a log can be cut off without breaking its chain. So the heads of all logs are noted as a tag of the
registered model, in another database than the store, and with each day's decision in Dagster's, a third one. A note is
never ahead of its log, whoever is killed when: it is written after the entry. And it is never written over while
anything is broken.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from credit_assets.failures import PermanentError
from credit_assets.ledger.alias_log import AliasLog, newest_scope
from credit_assets.ledger.one_look import at_one_look
from credit_assets.ledger.registry import CHAMPION, Registry, own_tags
from credit_assets.ledger.requests import LOG as REQUESTS
from credit_assets.masking import masked_url
from credit_assets.ml.rules.periods import holder_now
from credit_assets.storage.chain import JOURNAL, Break, Chain, Head, newest_breaks

HEADS = "ledger"
"""The tag of the registered model, and the metadata of `deployed_model`, with the heads of all logs."""
NOTED = (CHAMPION, "challenger", "shadow")
WAY_OUT = (
    "`credit-assets audit --verify` names all of it; bring what is named back from a backup, or, where you know why it "
    "is so, go on with `credit-assets audit --accept --reason WHY`, which is recorded with who and why"
)


class Integrity:
    """The chains of one registered model's ledger. Costs nothing to construct. Raises as `Registry` does."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.claims = registry.claims

    def chains(self) -> dict[str, Chain]:
        """Every log by its name."""
        scope = self.registry.scope()
        folders = {alias: AliasLog(self.claims, scope, alias).folder for alias in NOTED} | {"requests": REQUESTS}
        return {name: Chain(self.claims, folder) for name, folder in folders.items()} | {JOURNAL: self.claims.journal}

    def heads(self) -> dict[str, Head]:
        return {name: chain.head() for name, chain in self.chains().items()}

    @at_one_look
    def to_note(self) -> str:
        """The heads by the names of the logs: those of a model that was deleted are of other logs than its
        successor's.
        """
        return heads_as_text({chain.folder: chain.head() for chain in self.chains().values()})

    @at_one_look
    def breaks(self, *, whole: bool = False, noted_elsewhere: Sequence[str] = ()) -> list[Break]:
        """What is broken and not accepted by a person; of every entry, or of the newest alone. `noted_elsewhere`: what
        Dagster noted of the heads.
        """
        found = [*self._replaced()]
        chains = self.chains()
        for chain in chains.values():
            found += chain.breaks() if whole else newest_breaks(chain)
        tags = own_tags(self.registry)
        found += against_notes(chains.values(), [(tags or {}).get(HEADS, "")], "MLflow")
        found += against_notes(chains.values(), noted_elsewhere, "Dagster")
        if tags is not None and not found:
            found += _older(_heads_noted([tags.get(HEADS, "")]), _heads_noted(noted_elsewhere))
        if not found:
            return []
        accepted = {name for record in self.claims.journal.accepted() for name in record.get("breaks", ())}
        return [one for one in found if not accepted.issuperset(one.noted or (one.name,))]

    @at_one_look
    def note(self) -> None:
        """Note the heads in MLflow, where there is a registered model and nothing is broken."""
        heads = self.to_note()
        tags = own_tags(self.registry)
        if tags is not None and tags.get(HEADS) != heads and not self.breaks():
            server = self.registry.tracking.server
            write = server.client.set_registered_model_tag
            server.call("cannot note the heads of the logs", write, self.registry.model_name, HEADS, heads)

    def refuse_broken(self, doing: str) -> None:
        """Raise PermanentError where the cheap look finds a break: nothing is trained or promoted on it."""
        if broken := self.breaks():
            more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
            raise PermanentError(f"{doing}: the ledger is broken: {break_in_words(broken[0])}{more}; {WAY_OUT}")

    def accept(self, breaks: Sequence[Break], contents: Mapping[str, str], **why: Any) -> None:
        """Go on in spite of these breaks, with files as they are now (content by path, "" of one that is gone), and
        note the heads.
        """
        self.claims.journal.accept(breaks, contents, **why)
        self.note()

    def _replaced(self) -> Iterator[Break]:
        """A champion that the store knows, and MLflow has no model of its name, or one of another birth."""
        present, newest = self.registry.scope(), newest_scope(self.claims, self.registry.model_name)
        if newest is None or newest == present:
            return
        log = AliasLog(self.claims, newest, CHAMPION)
        try:
            move = log.newest()
        except PermanentError:
            move = None
        if move and (holder := holder_now(move.history)):
            has = "no model" if present.endswith("-0") else "another model"
            uri = masked_url(self.registry.tracking.server.uri)
            text = (
                f"version {holder.version} is champion, and MLflow ({uri}, MLFLOW_TRACKING_URI) has {has} of that "
                "name: its database was emptied, replaced, or is another house's"
            )
            # One thing to accept, before the successor is made and after.
            yield Break(log.folder, move.number, text, replaced=True, noted=(f"replaced {log.folder} {move.hash}",))


def against_notes(chains: Collection[Chain], notes: Sequence[str], whose: str) -> list[Break]:
    """Where logs are not what was noted of them elsewhere."""
    try:
        noted = _heads_noted(notes)
    except (ValueError, TypeError, AttributeError):
        text = f"what {whose} noted of the heads of the logs cannot be read: it was edited"
        return [Break(HEADS, 0, text, "".join(notes))]
    return [one for chain in chains for one in _against(chain, noted.get(chain.folder, set()), whose)]


def _heads_noted(notes: Sequence[str]) -> dict[str, set[Head]]:
    noted: dict[str, set[Head]] = {}
    for note in filter(None, notes):
        for name, (number, one) in json.loads(note).items():
            noted.setdefault(str(name), set()).add(Head(int(number), str(one)))
    return noted


def _older(mlflow: Mapping[str, set[Head]], dagster: Mapping[str, set[Head]]) -> Iterator[Break]:
    """Whether MLflow is of a time before Dagster's: a decision notes in MLflow first."""
    for name in sorted({*dagster} & {*mlflow}):
        here, there = max(mlflow[name]).number, max(dagster[name]).number
        if here < there:
            text = f"MLflow noted {here} entries and Dagster {there}: MLflow's database is of an older backup"
            yield Break(name, there, text, replaced=True, noted=(f"older {name} {there}",))


def _against(chain: Chain, heads: set[Head], whose: str) -> Iterator[Break]:
    """What a log does not fit of the heads that were noted of it, as one break."""
    off = [head for head in sorted(heads) if not chain.has(head)]
    if not off:
        return
    # A listing of all entries, which are the more the older the house: only where something is off.
    newest, last = chain.head_number(), off[-1]
    if last.number > newest:
        text = (
            f"entries {newest + 1} to {last.number} were there when {whose} noted the log, and are gone: its end was "
            "cut off, or the store is of an older backup"
        )
    else:
        text = f"entry {last.number} is not the one that {whose} noted: it was edited, or exchanged"
    yield Break(chain.folder, last.number, text, noted=tuple(f"{chain.folder} {one.number} {one.hash}" for one in off))


def heads_as_text(heads: Mapping[str, Head]) -> str:
    return json.dumps({name: [head.number, head.hash] for name, head in heads.items()}, sort_keys=True)


def break_in_words(one: Break) -> str:
    return f"{one.log}: {one.text}"
