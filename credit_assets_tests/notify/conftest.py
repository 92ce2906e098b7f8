"""A mail server and an instance for each test."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from credit_assets_tests.support.mail import Relay


@pytest.fixture
def relay() -> Iterator[Relay]:
    with Relay() as relay:
        yield relay


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance
