"""The pages of the demo, which all tests of this folder open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from credit_assets_tests.support.browser import Pages, Served, browser, chromium, playwright, served
from credit_assets_tests.support.houses import copied_home


@pytest.fixture(scope="module")
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The demo's pages, of a copy. Nobody makes the demo for a browser that is not there."""
    playwright()
    chromium()
    home = copied_home(request.getfixturevalue("demo_home"), tmp_path_factory.mktemp("pages") / "home")
    with served(home) as at:
        yield at


@pytest.fixture
def pages(house: Served) -> Iterator[Pages]:
    with browser(house) as opened:
        yield opened
