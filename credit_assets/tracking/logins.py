"""Logins of MLflow's servers and databases. MLflow prints and shows the URI that it is given: it is given one without.

Belongs here: what a URI is without its login, and how MLflow is let in all the same. Does not belong here: how a secret
looks (`credit_assets.masking`).

A server asks at each request, and MLflow answers with the variables of the environment. A database asks once for each
connection, which SQLAlchemy makes, whoever holds the engine: it is told the password then and there. No variable of a
driver would do: PGPASSWORD is for all databases of a process, the warehouse among them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from credit_assets.masking import without_login, without_passwords

_USER, _PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
# What the environment says of these by itself, while the login of a server's own URI stands in their place.
_given: dict[str, str | None] = {}
# Of databases, the whole URL by the one without a password.
_databases: dict[str, str] = {}
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Login:
    """User and password of one server, or the whole URL of a database; empty where its URI has none. Never shown."""

    user: str = ""
    password: str = field(default="", repr=False)
    database: str = field(default="", repr=False)

    @property
    def secrets(self) -> list[str]:
        return [one for one in (self.password, self.database) if one]


def login_of(uri: str) -> tuple[str, Login]:
    """The URI without its login, and that."""
    if uri.startswith(("http://", "https://")):
        bare, user, password = without_login(uri)
        return bare, Login(user, password)
    bare = without_passwords(uri)
    return bare, Login(database=uri if bare != uri else "")


def log_in(bare: str, login: Login) -> None:
    """Let MLflow in this process log in to what `bare` names. Of a server by the variables that it reads at each
    request: without a login of the URI's own they say what the environment said.
    """
    # Not `fluent.GLOBALS`: a run holds it from beginning to end, and other threads log to it meanwhile.
    with _LOCK:
        put_back(_given)
        _given.clear()
        if login.user:
            _given.update({name: os.environ.get(name) for name in (_USER, _PASSWORD)})
            # Of a user alone the password stands in its variable.
            put_back({_USER: login.user, **({_PASSWORD: login.password} if login.password else {})})
        if login.database and _databases.get(bare) != login.database:
            if not _databases:
                _listen()
            _databases[bare] = login.database


def _listen() -> None:
    from sqlalchemy import Engine, event

    event.listen(Engine, "do_connect", _connected)


def _connected(dialect: Any, _record: Any, arguments: Any, options: dict[str, Any]) -> Any:
    """A connection with the password that its engine was made without; None, for SQLAlchemy to make it as ever, of any
    other.
    """
    from sqlalchemy import make_url

    for bare, whole in list(_databases.items()):
        without, url = make_url(bare), make_url(whole)
        if (without.get_backend_name(), without.get_driver_name()) != (dialect.name, dialect.driver):
            continue
        given, named = dialect.create_connect_args(without)
        first, more = dialect.create_connect_args(url)
        # One that brings a password of its own is let in by that.
        own = any(name in options for name in more if name not in named)
        if list(arguments) == list(given) and not own and named.items() <= options.items():
            return dialect.connect(*first, **{**options, **more})
    return None


def put_back(environment: Mapping[str, str | None]) -> None:
    """Let the environment say this, None for nothing."""
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
