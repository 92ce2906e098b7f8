"""Claims on a local folder and on a real S3 API: many processes, one winner."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from credit_assets.failures import PermanentError, TransientError
from credit_assets.storage.claims import Claims

pytest_plugins = ["credit_assets_tests.support.s3"]


def _claim_all(store_uri: str, who: int, names: int, barrier: Any) -> dict[int, str]:
    claims = Claims(store_uri)
    claims.get("warm/up")
    barrier.wait(60)
    # Neighbours meet at every name, and each has names where it is early.
    order = [(n + 3 * who) % names for n in range(names)]
    return {n: claims.claim(f"race/{n}", f"worker-{who}") for n in order}


def _claim_in_process(store_uri: str, who: int, names: int, barrier: Any, answers: Any) -> None:
    answers.put(_claim_all(store_uri, who, names, barrier))


def _agree(answers: list[dict[int, str]]) -> None:
    assert all(answer == answers[0] for answer in answers)
    assert len(set(answers[0].values())) > 1, "one claimant won every name: they did not run at once"


def test_many_processes_agree_on_one_winner_locally(tmp_path: Path) -> None:
    store_uri, spawn = str(tmp_path / "store"), multiprocessing.get_context("spawn")
    barrier, answers = spawn.Barrier(4), spawn.Queue()
    workers = [spawn.Process(target=_claim_in_process, args=(store_uri, n, 60, barrier, answers)) for n in range(4)]
    for worker in workers:
        worker.start()
    _agree([answers.get() for _ in workers])
    for worker in workers:
        worker.join()
    assert Claims(store_uri).names("race") == sorted(str(n) for n in range(60))
    assert not [p for p in (tmp_path / "store" / "claims" / "race").iterdir() if p.name.startswith(".")]


def test_many_clients_agree_on_one_winner_on_s3(bucket: str) -> None:
    # Threads: each has a client of its own, as a process has, and does without its seconds of imports.
    barrier = threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        _agree([*pool.map(lambda who: _claim_all(bucket, who, 25, barrier), range(4))])


def test_a_claim_is_kept_and_listed_on_s3(bucket: str) -> None:
    claims = Claims(bucket)
    assert claims.names("moves") == []
    assert claims.get("moves/1") is None
    assert claims.claim("moves/1", "a") == "a"
    assert claims.claim("moves/1", "b") == "a"
    assert claims.names("moves") == ["1"]
    # A listing that another process has made longer since is seen.
    assert Claims(bucket).claim("moves/2", "c") == "c"
    assert claims.names("moves") == ["1", "2"]


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    claims = Claims(str(tmp_path))
    assert claims.claim("run/1", "a") == "a"
    assert claims.claim("run/1", "b") == "a"
    (tmp_path / "claims" / "run" / "2").write_bytes(b"")
    monkeypatch.setattr("credit_assets.storage.claims.time.sleep", lambda _: None)
    with pytest.raises(PermanentError, match="is no claim, which is one line of text"):
        claims.get("run/2")


@pytest.mark.parametrize("held", [b"", b"half", b"\xff\xfe\n"])
def test_what_is_no_claim_is_refused_and_a_log_reads_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bytes
) -> None:
    path = tmp_path / "claims" / "run" / "1"
    path.parent.mkdir(parents=True)
    path.write_bytes(held)
    os.utime(path, (0, 0))
    # Nobody is writing a file of long ago, and nobody waits for it.
    monkeypatch.setattr("credit_assets.storage.claims.time.sleep", lambda _: pytest.fail("waited"))
    claims = Claims(str(tmp_path))
    with pytest.raises(PermanentError, match="bring it back from a backup"):
        claims.get("run/1")
    assert claims.text("run/1") == held.decode("utf-8", "backslashreplace").removesuffix("\n")
    assert claims.text("run/2") is None


def test_a_loser_discards_what_it_made_and_gets_the_winners(tmp_path: Path) -> None:
    claims, discarded = Claims(str(tmp_path)), []

    def create_while_another_claims() -> str:
        Claims(str(tmp_path)).claim("run/x", "theirs")
        return "mine"

    got = claims.single("run/x", create=create_while_another_claims, alive=lambda _: True, discard=discarded.append)
    assert (got, discarded) == ("theirs", ["mine"])


def test_something_deleted_by_hand_is_succeeded_once(tmp_path: Path) -> None:
    claims, made = Claims(str(tmp_path)), iter("abc")
    gone = {"a"}

    def single() -> str:
        return claims.single(
            "run/x", create=lambda: next(made), alive=lambda held: held not in gone, discard=lambda _: None
        )

    gone.clear()
    assert single() == "a"
    gone.add("a")
    assert [single(), single()] == ["b", "b"]
    assert claims.holders("run/x") == ["a", "b"]


def test_nothing_is_made_while_the_claimed_one_lives(tmp_path: Path) -> None:
    claims = Claims(str(tmp_path))
    claims.claim("run/x", "there")

    def fail() -> str:
        raise AssertionError("created although claimed")

    assert claims.single("run/x", create=fail, alive=lambda _: True, discard=lambda _: None) == "there"


@pytest.mark.parametrize("name", ["", "../x", "/x", "a//b", "a b", ".hidden", "a/../b"])
def test_names_stay_inside_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a claim"):
        Claims(str(tmp_path)).claim(name, "v")


def test_a_filesystem_that_cannot_create_exclusively_is_refused() -> None:
    with pytest.raises(PermanentError, match="cannot create a file exclusively"):
        Claims("ftp://host/x").claim("a", "b")


def test_an_unreachable_store_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs", reason="the s3 extra is not installed")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    claims = Claims("s3://store/x", endpoint_url="http://127.0.0.1:9", config_kwargs={"retries": {"max_attempts": 0}})
    with pytest.raises(TransientError, match="cannot read the claim a"):
        claims.get("a")


def test_a_folder_that_cannot_be_written_is_permanent(tmp_path: Path) -> None:
    (tmp_path / "claims").write_text("a file where the folder should be")
    with pytest.raises(PermanentError, match="see that this process may read and write there"):
        Claims(str(tmp_path)).claim("run/1", "a")
