"""The sensor that does what requests ask and records every move of an alias.

Belongs here: looking at the log of requests and at the log of moves on every tick. Does not belong here: what a request
does and what a move is (`credit_assets.ledger.deployment`).
"""

from __future__ import annotations

import dagster as dg

from credit_assets.assets.outside import model_key
from credit_assets.assets.presented import presented
from credit_assets.ledger.deployment import ALIASES, Deployment
from credit_assets.ledger.reported import alias_key, report_moves, reported_up_to
from credit_assets.naming import PLAIN, Names
from credit_assets.notify.ticks import handles_tick_errors
from credit_assets.settings import Settings
from credit_assets.stages import GOVERNANCE

DEPLOYMENT_SENSOR = "deployment_requests"
_NOTHING = "no request and no move"


def alias_specs(settings: Settings) -> list[dg.AssetSpec]:
    """External assets whose materializations are the moves of the aliases."""
    naming = settings.naming
    return [
        dg.AssetSpec(
            alias_key(alias, naming),
            group_name=GOVERNANCE,
            **presented(settings),
            kinds={"mlflow"},
            deps=[dg.AssetKey(naming.asset("deployed_model")), model_key(settings)],
            description=f"Moves of the alias `{alias}` of the registered model: from which version to which, since "
            "when, by whom and why. One materialization a move.",
        )
        for alias in ALIASES
    ]


def deployment_sensor(naming: Names = PLAIN) -> dg.SensorDefinition:
    @dg.sensor(
        name=naming.dagster(DEPLOYMENT_SENSOR),
        description="Brings into force what people and finished trials asked for (promote, approve, rollback, reject), "
        "and reports every move of an alias as a materialization of model_aliases.",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
    )
    # Requests and moves stay in their logs; the next tick finds them.
    @handles_tick_errors("the store or MLflow")
    def deployment_requests(
        context: dg.SensorEvaluationContext, deployment: dg.ResourceParam[Deployment]
    ) -> dg.SkipReason:
        looked, done = deployment.looked, reported_up_to(context.instance, deployment.registry)
        if looked.nothing_new(done):
            return dg.SkipReason(_NOTHING)
        ends = looked.ends()
        completed = deployment.recover()
        outcomes = deployment.apply_pending()
        moves = report_moves(context.instance, deployment.registry)
        lines = [f"completed what was cut short: {what}" for what in completed]
        lines += [f"request {r.number} ({r.kind} version {r.version} by {r.by}): {outcome}" for r, outcome in outcomes]
        lines += [f"{alias} moved to {move.version or 'nobody'}" for alias, move in moves]
        damaged = deployment.requests.damaged()
        for message in damaged:
            context.log.warning(message)
        if not lines and not damaged and not deployment.requests.pending():
            looked.note(ends, done)
        return dg.SkipReason("; ".join([*lines, *damaged]) or _NOTHING)

    return deployment_requests
