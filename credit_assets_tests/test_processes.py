"""Marks of processes: each is one process's for ever, and tells whether that one is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from credit_assets import processes
from credit_assets.processes import ProcessMark, own_mark, parse, token_is_gone

SLEEP = [sys.executable, "-c", "import time; time.sleep(3600)"]


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(SLEEP)
    yield process
    process.kill()
    process.wait()


def mark_of(process: subprocess.Popen[bytes]) -> ProcessMark:
    return replace(own_mark(), pid=process.pid, began=processes.began(process.pid) or "")


def test_a_process_lives_until_it_is_killed(other: subprocess.Popen[bytes]) -> None:
    mark = mark_of(other)
    assert (mark.gone, token_is_gone(mark.token)) == (False, False)
    other.kill()
    # Nobody has asked yet how it ended: its number is still there.
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert (mark.gone, token_is_gone(mark.token)) == (True, True)
    other.wait()
    assert (mark.gone, token_is_gone(mark.token)) == (True, True)


def test_this_process_is_not_gone_and_reads_its_own_mark() -> None:
    mark = own_mark()
    assert mark.gone is False
    assert parse(mark.to_json()) == mark
    assert str(os.getpid()) in str(mark)


def test_a_number_that_was_given_again_is_another_process(other: subprocess.Popen[bytes]) -> None:
    mark = replace(mark_of(other), began="1")
    assert (mark.gone, token_is_gone(mark.token)) == (True, True)


def test_a_machine_that_was_restarted_has_none_of_its_processes_left() -> None:
    assert replace(own_mark(), boot="another start").gone is True


@pytest.mark.parametrize("elsewhere", [{"host": "another"}, {"space": "pid:[1]"}, {"boot": ""}])
def test_what_cannot_be_seen_from_here_is_not_called_gone(elsewhere: dict[str, str]) -> None:
    mark = replace(own_mark(), pid=2**22 + 1, **elsewhere)
    assert (mark.gone, token_is_gone(mark.token)) == (None, None)


def test_a_process_that_was_forked_has_a_mark_of_its_own() -> None:
    own_mark()
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.write(write, own_mark().to_json().encode())
        os._exit(0)
    os.waitpid(child, 0)
    mark = parse(os.read(read, 4096).decode())
    os.close(read)
    os.close(write)
    assert mark is not None
    assert mark.pid == child
    assert mark.gone is True


@pytest.mark.parametrize("text", ["", "{}", "[1]", "null", "7", '{"pid": "x"}', "not json"])
def test_what_is_no_mark_is_none(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize("token", ["", "-", "0123456789", "0123456789-12", "abc-def-ghi"])
def test_what_is_no_token_tells_nothing(token: str) -> None:
    assert token_is_gone(token) is None


def test_without_proc_psutil_tells_when_a_process_began(
    other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_LINUX", False)
    began = processes.began(other.pid)
    assert began is not None
    assert processes.began(other.pid) == began
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert processes.began(other.pid) is None
    other.wait()
    assert processes.began(other.pid) is None
