"""Whose book this is: a name for what is in the store, and the refusal of records that are another's.

Belongs here: the mark of a store and of a Dagster folder, and comparing them with the settings. Does not belong here:
the models of MLflow, which the registry compares with the same mark (`credit_assets.ledger.registry`).

Everything that a home names by a setting can be another home's by mistake: a DAGSTER_HOME left in the environment, a
store that two portfolios write to. Paths do not tell, since a home may be moved. So a store gets an identity with the
first day that is ingested into it (the claim `book`), and the Dagster folder remembers the store that it records.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING
from uuid import uuid4

from credit_assets.failures import PermanentError
from credit_assets.masking import masked_url
from credit_assets.settings import Settings
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store

if TYPE_CHECKING:
    import dagster as dg

CLAIM, MARK_FILE = "book", "credit_assets.json"
_EMBEDDED = "embedded"


@dataclass(frozen=True)
class Book:
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


def book_of(claims: Claims) -> Book | None:
    """The book in a store; None where nothing was ingested since books have a mark.

    Raises PermanentError where the mark is damaged.
    """
    held = claims.get(CLAIM)
    return None if held is None else parse(held, f"the claim {CLAIM} in {masked_url(claims.store_uri)}")


def own_store(settings: Settings, claims: Claims) -> Book:
    """The book in the store, begun where there is none. Raises PermanentError where it is another portfolio's."""
    if (book := book_of(claims)) is None:
        claims.claim(CLAIM, _mine(settings).to_json())
        book = book_of(claims)
    assert book is not None
    refuse_other_portfolio(settings, book)
    return book


def refuse_other_portfolio(settings: Settings, book: Book) -> None:
    """Raise PermanentError where the store was filled under another portfolio than the settings have."""
    name = settings.portfolio_contract.name
    if book.portfolio != name:
        raise PermanentError(
            f"the store {masked_url(settings.store)} holds the portfolio {book.portfolio}, and CREDIT_PORTFOLIO is now "
            f"{name}: two portfolios never share a store; set CREDIT_PORTFOLIO back, or give {name} a CREDIT_HOME (or "
            "CREDIT_STORE_URI) of its own"
        )


def refuse_foreign(settings: Settings, instance: dg.DagsterInstance) -> None:
    """Raise PermanentError where the store is another portfolio's, or the Dagster folder records another store.

    A Dagster folder that is this book's, or that records nothing yet, is marked as such.
    """
    book, mark = book_of(Claims(settings.store)), settings.dagster_dir / MARK_FILE
    if book is not None:
        refuse_other_portfolio(settings, book)
    try:
        recorded = parse(mark.read_text("utf-8"), str(mark))
    except FileNotFoundError:
        recorded = None
    if recorded is None:
        if elsewhere := _recorded_elsewhere(settings, instance):
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


def _mine(settings: Settings) -> Book:
    given = settings.warehouse_url.get_secret_value()
    return Book(
        id=uuid4().hex,
        portfolio=settings.portfolio_contract.name,
        store=masked_url(settings.store),
        home=str(settings.home_dir),
        # The embedded one moves with its home.
        warehouse=masked_url(given) if given else _EMBEDDED,
        timezone=settings.timezone,
    )


def parse(text: str, where: str) -> Book:
    """Raises PermanentError where the text is no book's."""
    try:
        record = json.loads(text)
        return Book(**{one.name: str(record[one.name]) for one in fields(Book)})
    except (ValueError, KeyError, TypeError) as error:
        raise PermanentError(f"{where} is damaged and does not say whose book it is ({error}); delete it") from error


def _recorded_elsewhere(settings: Settings, instance: dg.DagsterInstance) -> str:
    """Where the newest day that an unmarked instance records was written, where that is not this store."""
    import dagster as dg

    entry = instance.get_latest_materialization_event(dg.AssetKey("raw_loan_data"))
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
        f"{settings.home_dir}): unset DAGSTER_HOME or give this home a folder of its own, or set CREDIT_HOME to the "
        "other's"
    )
