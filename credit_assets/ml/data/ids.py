"""Ids of applications in two tables: the one spelling in which they are compared, and what they look like.

Belongs here: what two systems do to an id that is no part of it, and the form of ids that do not meet. Does not belong
here: finding those (`orphans`), and reading an id as its type (`values`).

Taken for no part of an id, in both tables: blanks around it (text of a fixed length is padded), how a letter with an
accent is composed (Unicode NFC), braces and capitals of a UUID, and `.0` after a whole number. What may tell two ids
apart is left: leading zeros, capitals, blanks and signs within.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from unicodedata import normalize

if TYPE_CHECKING:
    import pyarrow as pa

_UUID = r"^\{?[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}?$"
_FLOAT = r"^(-?[0-9]+)\.0+$"


def normal_ids(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Ids in their one spelling; the column itself where they have it. Numbers have but one.

    >>> import pyarrow as pa
    >>> normal_ids(pa.chunked_array([["A1  ", "{5F0C1B7E-0000-4000-8000-00000000000A}", "17.0", "007"]])).to_pylist()
    ['A1', '5f0c1b7e-0000-4000-8000-00000000000a', '17', '007']
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type)):
        return ids
    normal = pc.utf8_trim_whitespace(ids)
    if pc.all(pc.string_is_ascii(normal)).as_py() is False:
        # By Python: Arrow's own normalization to NFC takes letters apart.
        composed = [None if text is None else normalize("NFC", text) for text in normal.to_pylist()]
        normal = pa.chunked_array([pa.array(composed, normal.type)])
    uuid = pc.match_substring_regex(normal, _UUID)
    if pc.any(uuid).as_py():
        bare = pc.utf8_lower(pc.utf8_trim(normal, characters="{}"))
        normal = pc.if_else(uuid, bare, normal)
    if pc.any(pc.ends_with(normal, "0")).as_py():
        normal = pc.replace_substring_regex(normal, _FLOAT, r"\1")
    return ids if normal.equals(ids) else normal


def form_of(ids: pa.ChunkedArray) -> str:
    """What ids look like, for a message: type, lengths, digits, leading zeros, capitals, blanks; never one of them.

    >>> import pyarrow as pa
    >>> form_of(pa.chunked_array([["000123", "000124", "987654"]]))
    'text of 6 characters, all digits, 67% with leading zeros'
    >>> form_of(pa.chunked_array([[123, 1240]]))
    'numbers of 3 to 4 digits'
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    given = ids.drop_null()
    if not len(given):
        return "none"
    texts = given.cast(pa.string())
    ends = pc.min_max(pc.utf8_length(texts))
    first, last = ends["min"].as_py(), ends["max"].as_py()
    length = f"{first}" if first == last else f"{first} to {last}"
    if pa.types.is_integer(ids.type):
        return f"numbers of {length} digits"

    def share(pattern: str) -> float:
        return float(pc.mean(pc.match_substring_regex(texts, pattern).cast(pa.float64())).as_py())

    found = [
        f"text of {length} characters",
        *(_share(share(pattern), words) for pattern, words in _FORMS),
    ]
    return ", ".join(part for part in found if part)


_FORMS = (
    (r"^[0-9]+$", "digits"),
    (_UUID, "UUIDs"),
    (r"^0", "with leading zeros"),
    (r"[A-Z]", "with capitals"),
    (r"[a-z]", "with small letters"),
    (r"\s", "with blanks"),
    (r"[^A-Za-z0-9\s]", "with other signs"),
)


def _share(share: float, words: str) -> str:
    if not share:
        return ""
    return f"all {words}" if share == 1 else f"{max(share, 0.01):.0%} {words}"
