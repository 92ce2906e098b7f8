"""The units and scales of a file, and whether they are those of the book that it is to go into.

Belongs here: percent and fractions, the size of a column's values, the record of a loaded file, the comparison. Does
not belong here: where records are kept (`credit_assets.warehouse.loaded_files`) and what is read from a file
(`lending_club`, `portfolio_file`).

What a column means (a debt is a balance, or a year's service of it) is compared by name. Where nothing is declared,
sizes are compared: units that are mixed up differ by 10 (a decimal comma), 12 (a month for a year), 100 (percent) or
1000 (thousands). On the public LendingClub loans of 2007 to 2011 medians of a column differ by 3 at most between any
two quarters, and by 4 between samples of 60 loans of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from credit_assets.failures import PermanentError
from credit_assets.loans.loaded_file import LoadedFile, Size
from credit_assets.loans.published_values import Numbers

# Between the factor of ten of the smallest mix-up and what real books do by themselves.
MAX_MEDIAN_RATIO = 5.0
# A median of fewer values wanders too far to be compared; from SOME_VALUES on a file is compared by its range.
ENOUGH_VALUES = 30
SOME_VALUES = 5
# Of the values of a rate without a percent sign, the share on the other side of one that says that both scales are
# there.
MAX_OTHER_SCALE_SHARE = 0.02
# Utilisation may exceed its limit, but no book's largest is below two percent.
_LARGEST_SHARE = 2.0


def sizes_of(table: pa.Table, leave_out: Collection[str]) -> dict[str, Size]:
    """The sizes of the numeric columns of a table."""
    sizes = {}
    for name in table.column_names:
        kind = table[name].type
        if name in leave_out or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            continue
        amounts = np.abs(table[name].drop_null().to_numpy().astype("float64"))
        amounts = amounts[np.isfinite(amounts) & (amounts > 0)]
        if len(amounts):
            sizes[name] = Size(len(amounts), *(float(value) for value in np.quantile(amounts, (0.01, 0.5, 0.99))))
    return sizes


def refuse_contradictions(
    file: LoadedFile, book: Iterable[LoadedFile], accepted: Collection[str], where: object
) -> None:
    """Raise PermanentError where the file's units or scales are not those of the book.

    `accepted`: columns whose size may differ, by the user's word. A file of the same content is no part of the book.
    """
    others = [other for other in book if other.digest != file.digest]
    for name, meaning in file.conventions.items():
        for other in others:
            held = other.conventions.get(name, "")
            if held and meaning and held != meaning and name not in accepted:
                raise PermanentError(
                    f"{where}: {name} is {meaning!r} in the file, but {held!r} in the book (from {other.name}): "
                    "nothing was written; one book has one scale. "
                    + _ADVICE.get(name, "Load it into a book of its own")
                )
    unlike = [
        text
        for name, size in file.sizes.items()
        if name not in accepted and (text := _unlike(name, size, [o.sizes[name] for o in others if name in o.sizes]))
    ]
    if unlike:
        raise PermanentError(
            f"{where}: other units or scales than the book's: {'; '.join(unlike)}: nothing was written. Correct the "
            "unit (`load csv` takes --scale COLUMN=FACTOR), say how its numbers are written (--decimal), or, where the "
            "values are right, accept them with --accept-scale COLUMN"
        )


_ADVICE = {
    "total_debt": "Give --debt debt_service or --debt balance, whichever is the book's, where the file has it; else "
    "load it into a book of its own"
}


def _unlike(name: str, size: Size, book: Sequence[Size]) -> str:
    """What is wrong with a size; empty where it is like any of the book's, or too few values tell."""
    book = [other for other in book if other.values >= ENOUGH_VALUES]
    if not book or size.values < SOME_VALUES:
        return ""
    if size.values < ENOUGH_VALUES:
        # Every value lies where the book has one in a hundred at most.
        if all(size.low > 2 * other.high or size.high < other.low / 2 for other in book):
            return f"all {size.values} values of {name} lie outside the range of the book's"
        return ""
    ratios = [size.median / other.median for other in book]
    nearest = min(ratios, key=lambda ratio: abs(np.log(ratio)))
    if 1 / MAX_MEDIAN_RATIO < nearest < MAX_MEDIAN_RATIO:
        return ""
    held = size.median / nearest
    return f"{name} has the median {size.median:,.6g} ({size.values:,} values), the book {held:,.6g}"


# Percent and fractions


def percent_rows(
    name: str, numbers: Numbers, usable: NDArray[np.bool_], *, rate: bool, otherwise: str, where: object
) -> tuple[NDArray[np.bool_], str]:
    """Which rows of a column are in percent, the rest being fractions of one, and what to say of it.

    A percent sign counts for its own row. Rows without one have one scale: that of a rate follows from its middle,
    since no rate lies under one percent and one wrong value must not turn the scale; that of a share from its largest
    value, since many shares are small, or is `otherwise` where few values tell. Raises PermanentError where both
    scales are there.
    """
    signed = np.zeros(len(usable), dtype=bool) if numbers.percent is None else numbers.percent
    bare = numbers.values[usable & ~signed]
    bare = bare[np.isfinite(bare) & (bare != 0)]
    if not len(bare):
        return signed, "percent with sign" if signed.any() else "fraction"
    limit = 1.0 if rate else _LARGEST_SHARE
    percent = bool((np.median(bare) if rate else bare.max()) > limit)
    if not rate and not percent and len(bare) < ENOUGH_VALUES and otherwise:
        percent = otherwise == "percent"
    other = float((bare <= limit).mean() if percent else (bare > limit).mean())
    if rate and other > MAX_OTHER_SCALE_SHARE:
        raise PermanentError(
            f"{where}: column {name} is written both in percent and as a fraction of one ({other:.1%} of its values "
            "lie on the other side of 1 than the rest): the file is put together of two; load each by itself"
        )
    form = ("percent" if percent else "fraction") + (", percent signs in some rows" if signed.any() else "")
    return signed | percent, form
