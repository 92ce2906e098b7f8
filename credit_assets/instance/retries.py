"""What Dagster says while it tries its PostgreSQL again: five warnings with pages of SQLAlchemy, before the line that
says what is wrong.

Belongs here: keeping those from the terminal. Does not belong here: the line (`home`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_RETRYING = "Retrying failed database"


def _is_news(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_RETRYING)


@contextmanager
def quiet_retries() -> Iterator[None]:
    """Within, they are not logged: they go to the root logger by themselves, which has no name to be silenced by."""
    root = logging.getLogger()
    root.addFilter(_is_news)
    try:
        yield
    finally:
        root.removeFilter(_is_news)
