"""Who may sign for a promotion: names with their public keys, and whether a signature is one of theirs.

Belongs here: the file of CREDIT_APPROVERS, and reading signatures of ssh-keygen and minisign. Does not belong here:
which request needs one, and whose counts (`credit_assets.ledger.approvals`).

One person a line: a name without spaces, and a public key as `ssh-keygen -t ed25519` or `minisign -G` writes it. The
mathematics is the package cryptography's; here are the two envelopes alone:
https://cvsweb.openbsd.org/src/usr.bin/ssh/PROTOCOL.sshsig and https://jedisct1.github.io/minisign/.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from credit_assets.ml.data.documents import text_of
from credit_assets.places import local_path

NAMESPACE = "credit-assets-request"
"""What `ssh-keygen -Y sign -n` is told: a signature for something else is none of this."""
_SSH, _MAGIC, _BEGIN, _END = b"ssh-ed25519", b"SSHSIG", "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_MINISIGN, _MINISIGN_HASHED = b"Ed", b"ED"


class BadSignatureError(ValueError):
    """It is none, or none of an approver over this text."""


@dataclass(frozen=True)
class Approvers:
    """Names of persons, each with the 32 bytes of an Ed25519 key."""

    keys: Mapping[str, bytes]

    @classmethod
    def read(cls, file: Path) -> Approvers:
        """Raises ValueError naming the line that is no name and key, or the file where it is none to read."""
        text = text_of(file, str(file))
        keys: dict[str, bytes] = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            key = _public_key(words[1:])
            if key is None:
                raise ValueError(
                    f"{file}, line {number}: expected a name and a key, `ann ssh-ed25519 AAAA...` (ssh-keygen -t "
                    "ed25519) or `ann RW...` (minisign)"
                )
            if words[0].casefold() in map(str.casefold, keys) or key in keys.values():
                raise ValueError(f"{file}, line {number}: {words[0]} or this key is there already; one key a person")
            keys[words[0]] = key
        if not keys:
            raise ValueError(f"{file} names nobody")
        return cls(keys)

    def signer(self, text: bytes, signature: str) -> str:
        """The name of the approver whose signature of `text` it is. Raises BadSignatureError where it is none."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            signed = (
                _of_ssh(text, signature) if signature.lstrip().startswith(_BEGIN) else _of_minisign(text, signature)
            )
        except (ValueError, IndexError) as error:
            raise BadSignatureError(f"it is no signature of `ssh-keygen -Y sign` or `minisign -S` ({error})") from error
        for name, key in self.keys.items():
            try:
                for one, over in signed:
                    Ed25519PublicKey.from_public_bytes(key).verify(one, over)
            except InvalidSignature:
                continue
            return name
        raise BadSignatureError("no approver has signed this text with it: it is of another key, or of another text")


def approvers_file(value: object) -> object:
    """What CREDIT_APPROVERS is given, as a file that has been read. Raises ValueError as `Approvers.read`."""
    file = local_path(value) if isinstance(value, str) and value else value or None
    if isinstance(file, Path):
        Approvers.read(file)
    return file


ApproversFile = Annotated[Path | None, BeforeValidator(approvers_file)]

_Signed = list[tuple[bytes, bytes]]
"""Signatures, each with what it is over."""


def _of_ssh(text: bytes, signature: str) -> _Signed:
    body = signature.split(_BEGIN, 1)[1].split(_END, 1)[0]
    blob = base64.b64decode("".join(body.split()), validate=True)
    if blob[:6] != _MAGIC or blob[6:10] != b"\0\0\0\1":
        raise ValueError("another format")
    _, namespace, reserved, hashing, signed = _strings(blob[10:])
    if namespace != NAMESPACE.encode():
        raise ValueError(f"it was made for another purpose: sign with -n {NAMESPACE}")
    if hashing not in (b"sha512", b"sha256"):
        raise ValueError("another hash")
    kind, own = _strings(signed)
    if kind != _SSH:
        raise ValueError("another kind of key than ed25519")
    digest = hashlib.new(hashing.decode(), text).digest()
    return [(own, _MAGIC + b"".join(map(_string, (namespace, reserved, hashing, digest))))]


def _of_minisign(text: bytes, signature: str) -> _Signed:
    _, first, trusted, second = signature.strip().splitlines()
    blob, over_all = base64.b64decode(first, validate=True), base64.b64decode(second, validate=True)
    comment = trusted.removeprefix("trusted comment: ")
    if len(blob) != 74 or len(over_all) != 64 or comment == trusted or blob[:2] not in (_MINISIGN, _MINISIGN_HASHED):
        raise ValueError("another format")
    over = hashlib.blake2b(text).digest() if blob[:2] == _MINISIGN_HASHED else text
    return [(blob[10:], over), (over_all, blob[10:] + comment.encode())]


def _public_key(words: list[str]) -> bytes | None:
    """The key of a line; None where it has none."""
    try:
        if len(words) >= 2 and words[0] == _SSH.decode():
            kind, key = _strings(base64.b64decode(words[1], validate=True))
            return key if kind == _SSH and len(key) == 32 else None
        raw = base64.b64decode(words[0], validate=True) if len(words) == 1 else b""
        return raw[10:] if len(raw) == 42 and raw[:2] == _MINISIGN else None
    except ValueError:
        return None


def _strings(blob: bytes) -> list[bytes]:
    """Strings with their lengths before them, as ssh writes them. Raises ValueError where one is cut short."""
    found = []
    while blob:
        length = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + length:
            raise ValueError("it is cut short")
        found.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    return found


def _string(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text
