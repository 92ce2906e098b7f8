"""Portfolios by name: the files of a home in which a portfolio and its own settings stand.

Belongs here: which file a name means, and where a portfolio's own settings are looked for. Does not belong here: what
the files say (`credit_assets.ml.data.portfolio`, `credit_assets.settings`).

A home has its portfolios in `portfolios/`: `cards.yaml` is the portfolio `cards`, and `cards.env` beside it has the
settings of it alone. A portfolio file elsewhere has them beside it in the same way.
"""

from __future__ import annotations

import os
from pathlib import Path

from credit_assets.failures import OwnError
from credit_assets.naming import FOLDER, PACKAGED
from credit_assets.places import local_path

SUFFIX, OWN_SETTINGS = ".yaml", ".env"


def portfolio_file(text: str, home: Path) -> Path | None:
    """The file that CREDIT_PORTFOLIO or `--portfolio` means: one of the home's by its name, else a path; None for the
    packaged portfolio. Raises PlaceError for a path that is none, and where no file has the name.
    """
    if _is_name(text):
        named = home / FOLDER / f"{text}{SUFFIX}"
        # Not `is_file` of a Path, which raises where a name is longer than any can be.
        if os.path.isfile(named):
            return named
        if text == PACKAGED:
            return None
    path = local_path(text)
    if not path.name or (_is_name(text) and not os.path.isfile(path)):
        raise NoPortfolioError(text, home)
    return path


def portfolio_names(home: Path) -> list[str]:
    """The portfolios of a home that have a file there, by name, sorted."""
    return sorted(file.stem for file in (home / FOLDER).glob(f"*{SUFFIX}") if file.is_file())


def name_by_place(file: Path | None, home: Path) -> str | None:
    """The name under which a home has the file; None where it lies elsewhere."""
    return file.stem if file is not None and file.parent == home / FOLDER and file.suffix == SUFFIX else None


def own_settings_file(file: Path | None, home: Path) -> Path:
    """Where the settings of one portfolio alone stand, whether or not there are any."""
    return (home / FOLDER / PACKAGED if file is None else file).with_suffix(OWN_SETTINGS)


class NoPortfolioError(OwnError, ValueError):
    """Nothing has the name; the message says what there is and where."""

    def __init__(self, name: str, home: Path) -> None:
        known = ", ".join(dict.fromkeys([PACKAGED, *portfolio_names(home)]))
        super().__init__(
            f"no portfolio {name}: there is neither {home / FOLDER / name}{SUFFIX} nor a file {name} here; known: "
            f"{known}"
        )


def _is_name(text: str) -> bool:
    return "/" not in text and not text.startswith(("~", "$", ".")) and not text.endswith((".yaml", ".yml"))
