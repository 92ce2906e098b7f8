"""Small files in the published LendingClub layout, for tests."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

LOAN = {
    "id": "1001",
    "loan_amnt": "5000",
    "term": " 36 months",
    "int_rate": " 13.56%",
    "emp_length": "10+ years",
    "home_ownership": "RENT",
    "annual_inc": "24000",
    "issue_d": "Dec-2011",
    "loan_status": "Fully Paid",
    "purpose": "credit_card",
    "addr_state": "AZ",
    "dti": "27.65",
    "delinq_2yrs": "0",
    "inq_last_6mths": "1",
    "open_acc": "3",
    "revol_bal": "13648",
    "revol_util": "83.7%",
    "last_pymnt_d": "Jan-2015",
    "tot_cur_bal": "",
    "total_rev_hi_lim": "",
}


def loan(**values: str) -> dict[str, str]:
    return {**LOAN, **values}


def write_csv(
    path: Path, loans: list[dict[str, str]], above: str = "", below: str = "", without: tuple[str, ...] = ()
) -> Path:
    names = ["desc", *(name for name in LOAN if name not in without)]
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", newline="") as file:
        file.write(above)
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        for i, row in enumerate(loans):
            writer.writerow({"desc": 'said "yes",\n\nand more' if i % 2 else "", **row})
        file.write(below)
    return path
