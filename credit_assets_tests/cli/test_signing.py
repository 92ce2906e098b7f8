"""A promotion that one person asks for and another signs, from the command to the move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from credit_assets.cli.moves import MoveRequest, request_move, sign_request, text_to_sign, withdraw_request
from credit_assets.failures import PermanentError
from credit_assets.resources import build_resources
from credit_assets_tests.support.houses import TRAINED, House, copied_home, open_house
from credit_assets_tests.support.signing import Signer

ANN, BOB = Signer("ann"), Signer("bob")
PROMOTE = MoveRequest("promote", "1", "ann", "committee of 3 May", TRAINED + timedelta(40))


@pytest.fixture
def house(tmp_path: Path, trained_home: Path) -> Iterator[House]:
    (file := tmp_path / "approvers").write_text(f"{ANN.ssh_line()}\n{BOB.ssh_line()}\n")
    with open_house(copied_home(trained_home, tmp_path / "home"), approvers=str(file)) as house:
        yield house


@pytest.mark.slow
def test_a_promotion_waits_until_another_has_signed_it(house: House) -> None:
    settings, instance = house.settings, house.instance
    record = request_move(settings, instance, PROMOTE)
    number = record["request"]
    assert f"request {number} (promote version 1 by ann, entered by " in record["waits"]
    assert "waits for the signature of one of ann, bob, who is not ann" in record["waits"]
    deployment = build_resources(settings)["deployment"]
    assert deployment.apply_pending() == []
    text = text_to_sign(settings, number)
    with pytest.raises(PermanentError, match="ann has asked"):
        sign_request(settings, instance, number, ANN.ssh(text))
    with pytest.raises(PermanentError, match="does not count"):
        sign_request(settings, instance, number, BOB.ssh(text + "x"))
    with pytest.raises(PermanentError, match="no request 99 waits"):
        sign_request(settings, instance, 99, BOB.ssh(text))
    assert [one.number for one in deployment.requests.pending()] == [number]
    # Nobody waits for what takes back.
    with pytest.raises(PermanentError, match="the champion already"):
        request_move(settings, instance, MoveRequest("rollback", "1", "ann", "night"))
    # One that nobody is to sign any more is given up, with who and why, and cannot be signed.
    other = request_move(settings, instance, replace(PROMOTE, reason="by mistake"))["request"]
    assert other != number
    with pytest.raises(PermanentError, match="needs who and why"):
        withdraw_request(settings, other, by="ann", reason=" ")
    withdrawn = withdraw_request(settings, other, by="ann", reason="the wrong version")
    assert withdrawn["outcome"].startswith("withdrawn by ann")
    assert withdrawn["outcome"].endswith(": the wrong version")
    with pytest.raises(PermanentError, match=f"no request {other} waits for anything; those that wait: {number}"):
        sign_request(settings, instance, other, BOB.ssh(text))
    done = sign_request(settings, instance, number, BOB.ssh(text))
    assert (done["by"], done["signed_by"]) == ("ann", "bob")
    assert deployment.requests.pending() == []
