"""Outcomes that belong to no application there is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import numpy as np
import pyarrow as pa

from credit_assets.ml.data.gate_results import GateResult
from credit_assets.ml.data.orphans import Orphans, find_orphans
from credit_assets.ml.data.portfolio import load_portfolio
from credit_assets.ml.rules.training_gates import orphan_gate, with_orphans
from credit_assets.warehouse import Warehouse, open_warehouse
from credit_assets_tests.support.warehouses import applications, execute

pytest_plugins = ["credit_assets_tests.support.postgres", "credit_assets_tests.support.warehouses"]
PORTFOLIO = load_portfolio()


def ids(*values: object) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values)])


def test_orphans_are_those_in_no_batch() -> None:
    batches = [ids("1", "2 "), ids("3"), ids()]
    assert find_orphans(ids("1", "2", "3"), batches) == Orphans(3, 0)
    found = find_orphans(ids("1", "02", "2", "9", "9"), batches)
    assert (found.outcomes, found.orphans) == (5, 3)
    assert found.outcome_form == "text of 1 to 2 characters, all digits, 33% with leading zeros"
    assert find_orphans(ids("1"), []).application_form == "none"
    assert find_orphans(pa.chunked_array([pa.array([], pa.string())]), batches) == Orphans(0, 0)


def test_lost_zeros_block_and_the_message_has_both_forms_and_no_id() -> None:
    padded = [f"{n:09d}" for n in range(4000)]
    known = ids(*(name.lstrip("0") if n % 4 == 0 else name for n, name in enumerate(padded)))
    gate = orphan_gate(find_orphans(known, [ids(*padded)]), PORTFOLIO)
    assert gate.blocks
    assert "1,000 of 4,000 outcomes (25.0%)" in gate.description
    assert "max_orphan_share" in gate.description
    assert "text of 9 characters, all digits, all with leading zeros" in gate.description
    assert "text of 0 to 4 characters" in gate.description
    assert "lookback" not in gate.description
    assert not any(name in gate.description for name in padded[1:20])


def test_no_lookback_is_advised_where_outcomes_meet_nothing() -> None:
    advice = "too few bads; at this rate 90 days of cohorts have enough: a longer lookback."
    short = GateResult("enough_outcomes", False, "error", 0, "40", advice, setting="gates: min_bads")
    for found, advised in ((Orphans(100, 100, "a", "b"), False), (Orphans(100, 0), True)):
        gates = with_orphans([short], orphan_gate(found, PORTFOLIO))
        assert [gate.name for gate in gates] == ["orphans", "enough_outcomes"]
        assert ("lookback" in gates[1].description) is advised


def test_few_orphans_are_told_and_pass() -> None:
    gate = orphan_gate(Orphans(1000, 12, "text of 3 characters", "text of 4 characters"), PORTFOLIO)
    assert gate.passed  # 1.2% of 1,000 is no news at 1%
    assert "12 of 1,000" in gate.description
    assert orphan_gate(Orphans(0, 0), PORTFOLIO).passed
    assert orphan_gate(Orphans(1000, 0), PORTFOLIO).details == ()


def test_no_batch_is_asked_for_once_all_are_found() -> None:
    asked = []

    def batches() -> Iterator[pa.ChunkedArray]:
        for batch in (ids("1"), ids("2"), ids("3")):
            asked.append(batch)
            yield batch

    assert find_orphans(ids("2", "1"), batches()) == Orphans(2, 0)
    assert len(asked) == 2


def test_how_often_the_gate_fires() -> None:
    """At the limit at most once in a hundred books; at three times the limit, on 1,500 outcomes, nearly always."""
    random = np.random.default_rng(5)

    def fires(share: float) -> float:
        return float(np.mean([orphan_gate(Orphans(1500, int(n), "a", "b"), PORTFOLIO).blocks
                              for n in random.binomial(1500, share, 1000)]))  # fmt: skip

    assert fires(0.01) <= 0.015
    assert fires(0.005) == 0
    assert fires(0.03) > 0.98


def test_ids_of_all_applications_are_read_whatever_their_day(filled: Warehouse) -> None:
    execute(filled, "UPDATE loan_applications SET application_date = '1999-01-01' WHERE application_id < 'A0005'")
    read = [name for batch in filled.application_ids(PORTFOLIO) for name in batch.to_pylist()]
    table = applications(PORTFOLIO, 30)
    assert sorted(read) == sorted(table["application_id"].to_pylist())
    # Of some days, and perhaps of those beside them where days are texts.
    first, last = date(1999, 1, 1), date(1999, 1, 1)
    within = [name for batch in filled.application_ids(PORTFOLIO, (first, last)) for name in batch.to_pylist()]
    assert sorted(within) == ["A0000", "A0001", "A0002", "A0003", "A0004"]


def test_padded_ids_of_postgresql_meet(postgres_database: str) -> None:
    warehouse = open_warehouse(postgres_database)
    warehouse.create_tables(PORTFOLIO)
    warehouse.write(PORTFOLIO, applications(PORTFOLIO, 30), None)
    execute(warehouse, "ALTER TABLE loan_applications ALTER application_id TYPE char(12)")
    assert find_orphans(ids("A0001", "A0029", "A0030"), warehouse.application_ids(PORTFOLIO)).orphans == 1
