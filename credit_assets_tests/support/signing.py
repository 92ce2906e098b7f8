"""Signatures as ssh-keygen and minisign make them, without either program.

Belongs here: keys, and signing a text. Does not belong here: verifying.
"""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_ID = b"12345678"


class Signer:
    """A person with a key; the same key for the same name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
        self.public = self._key.public_key().public_bytes_raw()

    def ssh_line(self) -> str:
        return f"{self.name} ssh-ed25519 {_text(self._ssh_key())} {self.name}@desk"

    def minisign_line(self) -> str:
        return f"{self.name} {_text(b'Ed' + _ID + self.public)}"

    def ssh(self, text: str, namespace: str = "credit-assets-request", hashing: str = "sha512") -> str:
        digest = hashlib.new(hashing, text.encode()).digest()
        said = [namespace.encode(), b"", hashing.encode()]
        over = b"SSHSIG" + b"".join(map(_string, (*said, digest)))
        own = _string(b"ssh-ed25519") + _string(self._key.sign(over))
        blob = b"SSHSIG\0\0\0\1" + b"".join(map(_string, (self._ssh_key(), *said, own)))
        return f"-----BEGIN SSH SIGNATURE-----\n{_text(blob)}\n-----END SSH SIGNATURE-----\n"

    def minisign(self, text: str, *, hashed: bool = True) -> str:
        over = hashlib.blake2b(text.encode()).digest() if hashed else text.encode()
        own, comment = self._key.sign(over), "timestamp:1 file:request.txt"
        whole = self._key.sign(own + comment.encode())
        kind = b"ED" if hashed else b"Ed"
        return f"untrusted comment: x\n{_text(kind + _ID + own)}\ntrusted comment: {comment}\n{_text(whole)}\n"

    def _ssh_key(self) -> bytes:
        return _string(b"ssh-ed25519") + _string(self.public)


def _text(blob: bytes) -> str:
    return base64.b64encode(blob).decode()


def _string(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text
