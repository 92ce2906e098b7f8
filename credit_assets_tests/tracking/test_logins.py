"""A login opens its server or its database, and stands nowhere else."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
import sqlalchemy as sa

from credit_assets.failures import PermanentError, TransientError
from credit_assets.settings import SettingsError, load_settings
from credit_assets.storage.claims import Claims
from credit_assets.tracking import Tracking
from credit_assets.tracking.logins import Login, log_in, login_of
from credit_assets.warehouse import open_warehouse
from credit_assets_tests.support.mlflow_server import CANARY
from credit_assets_tests.support.postgres import asking_for_a_password

pytest_plugins = ["credit_assets_tests.support.mlflow_server", "credit_assets_tests.support.postgres"]
USER, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
SERVER = "http://mlflow"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # What a test sets by way of the product is taken back too.
    for name in (USER, PASSWORD):
        monkeypatch.setenv(name, "before")
        monkeypatch.delenv(name)
    yield
    log_in(SERVER, Login())


@pytest.mark.parametrize("written", [CANARY, quote(CANARY, safe="")], ids=["as it is", "percent form"])
def test_a_login_in_the_uri_opens_the_server_and_is_written_nowhere(
    written: str, behind_a_login: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tracking = Tracking(f"http://risk:{written}@{behind_a_login}", f"login {tmp_path.name}", Claims(str(tmp_path)))
    server = tracking.server
    assert server.uri == f"http://{behind_a_login}"
    with server.fluent() as mlflow:
        with mlflow.start_run(experiment_id=server.experiment_id) as run:
            mlflow.log_text("x", "note.txt")
        assert mlflow.get_tracking_uri() == server.uri
        assert "c4" not in os.environ.get("MLFLOW_TRACKING_URI", "")
    kept = server.client.get_run(run.info.run_id).to_dictionary()
    printed = capfd.readouterr()
    shown = f"{kept}{printed}{server!r}{server.run_link('1')}{vars(server)}"
    assert not [form for form in (CANARY, quote(CANARY, safe=""), "na:R@y") if form in shown]


def test_a_wrong_login_says_which_variables_to_set(behind_a_login: str, tmp_path: Path) -> None:
    wrong = Tracking(f"http://risk:no-{CANARY}@{behind_a_login}", "x", Claims(str(tmp_path)))
    with pytest.raises(PermanentError, match="MLFLOW_TRACKING_USERNAME") as caught:
        wrong.server.prepare()
    assert "na:R" not in str(caught.value)


def test_the_variables_open_the_server_too(
    behind_a_login: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(USER, "risk")
    monkeypatch.setenv(PASSWORD, CANARY)
    Tracking(f"http://{behind_a_login}", f"variables {tmp_path.name}", Claims(str(tmp_path))).server.prepare()
    user_alone = Tracking(f"http://risk@{behind_a_login}", f"alone {tmp_path.name}", Claims(str(tmp_path)))
    user_alone.server.prepare()
    assert os.environ[PASSWORD] == CANARY


def test_one_servers_login_never_goes_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(USER, "environment")
    log_in(SERVER, Login("first", "one"))
    assert (os.environ[USER], os.environ[PASSWORD]) == ("first", "one")
    log_in(SERVER, Login("second", "two"))
    assert (os.environ[USER], os.environ[PASSWORD]) == ("second", "two")
    log_in(SERVER, Login())
    assert os.environ[USER] == "environment"
    assert PASSWORD not in os.environ


def test_a_login_travels_to_another_process_and_is_not_shown() -> None:
    login = Login("risk", CANARY)
    assert pickle.loads(pickle.dumps(login)) == login
    assert CANARY not in repr(login)


def test_a_password_of_a_database_opens_it_and_is_written_nowhere(
    postgres_url: str, postgres_database: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also with what SQLAlchemy takes for the end of it, and whoever makes the connection: migration, MLflow's own
    engines, its fluent functions.
    """
    with asking_for_a_password(postgres_url, postgres_database, "locked", CANARY) as uri:
        tracking = Tracking(uri, "login", Claims(str(tmp_path)))
        server = tracking.server
        assert "locked@" in server.uri
        with server.fluent() as mlflow:
            with mlflow.start_run(experiment_id=server.experiment_id) as run:
                mlflow.log_metric("auc", 0.7)
            assert mlflow.get_tracking_uri() == server.uri
        kept = server.client.get_run(run.info.run_id).to_dictionary()
        travelled = pickle.loads(pickle.dumps(server))
        assert travelled.client.get_run(run.info.run_id).data.metrics == {"auc": 0.7}
        printed = capfd.readouterr()
        shown = f"{kept}{printed}{server!r}{vars(server)}"
        assert not [form for form in (CANARY, quote(CANARY, safe=""), "na:R") if form in shown]
        # An engine of somebody else's, with a password of its own that is wrong, is not helped.
        engine = sa.create_engine(sa.make_url(uri).set(password="other"), poolclass=sa.NullPool)
        with pytest.raises(sa.exc.OperationalError, match="authentication failed"):
            engine.connect()


def test_a_wrong_password_of_a_database_is_one_line_without_it(
    postgres_url: str, postgres_database: str, tmp_path: Path
) -> None:
    with asking_for_a_password(postgres_url, postgres_database, "locked", "another") as uri:
        wrong = sa.make_url(uri).set(password=CANARY).render_as_string(hide_password=False)
        with pytest.raises((PermanentError, TransientError), match="authentication failed") as caught:
            Tracking(wrong, "x", Claims(str(tmp_path))).server.prepare()
    assert "na:R" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("postgresql://u:p/w:?#x@h/d?sslmode=require&password=q", "postgresql://u@h/d?sslmode=require"),
        ("mysql+pymysql://u:p%40w@h:3306/d", "mysql+pymysql://u@h:3306/d"),
        ("postgresql:///d?host=/tmp/a@b&sslPassword=x", "postgresql:///d?host=/tmp/a@b"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("sqlite:////tmp/a:b@c/m.db", "sqlite:////tmp/a:b@c/m.db"),
        (
            "mssql+pyodbc:///?odbc_connect=" + quote_plus("SERVER=h;UID=u;PWD={a;}}b};DATABASE=d"),
            "mssql+pyodbc:///?odbc_connect=" + quote_plus("SERVER=h;UID=u;DATABASE=d"),
        ),
    ],
)
def test_what_a_databases_url_is_without_its_passwords(url: str, bare: str) -> None:
    assert login_of(url) == (bare, Login(database=url if url != bare else ""))


@pytest.mark.parametrize(
    "url", ["postgresql://u:s3@cret@h/d", "postgresql://u:a/s3@cret@h/d", "postgresql://u:s3@cr/et@h/d",
            "postgresql://u:s3@cr?et@h/d"]
)  # fmt: skip
def test_a_password_whose_end_is_not_clear_is_refused_with_what_to_write(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    with pytest.raises(SettingsError, match=r"MLFLOW_TRACKING_URI: has more than one @.* as %40") as refused:
        load_settings()
    with pytest.raises(PermanentError, match="more than one @") as told:
        open_warehouse(url).ping()
    assert "cr" not in f"{refused.value}{told.value}".replace("credit", "")
