"""`credit-assets retrain`: its arguments. What it does stands in `retrain`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from credit_assets.cli.load_options import with_options
from credit_assets.cli.shown import Json, output, progress_bar
from credit_assets.cli.who import who
from credit_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from credit_assets.assets.requested import RetrainingRequest


@dataclass(frozen=True)
class RequestOptions:
    """What is asked of a training, why and by whom."""

    lookback: Annotated[
        int | None, typer.Option(help="Days of mature cohorts to train on; default: CREDIT_LOOKBACK_DAYS.")
    ] = None
    variants: Annotated[
        str, typer.Option(help="Which of CREDIT_VARIANTS to train, comma separated; default: all of them.")
    ] = ""
    param: Annotated[
        list[str] | None, typer.Option(help="VARIANT.PARAMETER=VALUE over CREDIT_VARIANT_PARAMS; repeatable.")
    ] = None
    policy: Annotated[
        list[str] | None,
        typer.Option(help="SECTION.KEY=VALUE over the policy by which this model is judged; repeatable."),
    ] = None
    reason: Annotated[
        str, typer.Option(help="Why; needed where anything of the above is given, and kept with the model.")
    ] = ""
    by: Annotated[
        str, typer.Option(help="Who asks; kept with the model. Default: CREDIT_OPERATOR, else the user running this.")
    ] = ""

    def request(self, settings: Settings, otherwise: str) -> RetrainingRequest:
        """The request; `otherwise` is the reason where none is given. Raises PermanentError for an option without a
        value.
        """
        from credit_assets.assets.requested import RetrainingRequest
        from credit_assets.cli.retrain import nested

        return RetrainingRequest(
            lookback_days=self.lookback,
            variants=[name.strip() for name in self.variants.split(",") if name.strip()],
            variant_params=nested("--param", "xgboost.max_depth=4", self.param or ()),
            policy=nested("--policy", "comparison.min_auc=0.6", self.policy or ()),
            reason=self.reason or otherwise,
            by=who(settings, self.by),
        )


@with_options(RequestOptions)
def retrain(
    as_of: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="As-of date; default: the newest day ingested.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would come of it, and write and register nothing.")
    ] = False,
    json_: Json = False,
    *,
    options: RequestOptions,
) -> None:
    """Train as of one date with other rows, variants, parameters or limits than the settings say, for this run alone.

    Example: credit-assets retrain --lookback 180 --param xgboost.max_depth=4 --reason "deeper history" --dry-run
    """
    from credit_assets.cli import retrain as command
    from credit_assets.instance.home import instance_of

    settings, day = load_settings(), as_of.date() if as_of else None
    request = options.request(settings, "dry run" if dry_run else "")
    if dry_run:
        with progress_bar(quiet=json_) as progress:
            record = command.dry_run(settings, request, day, progress)
    else:
        with instance_of(settings) as instance:
            record = command.retrain(settings, instance, request, day)
    output(record, partial(command.print_retraining, record), json_)
