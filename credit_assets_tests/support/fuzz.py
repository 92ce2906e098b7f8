"""Inputs that nobody wrote: how many are tried, and sound bytes with damage in them.

Belongs here: what all tests of Hypothesis share. Does not belong here: these tests, which stand with what they try.

`make test` tries the same few each time, so that it is green or red for a reason; `make fuzz EXAMPLES=20000` tries
others each time, and prints how to repeat what it finds. A test of Hypothesis without it is refused (`conftest.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from credit_assets.failures import PermanentError

_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES") or 0)
_Test = TypeVar("_Test", bound=Callable[..., Any])
LONGEST_MESSAGE = 2_500
"""Characters that a refusal may have, whatever the input."""


def fuzz(examples: int) -> Callable[[_Test], _Test]:
    """Marks a test of Hypothesis: `examples` inputs in `make test`."""
    bounded = settings(
        max_examples=_EXAMPLES or examples,
        derandomize=not _EXAMPLES,
        print_blob=bool(_EXAMPLES),
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )

    def marked(test: _Test) -> _Test:
        return pytest.mark.fuzz(bounded(test))  # type: ignore[no-any-return]

    return marked


@contextmanager
def refused_in_words(*errors: type[Exception]) -> Iterator[None]:
    """What is tried may be refused by one of these errors, PermanentError by default, in a message of bounded size."""
    refusals = errors or (PermanentError,)
    try:
        yield
    except refusals as error:
        if not 0 < len(str(error)) <= LONGEST_MESSAGE:
            raise AssertionError(f"a message of {len(str(error))} characters") from error


def damaged(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Sound contents with some bytes changed, put in, cut out or doubled."""

    def changed(content: bytes, changes: Sequence[tuple[int, int, bytes]]) -> bytes:
        for kind, place, other in changes:
            at = place % (len(content) + 1)
            if kind == 0:
                content = content[:at] + other + content[at + len(other) :]
            elif kind == 1:
                content = content[:at] + other + content[at:]
            elif kind == 2:
                content = content[:at] + content[at + len(other) :]
            else:
                content = content[:at] + content[at // 2 :]
        return content

    change = st.tuples(st.integers(0, 3), st.integers(0, 1 << 14), st.binary(min_size=1, max_size=8))
    return st.builds(changed, st.sampled_from(seeds), st.lists(change, min_size=1, max_size=4))
