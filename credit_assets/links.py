"""Addresses of pages in the UIs of Dagster and MLflow.

Belongs here: which page is where below a UI's address. Does not belong here: where the UIs are (settings), and where a
link is shown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from credit_assets.masking import without_login

_LINK = re.compile(r"\[[^\]]*\]\((\S+)\)")


def run_page(dagster_url: str, run_id: str) -> str:
    """Page of a run in the Dagster UI."""
    return f"{dagster_url.rstrip('/')}/runs/{run_id}"


def asset_page(dagster_url: str, key: Sequence[str], partition: str = "", **query: str) -> str:
    """Page of an asset, by the path of its key, in the Dagster UI; of its partition where there is one and not a range.

    >>> asset_page("http://dagster/", ["cars", "loan_scores"], "2026-01-31")
    'http://dagster/assets/cars/loan_scores?view=partitions&partition=2026-01-31'
    """
    if partition and " " not in partition:
        query = {"view": "partitions", "partition": partition, **query}
    path = "/".join(quote(part, safe="") for part in key)
    return f"{dagster_url.rstrip('/')}/assets/{path}" + (f"?{urlencode(query)}" if query else "")


def mlflow_page(mlflow_url: str, page: str) -> str:
    """A page of the MLflow UI, without the user and password of its address; empty where that is no web address.

    >>> mlflow_page("https://me:secret@mlflow.lender.example/ui", "/models/credit-scorer")
    'https://mlflow.lender.example/ui/#/models/credit-scorer'
    >>> mlflow_page("sqlite:///mlflow.db", "/models/credit-scorer")
    ''
    """
    parts = urlsplit(without_login(mlflow_url)[0])
    if parts.scheme not in ("http", "https"):
        return ""
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + "/", "", page))


def model_page(name: str, version: str = "") -> str:
    """Where a registered model, or a version of it, is in the MLflow UI."""
    return f"/models/{quote(name, safe='')}" + (f"/versions/{version}" if version else "")


def markdown_link(label: str, address: str) -> str:
    """Markdown of a link: as short as its label, where an address would make a table wider than its page."""
    return f"[{label}]({address})"


def address_of(text: str) -> str:
    """The address of a `markdown_link`, or the text itself where it is none.

    >>> address_of("[version 3](http://mlflow/#/models/credit-scorer/versions/3)"), address_of("version 3")
    ('http://mlflow/#/models/credit-scorer/versions/3', 'version 3')
    """
    found = _LINK.fullmatch(text)
    return found[1] if found else text
