"""Whose book this is: a name for what is in the store, and the refusal of records that are another's.

Belongs here: the mark of a store and of a Dagster folder, and comparing them with the settings. Does not belong here:
the models of MLflow, which the registry compares with the same mark (`credit_assets.ledger.registry`).

Portfolios of different names share a Dagster instance, a bucket and an MLflow server: each has its own part of them
(`credit_assets.naming`). Two books of one name would have the same part. And everything that a home names by a setting
can be another home's by mistake: a DAGSTER_HOME left in the environment, a portfolio file that was copied and kept its
name. Paths do not tell, since a home may be moved. So a portfolio's part of a store gets an identity with the first day
that is ingested into it (the claim `book`), and the Dagster folder remembers, for each portfolio, the store that it
records.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from credit_assets.aside import aside
from credit_assets.failures import PermanentError
from credit_assets.masking import masked_url
from credit_assets.ml.data.documents import json_of
from credit_assets.naming import PLAIN
from credit_assets.settings import Settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    import dagster as dg

CLAIM, MARK_FILE = "book", "credit_assets.json"
"""In a store, and in a Dagster folder; there `credit_assets.X.json` of a portfolio that has names of its own."""
TABLES_FILE = "warehouse.tables.json"
_EMBEDDED = "embedded"


@dataclass(frozen=True)
class BookIdentity:
    """Who wrote a store first: its identity, and by which settings."""

    id: str
    portfolio: str
    store: str
    home: str
    warehouse: str
    timezone: str

    def __str__(self) -> str:
        return f"portfolio {self.portfolio} in the store {self.store} (CREDIT_HOME {self.home})"

    def to_json(self) -> str:
        """One line; `parse` restores an equal book."""
        return json.dumps(asdict(self), sort_keys=True)


def book_of(claims: Claims) -> BookIdentity | None:
    """The book in a store; None where nothing was ingested since books have a mark.

    Raises PermanentError where the mark is damaged.
    """
    held = claims.text(CLAIM)
    return None if held is None else parse(held, f"the claim {CLAIM} in {masked_url(claims.store_uri)}")


def own_store(settings: Settings, claims: Claims) -> BookIdentity:
    """The book in the store, begun where there is none. Raises PermanentError where it is another portfolio's, or where
    the portfolio has a book under plain names already.
    """
    if (book := book_of(claims)) is None:
        refuse_beginning_anew(settings)
        claims.claim(CLAIM, _mine(settings).to_json())
        book = book_of(claims)
    assert book is not None
    refuse_other_portfolio(settings, book)
    return book


def refuse_other_portfolio(settings: Settings, book: BookIdentity) -> None:
    """Raise PermanentError where the store was filled under another portfolio than the settings have."""
    name = settings.portfolio_contract.name
    if book.portfolio != name:
        raise PermanentError(
            f"the store {masked_url(settings.store)} holds the portfolio {book.portfolio}, and CREDIT_PORTFOLIO is now "
            f"{name}: two portfolios never share a store; set CREDIT_PORTFOLIO back, or give {name} a CREDIT_HOME (or "
            "CREDIT_STORE_URI) of its own"
            + ("" if settings.names == "portfolio" else ", or names of its own (CREDIT_NAMES=portfolio)")
        )


def refuse_beginning_anew(settings: Settings) -> None:
    """Raise PermanentError where the portfolio's days lie in the store under the plain names of earlier versions, whose
    assets, models and files nothing would find under the portfolio's own.
    """
    naming = settings.naming
    if not naming.prefix or (plain := book_of(Claims(settings.store_root))) is None:
        return
    if plain.portfolio == naming.portfolio:
        raise PermanentError(
            f"the store {masked_url(settings.store_root)} holds the portfolio {naming.portfolio} under the plain names "
            f"of earlier versions (assets without a prefix, model {PLAIN.registered_model}), and would be begun anew "
            f"under {masked_url(settings.store)}: set CREDIT_NAMES=bare to go on with what is there, or give "
            f"{naming.portfolio} another CREDIT_HOME (or CREDIT_STORE_URI) to begin anew under names of its own"
        )


def mark_file(settings: Settings) -> Path:
    """Where the Dagster folder remembers whose records of this portfolio it has."""
    mark, prefix = settings.dagster_dir / MARK_FILE, settings.naming.prefix
    return mark.with_suffix(f".{prefix}{mark.suffix}") if prefix else mark


def refuse_foreign(settings: Settings, instance: dg.DagsterInstance | None) -> None:
    """Raise PermanentError where the store is another portfolio's, where this one has its days there under plain names,
    or where the Dagster folder records another store of a portfolio of this name.

    A Dagster folder that is this book's, or that records nothing of it yet, is marked as such. `instance` is looked at
    where the folder has no mark; None where it has one.
    """
    book, mark = book_of(Claims(settings.store)), mark_file(settings)
    if book is not None:
        refuse_other_portfolio(settings, book)
    else:
        refuse_beginning_anew(settings)
    try:
        recorded = parse(mark.read_text("utf-8"), str(mark))
    except FileNotFoundError:
        recorded = None
    if recorded is None:
        if instance and (elsewhere := _recorded_elsewhere(settings, instance)):
            raise _foreign(settings, f"the store of {elsewhere}")
    elif recorded.store != masked_url(settings.store) and (book is None or book.id != recorded.id):
        raise _foreign(settings, str(recorded))
    if book is not None and (
        recorded is None or (recorded.id, recorded.store) != (book.id, masked_url(settings.store))
    ):
        now = replace(book, store=masked_url(settings.store), home=str(settings.home_dir))
        # A folder that only others may write to shows nothing else by it.
        with suppress(OSError):
            mark.write_text(now.to_json() + "\n", "utf-8")


def own_tables(settings: Settings, *others: str) -> None:
    """Note for whom the tables of the embedded warehouse are filled. Raises PermanentError where one of them holds the
    loans of another portfolio. `others`: tables that are filled now, besides those of applications and outcomes.

    Reading them is another matter: two portfolios may be two views of the same loans.
    """
    if settings.warehouse_url.get_secret_value():
        return
    note, portfolio = settings.home_dir / TABLES_FILE, settings.portfolio_contract
    try:
        known = {str(table): str(name) for table, name in json.loads(note.read_text("utf-8")).items()}
    except FileNotFoundError:
        known = {}
    except (ValueError, AttributeError) as error:
        raise PermanentError(f"{note} is damaged, whose loans are whose is not known ({error}); delete it") from error
    mine = [portfolio.applications_table, portfolio.outcomes.table, *others]
    theirs = sorted({name for table in mine if (name := known.get(table, portfolio.name)) != portfolio.name})
    if theirs:
        raise PermanentError(
            f"the embedded warehouse {settings.warehouse} holds the loans of portfolio {', '.join(theirs)} in tables "
            f"that {portfolio.name} names too ({', '.join(mine)}), and the two would be mixed: name tables of its own "
            "in the portfolio file (applications_table, outcomes.table, ...), or set CREDIT_WAREHOUSE_URL"
        )
    draft = aside(note)
    draft.write_text(json.dumps({**known, **dict.fromkeys(mine, portfolio.name)}, indent=1, sort_keys=True), "utf-8")
    draft.replace(note)


def changed_since(settings: Settings) -> list[str]:
    """What the settings name otherwise than when the store was begun, that makes a book of two: for people to judge."""
    book = book_of(Claims(settings.store))
    if book is None:
        return []
    now = _mine(settings)
    return [
        f"{variable} was {before} when the store {now.store} was begun, and is {after} now: days that are ingested "
        f"already stay as they were read then; {advice}"
        for variable, before, after, advice in (
            ("CREDIT_WAREHOUSE_URL", book.warehouse, now.warehouse, "see that it is the same book of loans"),
            ("CREDIT_TIMEZONE", book.timezone, now.timezone, "days were cut otherwise: ingest them again (--again)"),
        )
        if before != after
    ]


def _mine(settings: Settings) -> BookIdentity:
    given = settings.warehouse_url.get_secret_value()
    return BookIdentity(
        id=uuid4().hex,
        portfolio=settings.portfolio_contract.name,
        store=masked_url(settings.store),
        home=str(settings.home_dir),
        # The embedded one moves with its home.
        warehouse=masked_url(given) if given else _EMBEDDED,
        timezone=settings.timezone,
    )


def parse(text: str, where: str) -> BookIdentity:
    """Raises PermanentError where the text is no book's."""
    try:
        record = json_of(text)
        return BookIdentity(**{one.name: str(record[one.name]) for one in fields(BookIdentity)})
    except (ValueError, KeyError, TypeError) as error:
        # A new one would be another book's to all who know this one.
        text = f"{where} is damaged and does not say whose book it is ({error}); bring it back from a backup"
        raise PermanentError(text) from error


def _recorded_elsewhere(settings: Settings, instance: dg.DagsterInstance) -> str:
    """Where the newest day that an unmarked instance records was written, where that is not this store."""
    import dagster as dg

    entry = instance.get_latest_materialization_event(dg.AssetKey(settings.naming.asset("raw_loan_data")))
    event = entry.asset_materialization if entry else None
    written = event and next((event.metadata[name] for name in ("path", "folder") if name in event.metadata), None)
    if event is None or written is None:
        return ""
    store, place = Store(settings.store), str(written.value)
    # A home that was moved has its days with it.
    if place.startswith(str(store.path("raw_loan_data"))) or (event.partition or "") in store.days("raw_loan_data"):
        return ""
    return masked_url(place)


def _foreign(settings: Settings, whose: str) -> PermanentError:
    return PermanentError(
        f"the Dagster folder {settings.dagster_dir} (DAGSTER_HOME) holds the records of another book, {whose}; this is "
        f"portfolio {settings.portfolio_contract.name} in {masked_url(settings.store)} (CREDIT_HOME "
        f"{settings.home_dir}): unset DAGSTER_HOME or give this home a folder of its own, set CREDIT_HOME to the "
        "other's, or, where these are two portfolios, give each a name of its own (`name` in its file)"
    )
