"""The notifier against a real SMTP server, one that is down, and one that refuses."""

from __future__ import annotations

import json
import logging
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from credit_assets.failures import PermanentError, TransientError
from credit_assets.notify.notifier import Notifier
from credit_assets_tests.support.mail import Relay, mail_url, text_of
from credit_assets_tests.support.ports import free_port

SECRET = "s3cr3tT0ken"


@pytest.fixture
def relay() -> Iterator[Relay]:
    with Relay(refuses=lambda address: not address.endswith("@example.org")) as relay:
        yield relay


def test_mail_arrives_without_tls_and_without_login(relay: Relay) -> None:
    notifier = Notifier((relay.url("risk@example.org,ops@example.org"),))
    assert notifier.send("Run failed", "Step xgboost_candidate:\ntoo few outcomes\nZürich", "failure") is True
    assert sorted(to for tos in relay.inbox.recipients for to in tos) == ["ops@example.org", "risk@example.org"]
    message = relay.inbox.messages[0]
    assert "Run failed" in message["Subject"]
    assert "credit@example.org" in message["From"]
    assert message.get_content_type() == "text/plain"
    assert "Step xgboost_candidate:\ntoo few outcomes" in text_of(message).replace("\r\n", "\n")
    assert "Zürich" in text_of(message)


def test_without_urls_nothing_is_sent_and_the_return_says_so() -> None:
    notifier = Notifier()
    assert notifier.send("title", "body", "info") is False
    assert notifier.describe() == ()
    assert notifier.check() == ()


def test_a_server_that_is_down_is_named() -> None:
    port = free_port()
    with pytest.raises(TransientError, match=rf"1 of 1 .*mailto://127\.0\.0\.1:{port} .*onnection") as caught:
        Notifier((mail_url(port),), attempts=1).send("title", "body", "failure")
    assert "doctor" in str(caught.value)


def test_a_refused_recipient_is_a_failure_and_the_other_services_have_the_message(relay: Relay) -> None:
    notifier = Notifier((relay.url("nobody@elsewhere.net"), relay.url()), attempts=1)
    with pytest.raises(TransientError, match="1 of 2") as caught:
        notifier.send("title", "body", "warning")
    assert relay.inbox.recipients == [["risk@example.org"]]
    assert "elsewhere" not in str(caught.value)


def test_a_server_that_is_busy_is_tried_again_and_nobody_gets_it_twice(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apprise.plugins.email import NotifyEmail

    # Between two mails Apprise waits as long as mail servers of providers want it.
    monkeypatch.setattr(NotifyEmail, "request_rate_per_sec", 0)
    relay.inbox.busy = 1
    assert Notifier((relay.url("risk@example.org,ops@example.org"),)).send("title", "body", "info") is True
    assert sorted(to for tos in relay.inbox.recipients for to in tos) == ["ops@example.org", "risk@example.org"]


def test_a_server_that_never_answers_does_not_hold_up_the_sender(relay: Relay) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        notifier = Notifier((mail_url(mute.getsockname()[1]), relay.url()), attempts=1, connect_seconds=1)
        with pytest.raises(TransientError, match="1 of 2"):
            notifier.send("title", "body", "failure")
    assert len(relay.inbox.messages) == 1


def test_a_webhook_gets_the_message_and_its_refusal_shows_no_secret() -> None:
    posted: list[dict[str, Any]] = []
    answers = iter([200, 500])

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(next(answers))
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        notifier = Notifier((f"json://user:{SECRET}@127.0.0.1:{server.server_port}/{SECRET}",), attempts=1)
        assert notifier.send("title", "body", "failure") is True
        assert posted[0]["title"] == "title"
        assert posted[0]["type"] == "failure"
        with pytest.raises(TransientError, match=r"json://127\.0\.0\.1.*500") as caught:
            notifier.send("title", "body", "failure")
    finally:
        server.shutdown()
        server.server_close()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown", "why"),
    [
        (f"nosuch://{SECRET}@host", "nosuch://", "does not know"),
        (f"mailtos://user:{SECRET}@", "mailtos://", "incomplete"),
        (f"slack://{SECRET}", "slack://", "incomplete"),
    ],
)
def test_a_bad_url_is_named_by_scheme_only(
    url: str, shown: str, why: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    notifier = Notifier((mail_url(25), url))
    for attempt in (notifier.check, lambda: notifier.send("title", "body", "info")):
        with caplog.at_level(logging.DEBUG), pytest.raises(PermanentError, match="2 of 2") as caught:
            attempt()
        assert shown in str(caught.value)
        assert why in str(caught.value)
        assert SECRET not in str(caught.value)
    assert SECRET not in caplog.text
    assert SECRET not in "".join(capfd.readouterr())


def test_a_url_without_scheme_is_refused_at_construction() -> None:
    with pytest.raises(PermanentError, match="1 of 1 has no scheme") as caught:
        Notifier((SECRET,))
    assert SECRET not in str(caught.value)


def test_secrets_stay_out_of_everything_shown() -> None:
    notifier = Notifier(
        (f"mailto://user:{SECRET}@relay.example.org:25?to={SECRET}@example.org", f"slack://{SECRET}/a/b")
    )
    assert notifier.describe() == ("mailto://relay.example.org:25", "slack://***")
    assert SECRET not in repr(notifier)


def test_a_check_sends_nothing(relay: Relay) -> None:
    assert Notifier((relay.url(),)).check() == (f"mailto://127.0.0.1:{relay.port}",)
    assert relay.inbox.messages == []


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind must be one of info"):
        Notifier().send("title", "body", "disaster")  # type: ignore[arg-type]


def test_it_travels_to_another_process() -> None:
    notifier = pickle.loads(pickle.dumps(Notifier((mail_url(25),))))
    assert notifier.describe() == ("mailto://127.0.0.1:25",)


def test_importing_and_constructing_leaves_apprise_out() -> None:
    code = (
        "import sys\nfrom credit_assets.notify.notifier import Notifier\n"
        "Notifier(('mailto://localhost',)).describe()\nassert 'apprise' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
