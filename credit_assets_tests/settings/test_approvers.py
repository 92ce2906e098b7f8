"""Approvers: keys and signatures as ssh-keygen and minisign write them, and everything that is none."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from credit_assets.settings import SettingsError, load_settings
from credit_assets.settings.approvers import Approvers, BadSignatureError
from credit_assets_tests.support.signing import Signer

ANN, BOB, EVE = Signer("ann"), Signer("bob"), Signer("eve")
TEXT = '{"number": 7}\n'


@pytest.fixture
def approvers(tmp_path: Path) -> Approvers:
    file = tmp_path / "approvers"
    file.write_text(f"# who may sign\n\n{ANN.ssh_line()}\n{BOB.minisign_line()}\n")
    return Approvers.read(file)


def signer(approvers: Approvers, signature: str, text: str = TEXT) -> str:
    return approvers.signer(text.encode(), signature)


def test_signatures_of_both_programs_name_who_signed(approvers: Approvers) -> None:
    assert sorted(approvers.keys) == ["ann", "bob"]
    assert signer(approvers, ANN.ssh(TEXT)) == "ann"
    assert signer(approvers, ANN.ssh(TEXT, hashing="sha256")) == "ann"
    assert signer(approvers, BOB.minisign(TEXT)) == "bob"
    assert signer(approvers, BOB.minisign(TEXT, hashed=False)) == "bob"
    # A key is a key, in whichever of the two a person keeps it.
    assert signer(approvers, BOB.ssh(TEXT)) == "bob"


BAD: dict[str, tuple[str, str]] = {
    "another's key": (EVE.ssh(TEXT), "of another key"),
    "another's key, minisign": (EVE.minisign(TEXT), "of another key"),
    "another text": (ANN.ssh('{"number": 8}\n'), "of another text"),
    "another text, minisign": (BOB.minisign('{"number": 8}\n'), "of another text"),
    "another purpose": (ANN.ssh(TEXT, namespace="git"), "sign with -n credit-assets-request"),
    "empty": ("", "is no signature"),
    "words": ("signed, ann", "is no signature"),
    "cut short": (ANN.ssh(TEXT)[:120] + "\n-----END SSH SIGNATURE-----\n", "is no signature"),
    "a comment exchanged": (BOB.minisign(TEXT).replace("file:request.txt", "file:other.txt"), "of another"),
    "no base64": ("-----BEGIN SSH SIGNATURE-----\n%%%\n-----END SSH SIGNATURE-----\n", "is no signature"),
}


@pytest.mark.parametrize(("signature", "said"), BAD.values(), ids=BAD.keys())
def test_what_is_no_signature_of_an_approver_counts_for_none(approvers: Approvers, signature: str, said: str) -> None:
    with pytest.raises(BadSignatureError, match=said):
        signer(approvers, signature)


@pytest.mark.parametrize("make", [ANN.ssh, BOB.minisign], ids=["ssh", "minisign"])
def test_no_changed_character_of_text_or_signature_passes(approvers: Approvers, make: Callable[[str], str]) -> None:
    signature = make(TEXT)
    for at in range(len(TEXT)):
        other = TEXT[:at] + chr(ord(TEXT[at]) ^ 1) + TEXT[at + 1 :]
        with pytest.raises(BadSignatureError):
            signer(approvers, signature, other)


FILES: dict[str, tuple[str, str]] = {
    "nobody": ("# nobody yet\n", "names nobody"),
    "a name alone": ("ann\n", "line 1: expected a name and a key"),
    "another kind of key": ("ann ssh-rsa AAAAB3NzaC1yc2E=\n", "line 1: expected"),
    "half a key": (f"ann ssh-ed25519 {ANN.ssh_line().split()[2][:40]}\n", "line 1: expected"),
    "a name twice": (f"{ANN.ssh_line()}\n{ANN.ssh_line().replace('ann', 'Ann', 1)}\n", "line 2: Ann or this key"),
    "a key twice": (f"{ANN.ssh_line()}\n{ANN.minisign_line().replace('ann', 'bob')}\n", "line 2: bob or this key"),
}


@pytest.mark.parametrize(("text", "said"), FILES.values(), ids=FILES.keys())
def test_a_file_that_names_no_keys_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (file := tmp_path / "approvers").write_text(text)
    with pytest.raises(SettingsError, match=said):
        load_settings(home=tmp_path, approvers=str(file))


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(home=tmp_path, approvers=str(tmp_path / "none"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(home=tmp_path, approvers=str(tmp_path / "binary"))


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs the program ssh-keygen")
def test_what_ssh_keygen_itself_signs_is_verified(tmp_path: Path) -> None:
    key, text = tmp_path / "key", tmp_path / "request.txt"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    text.write_text(TEXT)
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", "credit-assets-request", "-f", str(key), str(text)],
        check=True,
        capture_output=True,
    )
    (file := tmp_path / "approvers").write_text(f"carol {key.with_suffix('.pub').read_text()}")
    assert signer(Approvers.read(file), text.with_suffix(".txt.sig").read_text()) == "carol"
