"""What somebody with the rights of the pipeline may do to its records behind its back, done to a home that is closed.

Belongs here: the tamperings. Does not belong here: what an audit says of them (`ledger/audit/test_chains.py`).
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from credit_assets.ledger.integrity import HEADS
from credit_assets.storage.chain import BEFORE, HASH, Chain, content_hash
from credit_assets.storage.claims import Claims
from credit_assets.storage.seals import seal_table

MODEL = "credit-scorer"


class Home:
    """The files of a home."""

    def __init__(self, place: Path) -> None:
        self.place, self.store = place, place / "store"
        self.claims = self.store / "claims"

    def log(self, alias: str = "champion") -> Path:
        return next(self.claims.glob(f"mlflow-aliases/*/{alias}"))

    @property
    def requests(self) -> Path:
        return self.claims / "requests" / "log"

    def newest(self, folder: Path) -> Path:
        return max(path for path in folder.iterdir() if path.name.isdigit())

    def mlflow(self, statement: str, *values: str) -> None:
        with closing(sqlite3.connect(self.place / "mlflow" / "mlflow.db")) as connection, connection:
            connection.execute(statement, values)

    def dagster(self, do: Callable[[dg.DagsterInstance], None]) -> None:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("DAGSTER_HOME", str(self.place / "dagster"))
            with dg.DagsterInstance.from_config(str(self.place / "dagster")) as instance:
                do(instance)


def edit(path: Path, **changes: Any) -> None:
    """Edit a record and leave the hashes as they are."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes) + "\n")


def edit_with_hash(path: Path, **changes: Any) -> None:
    """Edit an entry as somebody does who knows how its own hash is made."""
    record = {key: value for key, value in json.loads(path.read_text()).items() if key != HASH} | changes
    own = content_hash(json.dumps(record, sort_keys=True).encode())
    path.write_text(json.dumps({**record, HASH: own}, sort_keys=True) + "\n")


def forge_request(home: Home, **said: Any) -> None:
    """A line of JSON in the store, as whoever may write there can put it there."""
    former = json.loads(home.newest(home.requests).read_text())
    number = former["number"] + 1
    forged = {key: value for key, value in former.items() if key not in (HASH, BEFORE)}
    forged |= {"number": number, "by": "chief.risk.officer", "identity": "forged", **said}
    (home.requests / f"{number:06d}").write_text(json.dumps(forged, sort_keys=True) + "\n")


def forge_move(home: Home) -> None:
    """A move that is well chained: what a chain alone cannot know."""
    folder = home.log()
    former = json.loads(home.newest(folder).read_text())
    forged = {key: value for key, value in former.items() if key not in (HASH, BEFORE)}
    chain = Chain(Claims(str(home.store)), str(folder.relative_to(home.claims)))
    forged["by"] = "chief.risk.officer"
    chain.append(forged)


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def exchange_moves(home: Home) -> None:
    """The first and the newest entry change places; of a log of one, with one more that is chained as it should be."""
    if home.newest(home.log()).name == "000001":
        forge_move(home)
    swap(home.log() / "000001", home.newest(home.log()))


def empty_mlflow(home: Home) -> None:
    """The database of MLflow is deleted: the next who opens it makes a new one."""
    (home.place / "mlflow" / "mlflow.db").unlink()


def cut_off_with_note(home: Home) -> None:
    """The newest move goes, and MLflow's note of it too, by somebody who may write to both."""
    home.newest(home.log()).unlink()
    home.mlflow("DELETE FROM registered_model_tags WHERE key = ?", HEADS)


def cut_off_journal(home: Home) -> None:
    """A decision goes together with everything that the journal has of it and of what came later."""
    journal = home.claims / "journal"
    for entry in sorted(path for path in journal.iterdir() if path.name.isdigit())[-2:]:
        what = json.loads(entry.read_text())["what"]
        entry.unlink()
        (home.store / what).unlink()


def edit_rows(home: Home, *, keep: bool = True) -> None:
    """A row of scores is another, in a file that says of itself what it said, or says nothing unless `keep`."""
    path = max((home.store / "loan_scores").glob("*.parquet"))
    table = pq.read_table(path)
    values = table.column("pd").to_pylist()
    values[0] = (values[0] or 0) / 2 + 0.1
    column = pa.array(values, table.schema.field("pd").type)
    table = table.set_column(table.schema.get_field_index("pd"), table.schema.field("pd"), column)
    pq.write_table(table.replace_schema_metadata(pq.read_metadata(path).metadata if keep else None), path)
    if keep:
        # Whoever edits a file can seal it too: the hash of its rows stands in other records as well.
        seal_table(path)


def forge_event(home: Home) -> None:
    """A materialization of an alias that no move made."""
    said = {"log": str(home.log().relative_to(home.claims)), "number": 99, "to": "1", "by": "chief.risk.officer"}
    event = dg.AssetMaterialization(dg.AssetKey(["model_aliases", "champion"]), metadata=said)
    home.dagster(lambda instance: instance.report_runless_asset_event(event))


def forget_decisions(home: Home) -> None:
    """Dagster's database is one of before the newest decision."""
    home.dagster(lambda instance: instance.wipe_assets([dg.AssetKey("deployed_model")]))


def edit_outcome(home: Home) -> None:
    home.newest(home.claims / "requests" / "done").write_text("refused: the committee said no\n")


def forge_claim(home: Home) -> None:
    """A training that nobody asked for."""
    folder = home.claims / "retraining-triggers" / "2024-04-05"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "drift").write_text("forged\n")


def newest_decision(home: Home) -> Path:
    return max((home.store / "deployed_model").glob("*.json"))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\n"),
    "no record": lambda path: path.write_bytes(b"[1, 2]\n"),
    "of other types": lambda path: path.write_bytes(b'{"hash": {"a": 1}, "number": "x", "what": [1]}\n'),
    "a folder": lambda path: [path.unlink(), path.mkdir()],
}
"""What may become of a small file of the ledger."""


TAMPERINGS: dict[str, tuple[Callable[[Home], None], str, str]] = {
    # What is done, the check that finds it, and what it says.
    "a request put into the store as a line of JSON": (forge_request, "chains_whole", "has no hash"),
    "the name in a request changed": (
        lambda home: edit(home.newest(home.requests), by="chief.risk.officer"),
        "chains_whole",
        "is not what was written: it was edited",
    ),
    "who moved the champion changed, with the entry's hash": (
        lambda home: edit_with_hash(home.newest(home.log()), by="eve"),
        "chains_whole",
        "is not the one that MLflow noted",
    ),
    "the newest move taken away": (
        lambda home: home.newest(home.log()).unlink(),
        "chains_whole",
        "were there when MLflow noted the log, and are gone",
    ),
    "the newest move taken away, and MLflow's note of it": (
        cut_off_with_note,
        "one_house",
        "and the log has none: forged, or removed there",
    ),
    "two moves exchanged": (
        exchange_moves,
        "chains_whole",
        "does not follow",
    ),
    "a well chained move put into the log": (forge_move, "moves_decided", "neither a training nor a request"),
    "the champion moved in MLflow by hand": (
        lambda home: home.mlflow("DELETE FROM registered_model_aliases WHERE alias = ?", "champion"),
        "aliases_held",
        "in MLflow, and the newest move says",
    ),
    "MLflow's database emptied": (empty_mlflow, "one_house", "was emptied, replaced, or is another house's"),
    "the record of a decision edited": (
        lambda home: edit(newest_decision(home), champion_after="7"),
        "journal_kept",
        "is not what the journal has of it",
    ),
    "the outcome of a request edited": (edit_outcome, "journal_kept", "is not what the journal has of it"),
    "a training asked for by nobody": (
        forge_claim,
        "journal_kept",
        "is not in the journal",
    ),
    "the end of the journal cut off with its files": (cut_off_journal, "chains_whole", "and are gone"),
    "scores of a day edited": (edit_rows, "rows_of_days", "are not those that were written"),
    "scores of a day written by another program": (
        lambda home: edit_rows(home, keep=False),
        "rows_of_days",
        "records no hash of its rows",
    ),
    "a move reported to Dagster that nobody made": (forge_event, "one_house", "and the log has none"),
    "Dagster's database of before a decision": (forget_decisions, "one_house", "Dagster does not know of it"),
}
