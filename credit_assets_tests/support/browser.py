"""A browser on the Dagster and MLflow pages of a home that `credit-assets dev` serves.

It is the machine's own Chromium, named by CHROMIUM or found by its usual names. Where PICTURES names a folder, each
picture is written there, light and dark.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from credit_assets_tests.support.ports import free_port

PATIENCE = 300_000
"""Milliseconds to wait for what a page is to show: a training has to end within it."""
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SIZE = {"width": 1440, "height": 1000}


def chromium() -> str:
    """The path of the browser; skips where there is none, saying why."""
    named = os.environ.get("CHROMIUM", "")
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, _NAMES)), None)
    if not found:
        pytest.skip(f"no browser: {named or ', '.join(_NAMES)} not found; install chromium or set CHROMIUM to its path")
    return found


def playwright() -> Any:
    """What drives it; skips where it is not installed."""
    return pytest.importorskip("playwright.sync_api", reason="no playwright: `make test-browser` installs it")


@dataclass(frozen=True)
class Served:
    """A home with its pages served."""

    home: Path
    dagster: str
    mlflow: str

    def command(self, *arguments: str) -> str:
        """What `credit-assets` prints in this home. Fails where it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "credit_assets.cli.main", *arguments],
            env={**os.environ, "CREDIT_HOME": str(self.home)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def served(home: Path) -> Iterator[Served]:
    """The pages of this home, until it is left."""
    ports = free_port(), free_port()
    environment = {**os.environ, "CREDIT_HOME": str(home)}
    dev = subprocess.Popen(
        [
            sys.executable,
            "-u",
            "-m",
            "credit_assets.cli.main",
            "dev",
            f"--port={ports[0]}",
            f"--mlflow-port={ports[1]}",
        ],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert dev.stdout is not None
        said = []
        for line in dev.stdout:
            said.append(line)
            if line.startswith("ready"):
                break
        else:
            raise AssertionError("".join(said))
        yield Served(home, f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}")
    finally:
        dev.send_signal(signal.SIGTERM)
        dev.wait()


class Pages:
    """A browser's page, and what a person does on it."""

    def __init__(self, page: Any, at: Served) -> None:
        self.page, self.at = page, at

    def open(self, path: str, of: str = "") -> None:
        """Go to a path of Dagster, or of what else is served at `of`."""
        self.page.goto((of or self.at.dagster) + path)

    def sees(self, text: Any, *, inside: Any = None) -> None:
        """Wait until the page shows the text, which may be a pattern."""
        playwright().expect((inside or self.page).get_by_text(text).filter(visible=True).first).to_be_visible(
            timeout=PATIENCE
        )

    def clicks(self, name: Any, role: Any = "button") -> None:
        self.page.get_by_role(role, name=name).first.click(timeout=PATIENCE)

    def clicks_text(self, text: str) -> None:
        """For what can be clicked and has no role."""
        self.page.get_by_text(text).filter(visible=True).first.click(timeout=PATIENCE)

    def picture(self, name: str) -> None:
        """Write what is seen, light and dark, where pictures are wanted: in 128 colours, small enough for the docs."""
        folder = os.environ.get("PICTURES")
        if not folder:
            return
        from PIL import Image

        Path(folder).mkdir(parents=True, exist_ok=True)
        for scheme in ("dark", "light"):
            self.page.emulate_media(color_scheme=scheme)
            if self.page.url.startswith(self.at.mlflow):
                # MLflow does not ask the system: it keeps its own choice, and reads it when it begins.
                self.page.evaluate(
                    "dark => localStorage.setItem('_mlflow_dark_mode_toggle_enabled', dark)", scheme == "dark"
                )
                self.page.reload()
                self.page.wait_for_timeout(5_000)
            # Colours change when the page hears of it, a graph is drawn anew, and states arrive one by one.
            self.page.wait_for_timeout(6_000)
            seen = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
            seen.quantize(128, dither=Image.Dither.NONE).save(Path(folder) / f"{name}-{scheme}.png", optimize=True)


@contextmanager
def browser(at: Served) -> Iterator[Pages]:
    """A browser on the pages served; skips where there is none."""
    path = chromium()
    # Without a sandbox of its own: in containers the kernel gives it none.
    with (
        playwright().sync_playwright() as started,
        started.chromium.launch(executable_path=path, args=["--no-sandbox"]) as opened,
    ):
        page = opened.new_page(viewport=SIZE, color_scheme="light")
        # The colours of the system, and no greeting of newcomers.
        page.add_init_script(
            "localStorage.setItem('dagster-theme', '\"System\"'); localStorage.setItem('communityNux', '1')"
        )
        page.set_default_timeout(PATIENCE)
        yield Pages(page, at)
