"""Whether files can be written into the store, renamed and read back."""

from __future__ import annotations

from uuid import uuid4

from credit_assets.failures import PermanentError
from credit_assets.health import Health, first_line
from credit_assets.masking import masked_url
from credit_assets.storage.store import Store


def health(uri: str) -> Health:
    """Writes a small file aside, renames it, reads it back and removes it."""
    advice = f"make {masked_url(uri)} writable for this user, or set CREDIT_STORE_URI"
    content = uuid4().hex.encode()
    try:
        root = Store(uri).root
        root.mkdir(parents=True, exist_ok=True)
        aside, probe = root / f".doctor-{content.decode()}.tmp", root / f".doctor-{content.decode()}"
        try:
            aside.write_bytes(content)
            aside.rename(probe)
            if probe.read_bytes() != content:
                return Health("reads back something else than was written", "fail", advice)
        finally:
            for path in (aside, probe):
                if path.exists():
                    path.unlink()
    except PermanentError as error:
        return Health("cannot be opened", "fail", str(error))
    except Exception as error:
        return Health(f"cannot be written: {first_line(error)}", "fail", advice)
    return Health("written, renamed, read and removed a file")
