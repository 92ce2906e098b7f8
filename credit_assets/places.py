"""What a path or a URI that a person wrote means: one reading for every setting and argument that names a place.

Belongs here: `~`, `$NAME`, relative paths, `file://`, doubled and trailing slashes, and the refusal of what would make
a folder of a strange name where a process happens to stand. Does not belong here: which settings name places
(`credit_assets.settings`), and opening any of them.

Messages never quote the whole text, which may be a URL with a password in it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

from credit_assets.failures import OwnError

# Like `~`, at the beginning only: further on a dollar is a character of a folder's name.
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})(?=/|$)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_FILES = {"file", "local"}
_BUCKETS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl"}
# Without `//` these would be folders; others may be (a folder named a:b).
_REMOTE = {*_BUCKETS, "hdfs", "http", "https", "memory", "ftp", "sftp"}
# Files of a database that is named by a URL, with three slashes before the path.
_DATABASE_FILE = re.compile(r"(?:duckdb|sqlite(?:\+\w+)?):///", re.IGNORECASE)
HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|\w(?:[\w.-]*\w)?)\.?(?::(?P<port>\d{1,5}))?", re.ASCII)
"""A host as the header of a request names it: a name or an address, and a port perhaps; nothing that two readers could
read differently."""


class PlaceError(OwnError, ValueError):
    """The text names no place; the message says why and what to write."""


def local_path(text: str | Path) -> Path:
    """A path of this machine, absolute, with `~` and a leading `$NAME` replaced. Raises PlaceError.

    >>> local_path("/data//books/"), local_path("file:///my%20books")
    (PosixPath('/data/books'), PosixPath('/my books'))
    """
    written = _clean(str(text))
    scheme = _SCHEME.match(written)
    if scheme and scheme[1].lower() in _FILES:
        written = _path_of_file_uri(written[scheme.end() :], bool(scheme[2]))
    try:
        return Path(re.sub("^//+", "/", _begun(written))).absolute()
    except FileNotFoundError as error:
        raise PlaceError("the folder in which this was started is gone: change to another one") from error


def embedded_folder(text: str | Path) -> Path:
    """As `local_path`, for a folder in which databases lie. Raises PlaceError.

    SQLite's are named by URL, where ? begins options and %41 is a letter; DuckDB takes a backslash for a slash.
    """
    folder = local_path(text)
    if re.search(r"[?\\]|%[0-9A-Fa-f]{2}", str(folder)):
        raise PlaceError(
            f"{folder} has a ?, a backslash or a %-escape in its name, which databases in it cannot be opened with"
        )
    return folder


def store_uri(text: str) -> str:
    """A folder, absolute, or the URI of a store elsewhere with single slashes and none at its end. Raises PlaceError.

    >>> store_uri("S3://bucket//loans/"), store_uri("s3://bucket"), store_uri("file:///data/store/")
    ('s3://bucket/loans', 's3://bucket', '/data/store')
    """
    written = _clean(text)
    scheme = _SCHEME.match(written)
    if not scheme or scheme[1].lower() in _FILES:
        return str(local_path(written))
    name, rest = scheme[1].lower(), written[scheme.end() :]
    if not scheme[2]:
        if name in _REMOTE or rest.startswith("/"):
            raise PlaceError(f"{name}: must be followed by //, as in {name}://bucket/folder")
        return str(local_path(written))
    bucket, _, prefix = rest.partition("/")
    if name in _BUCKETS and not bucket:
        raise PlaceError(f"no bucket is named; write {name}://bucket/folder")
    if variable := _VARIABLE.match(bucket):
        raise PlaceError(f"{variable[0]} is not replaced within a URI: write the name of the bucket")
    inner = "/".join(part for part in prefix.split("/") if part)
    return f"{name}://{bucket}/{inner}" if inner else f"{name}://{bucket}"


def database_url(url: str) -> str:
    """A URL whose file, where it names one of this machine, is absolute; any other one as it is. Raises PlaceError.

    >>> database_url("sqlite:////data//mlflow.db?mode=ro"), database_url("https://mlflow.example.org/")
    ('sqlite:////data/mlflow.db?mode=ro', 'https://mlflow.example.org')
    """
    written = _clean(url)
    prefix = _DATABASE_FILE.match(written)
    if prefix is None:
        # An empty query or path only: a password may end with a slash.
        return written.rstrip("/") if re.match(r"https?://[^?#]*/$", written) else written
    file, mark, options = written[prefix.end() :].partition("?")
    if not file or file.startswith(":memory:"):
        return written
    return f"{prefix[0].lower()}{local_path(re.sub('^/+(?=~)', '', file))}{mark}{options}"


def database_file(url: str) -> Path | None:
    """The file that a URL of `database_url` names; None where it names none."""
    prefix = _DATABASE_FILE.match(url)
    file = url[prefix.end() :].partition("?")[0] if prefix else ""
    if not prefix or not file or file.startswith(":memory:"):
        return None
    # SQLAlchemy takes escapes out, DuckDB does not.
    return Path(file if prefix[0].lower().startswith("duckdb") else unquote(file))


def _clean(text: str) -> str:
    written = text.strip()
    if _CONTROL.search(written):
        raise PlaceError("has a line break or control character in it")
    if len(written) > 1 and written[0] == written[-1] and written[0] in "\"'":
        raise PlaceError(f"has quotes around it, which are taken for part of the name: leave the {written[0]} out")
    return written


def _begun(path: str) -> str:
    """The path with what `~` or `$NAME` at its beginning stands for."""
    if variable := _VARIABLE.match(path):
        name = variable[1] or variable[2]
        if not os.environ.get(name):
            raise PlaceError(f"begins with ${name}, which is not set; write the folder out")
        path = os.environ[name] + path[variable.end() :]
    if not path.startswith("~"):
        return path
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise PlaceError(
            f"nobody knows the folder of {path.split('/')[0]} (is HOME set?); write it out, or ./~ for a folder of "
            "that name"
        )
    return expanded


def _path_of_file_uri(rest: str, with_host: bool) -> str:
    host, slash, path = rest.partition("/") if with_host else ("", "", rest)
    if host.startswith(("~", "$", ".")):  # file://~/store: a slash was left out.
        return unquote(rest)
    if host not in ("", "localhost"):
        raise PlaceError(f"names the machine {host!r}; a file: URI of this one has three slashes, as in file:///data")
    return re.sub("^/+(?=[~$])", "", unquote(slash + path))
