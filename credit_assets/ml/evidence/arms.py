"""Arms: which of two models decides about an application while both are tried on live applications.

Belongs here: the assignment. Does not belong here: how long a trial lasts and what it shows (`shadow`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHAMPION, CHALLENGER = "champion", "challenger"
REFUSED = "refused"
"""In the place of an arm: the model that was to decide does not score the application."""


def assign(ids: Iterable[object], share: float, key: str, salt: str) -> NDArray[np.bool_]:
    """Which of the applications the challenger decides about.

    Keyed BLAKE2b of the id, read as a number in 0 .. 1, lies below `share`. So the arm depends on the id, the key and
    the salt alone: not on the order of rows, the machine, or the time. A larger share keeps all whom a smaller one
    had. Ids are text or integers; 7 and "7" are the same application, whatever the warehouse makes of it.
    Source of the method: R. Kohavi, D. Tang, Y. Xu, Trustworthy Online Controlled Experiments, 2020, chapter 4; the
    hash, RFC 7693.

    Parameters
    ----------
    ids
        Of the applications.
    share
        About how many of them the challenger decides about, 0 .. 1.
    key
        Secret: who knows it could choose an id with the arm in mind.
    salt
        The challenger's version. With another one the arms are independent of those of the trial before, whose effects
        would otherwise be carried over.

    Returns
    -------
    numpy.ndarray of bool
        One for each id, in their order.

    Raises
    ------
    ValueError
        For a share outside 0 .. 1, an empty key, or an id that is missing or neither text nor integer.

    Examples
    --------
    >>> 250 < int(assign(range(1_000), share=0.3, key="secret", salt="2").sum()) < 350
    True
    >>> assign(["7"], 0.3, "secret", "2").tolist() == assign([7], 0.3, "secret", "2").tolist()
    True
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of the challenger must lie in 0 .. 1; got {share}")
    if not key:
        raise ValueError("the key of the assignment must not be empty")
    # A key of any length becomes one of 64 bytes, the most that the hash takes.
    secret = hashlib.blake2b(key.encode()).digest()
    trial = hashlib.blake2b(key=hashlib.blake2b(salt.encode(), key=secret).digest(), digest_size=8)
    digests = bytearray()
    for one in ids.tolist() if hasattr(ids, "tolist") else ids:
        if not isinstance(one, str | int | np.integer) or isinstance(one, bool):
            raise ValueError(f"an id is neither text nor an integer but {type(one).__name__}: no arm can be assigned")
        digest = trial.copy()
        digest.update(str(one).encode())
        digests += digest.digest()
    # The upper 53 bits: all that a float holds, so that no number rounds up to 1.
    numbers = (np.frombuffer(bytes(digests), dtype=">u8") >> np.uint64(11)) * 2.0**-53
    return np.asarray(numbers < share, dtype=np.bool_)
