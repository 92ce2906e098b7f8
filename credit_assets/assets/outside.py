"""What the graph begins and ends in: assets that no run of ours makes, shown for what comes from and goes to them.

Belongs here: the tables of the warehouse and the registered model as external assets, and their keys. Does not belong
here: reading the tables (`ingestion`), the aliases, whose moves are events (`credit_assets.automation.deployment`), and
requests from outside (`credit_assets.automation.external_trigger`).

An edge from one of them waits for nothing: what is never made in a run holds up no step of it. So the graph shows that
scores come from the champion, and the scores of a day do not wait for that day's training.
"""

from __future__ import annotations

import dagster as dg

from credit_assets.assets.presented import presented
from credit_assets.ledger.registry import CHAMPION
from credit_assets.ledger.reported import alias_key
from credit_assets.ml.data.population import DecisionsTable
from credit_assets.naming import MODEL
from credit_assets.settings import Settings
from credit_assets.stages import CREDIT_SCORING, GOVERNANCE

TABLES, REGISTRY = "warehouse_tables", "model_registry"
"""First parts of the keys of the tables and of the registered model."""


def tables_of(settings: Settings, asset: str) -> list[str]:
    """The tables of the warehouse that an asset reads; none for an asset that reads other assets."""
    portfolio = settings.portfolio_contract
    decisions = portfolio.decisions
    return {
        "raw_loan_data": [portfolio.applications_table],
        "loan_outcomes": [portfolio.outcomes.table],
        "loan_decisions": [decisions.table if isinstance(decisions, DecisionsTable) else portfolio.applications_table],
        # Each application beside the rows of its customer.
        "history_features": [portfolio.applications_table, *(one.table for one in portfolio.histories)],
    }.get(asset, [])


def read_outside(settings: Settings, asset: str) -> list[dg.AssetDep]:
    """The edges from outside to an asset of the graph."""
    keys = [table_key(settings, table) for table in dict.fromkeys(tables_of(settings, asset))]
    if asset == "loan_scores":
        keys.append(alias_key(CHAMPION, settings.naming))
    return [dg.AssetDep(key) for key in keys]


def table_key(settings: Settings, table: str) -> dg.AssetKey:
    return dg.AssetKey(settings.naming.asset(TABLES, table))


def model_key(settings: Settings) -> dg.AssetKey:
    # Of another portfolio the key has its prefix, so that the name in MLflow need not say it again.
    return dg.AssetKey(settings.naming.asset(REGISTRY, MODEL))


def outside_specs(settings: Settings) -> list[dg.AssetSpec]:
    """The tables of the warehouse and the registered model."""
    tables = dict.fromkeys(table for row in settings.graph.assets for table in tables_of(settings, row.name))
    kind = settings.warehouse.split(":", 1)[0].split("+", 1)[0]
    return [
        *(
            dg.AssetSpec(
                table_key(settings, table),
                group_name=CREDIT_SCORING,
                kinds={kind, "table"},
                description=f"Table `{table}` of the lender's warehouse (CREDIT_WAREHOUSE_URL). Nothing here writes to "
                "it but the commands `load` and `generate`.",
                metadata={"dagster/table_name": table},
                **presented(settings),
            )
            for table in tables
        ),
        dg.AssetSpec(
            model_key(settings),
            group_name=GOVERNANCE,
            kinds={"mlflow"},
            deps=[dg.AssetKey(settings.naming.asset("registered_model"))],
            description=f"The registered model `{settings.naming.registered_model}` in MLflow: every version that was "
            "registered. Which of them is in force is said by its aliases.",
            **presented(settings),
        ),
    ]
