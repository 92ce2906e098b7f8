"""What is said of a store that cannot be written."""

from __future__ import annotations

from pathlib import Path

from credit_assets.storage.health import health


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = health(str(tmp_path / "file" / "store"))
    assert found.status == "fail"
    assert "CREDIT_STORE_URI" in found.advice
    unknown = health("nosuchfs://bucket/x")
    assert unknown.status == "fail"
    assert "CREDIT_STORE_URI" in unknown.advice
