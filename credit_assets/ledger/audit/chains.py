"""The chains of the ledger, the files that its journal answers for, and whether store, MLflow and Dagster belong
together.

Belongs here: what was done to records behind the pipeline's back. Does not belong here: whether what they say follows
from anything (the other checks), and the cheap look of every training (`credit_assets.ledger.integrity`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from credit_assets.ledger.audit.walk import Gap, Reported, Walk
from credit_assets.ledger.integrity import NOTED
from credit_assets.storage.claims import CLAIMS

_BACKUP = (
    "bring it back from a backup; where you know why it is so, `credit-assets audit --accept --reason WHY` goes on "
    "with it as it is"
)
_AGAIN = "bring it back from a backup, or make its day again"
_DECISIONS = ("trained_model", "registered_model", "deployed_model")


def chains_whole(walk: Walk) -> Sequence[Gap]:
    """Every entry of a log has the hash of the one before it, and no log is shorter than it was."""
    return [Gap("chains_whole", one.text, _BACKUP, one.log) for one in walk.ledger.breaks if not one.replaced]


def journal_kept(walk: Walk) -> Sequence[Gap]:
    """Every record of a decision, outcome and claim is what the journal had of it before it was written."""
    found = []
    for path, text in off_the_journal(walk).items():
        folder, _, name = path.rpartition("/")
        found.append(Gap("journal_kept", text, _AGAIN, folder, name.removesuffix(".json")))
    return found


def off_the_journal(walk: Walk) -> dict[str, str]:
    """By the path in the store, what is wrong with a file that the journal answers for."""
    journal, files = walk.ledger.journal, walk.ledger.files
    if journal is None:
        # Of before there was one: the next that is written begins it.
        return {}
    found = {path: _off(journal.get(path), files.get(path), path) for path in sorted({*journal, *files})}
    return {path: text for path, text in found.items() if text}


def _off(entered: Sequence[str] | None, now: str | None, path: str) -> str:
    if entered is None:
        return "is not in the journal: it was put there past the pipeline"
    if now is None:
        gone = "is in the journal and not there: it was removed, or its writer was killed before it wrote"
        return gone if entered[-1] else ""
    if now not in entered:
        return "is not what the journal has of it: it was edited"
    # Two that claim a name at once have both entered what they would have made it.
    is_claim = path.startswith(f"{CLAIMS}/")
    return "" if is_claim or now == entered[-1] else "is that of an earlier decision, by the journal: it was put back"


def one_house(walk: Walk) -> Sequence[Gap]:
    """Store, MLflow and Dagster are of one house, and none of them is older than another or has moves of its own."""
    found = [Gap("one_house", one.text, _BACKUP, one.log) for one in walk.ledger.breaks if one.replaced]
    books = {whose: book for whose, book in walk.ledger.books.items() if book}
    if len({*books.values()}) > 1:
        text = f"{', '.join(sorted(books))} are of different books: they were restored from, or set to, two houses"
        found.append(Gap("one_house", text, "set them to one house, or restore all three from one backup"))
    for asset in _DECISIONS:
        for day in sorted({*walk.stored.get(asset, ())} - {*walk.made.get(asset, ())}):
            text = "is in the store, and Dagster does not know of it: its database is older, or the file was put there"
            found.append(Gap("one_house", text, f"restore Dagster's database, or {_AGAIN}", asset, day))
    return [*found, *(_gap(alias, text) for alias in NOTED for text in _reported(walk, alias))]


def _reported(walk: Walk, alias: str) -> Iterator[str]:
    """What is wrong with the moves that Dagster reports."""
    log = walk.ledger.logs.get(alias, "")
    moves = {move.number: move for move in walk.logs.get(alias, ())}
    for one in walk.ledger.reported.get(alias, ()):
        if one.log != log:
            # Of a registered model that was deleted.
            continue
        move = moves.get(one.number)
        if move is None:
            yield f"Dagster reports move {one.number} to {one.version}, and the log has none: forged, or removed there"
        elif one != Reported(log, one.number, move.version or "none", move.hash):
            yield f"Dagster reports move {one.number} otherwise than the log: one of the two was forged or edited"


def _gap(alias: str, text: str) -> Gap:
    do = "the log decides: compare it with your backups; wipe the forged materialization in Dagster"
    return Gap("one_house", text, do, f"model_aliases/{alias}")
