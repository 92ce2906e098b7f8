"""Several portfolios of one home, beside the packaged one: their files, their books, and what each has made.

Belongs here: making them and taking stock. Does not belong here: the loans (`synthetic`), one house alone (`houses`).
"""

from __future__ import annotations

import hashlib
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

from credit_assets.settings import Settings, load_settings
from credit_assets_tests.support.houses import SMALL, START, fast_forward, write_book
from credit_assets_tests.support.synthetic import GIVE_ME_SOME_CREDIT, canonical_book, give_me_some_credit_book

LAST = date(2024, 4, 30)
# One learner: what is shared shows with one as with three.
QUICK: dict[str, Any] = {**SMALL, "variants": "lightgbm", "variant_params": {"lightgbm": {"num_leaves": 7}}}


def equal_columns(folder: Path, name: str) -> Path:
    """The packaged portfolio under another name, its tables too."""
    text = (resources.files("credit_assets.portfolios") / "consumer_loans.yaml").read_text("utf-8")
    for plain, own in (
        ("name: consumer_loans", f"name: {name}"),
        ("applications_table: loan_applications", f"applications_table: {name}_applications"),
        ("table: loan_outcomes", f"table: {name}_outcomes"),
    ):
        text = text.replace(plain, own, 1)
    return _written(folder, name, text)


def other_columns(folder: Path, name: str) -> Path:
    """A portfolio none of whose columns the packaged one has."""
    text = GIVE_ME_SOME_CREDIT.read_text("utf-8")
    return _written(folder, name, text.replace("name: give_me_some_credit", f"name: {name}", 1))


def _written(folder: Path, name: str, text: str) -> Path:
    assert f"\nname: {name}\n" in f"\n{text}"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.yaml"
    file.write_text(text, "utf-8")
    return file


def write_loans(settings: Settings, seed: int, rows: int = 4_000) -> None:
    """A book of the portfolio's own, from START to LAST, into its warehouse."""
    contract = settings.portfolio_contract
    book = give_me_some_credit_book if contract.id_column == "customer_id" else canonical_book
    write_book(settings, *fast_forward(book(rows, START, LAST, seed=seed), settings.portfolio))


def small(home: Path, portfolio: str = "", **more: Any) -> Settings:
    """The small settings of a portfolio of the home."""
    return load_settings(home=home, portfolio=portfolio or None, **{**QUICK, **more})


def files_of(folder: Path) -> dict[str, str]:
    """Every file below a folder by its hash; not those of locks and databases that all share."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
