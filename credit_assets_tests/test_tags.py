"""Tag names and the partition that a run's tags name."""

from __future__ import annotations

import pytest

from credit_assets.profiles import label_value
from credit_assets.tags import partition_of, range_tags


@pytest.mark.parametrize(
    ("tags", "shown", "label"),
    [
        ({"dagster/partition": "2024-01-05"}, "2024-01-05", "2024-01-05"),
        (
            {"dagster/asset_partition_range_start": "2024-01-01", "dagster/asset_partition_range_end": "2024-12-31"},
            "2024-01-01 .. 2024-12-31",
            "2024-01-01_2024-12-31",
        ),
        ({}, "", ""),
    ],
)
def test_the_partition_of_a_run(tags: dict[str, str], shown: str, label: str) -> None:
    assert partition_of(tags) == shown
    assert label_value(partition_of(tags, between="_")) == label


def test_a_range_is_read_as_it_was_written() -> None:
    assert partition_of(range_tags("2024-01-01", "2024-01-31")) == "2024-01-01 .. 2024-01-31"
