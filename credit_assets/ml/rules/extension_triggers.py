"""Triggers of a lender's own: what such a function must be, and its decision by the reports of several days.

Belongs here: their checks and use. Does not belong here: what every trigger passes, armed or in its cooldown
(`triggers`), and which of a lender's a portfolio uses (`ml.data.extension_use`).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, get_args

from credit_assets.ml.data.extension_use import bound, parameters_of
from credit_assets.ml.data.extensions import Catalogue, Extension
from credit_assets.ml.rules.decisions import Decision
from credit_assets.ml.rules.triggers import TriggerPolicy, TriggerState, decide_condition

Report = Literal["drift_report", "performance_report", "shadow_report"]
TAKEN = frozenset(
    {"drift", "performance", "calibration", "volume", "other", "external", "refresh", "replace", "manual", "schedule"}
)
"""Names of the package's own triggers, and of the other reasons for a training."""


@dataclass(frozen=True)
class Condition:
    """What a trigger of an extension says of one report: whether its condition is met, None where the report cannot
    tell, and the reason in one line for people.
    """

    met: bool | None
    text: str


@dataclass(frozen=True)
class OwnTrigger:
    """A trigger of an extension."""

    extension: Extension
    of: Report
    description: str

    def decide(
        self,
        parameters: Mapping[str, Any],
        reports: Sequence[Mapping[str, Any]],
        state: TriggerState,
        policy: TriggerPolicy,
        *,
        last_retraining: date | None = None,
    ) -> tuple[Decision, TriggerState]:
        """As `triggers.decide_drift`, by the lender's condition. Raises ExtensionError where it fails."""
        conditions = [self.condition(report, parameters) for report in reports]
        found = [(one.met, one.text) for one in conditions]
        return decide_condition(self.of, reports, found, state, policy, last_retraining=last_retraining)

    def condition(self, report: Mapping[str, Any], parameters: Mapping[str, Any]) -> Condition:
        """What it says of one report."""
        its = self.extension
        try:
            given = its.target(report, **bound(its, parameters))
        except Exception as error:
            raise its.error(f"failed with {its.fault(error)} on a {self.of}; correct it") from error
        if not (isinstance(given, Condition) and given.met in (True, False, None) and isinstance(given.text, str)):
            raise its.error("must give a Condition of credit_assets.ml.extensions: met (True, False, None) and text")
        return Condition(None if given.met is None else bool(given.met), f"{given.text} ({its})")


def checked_trigger(extension: Extension) -> OwnTrigger:
    """Raises ExtensionError where the function is no trigger."""
    of = extension.options["of"]
    if of not in get_args(Report):
        raise extension.error(f"it reads {of!r}: write @trigger(of=...) with one of {', '.join(get_args(Report))}")
    if extension.name in TAKEN:
        raise extension.error(f"a reason for a training has this name already (taken: {', '.join(sorted(TAKEN))})")
    parameters_of(extension)
    if extension.resolved(inspect.signature(extension.target).return_annotation) is not Condition:
        raise extension.error("its result must be annotated Condition of credit_assets.ml.extensions")
    description = (inspect.getdoc(extension.target) or "").split("\n\n")[0]
    if not description:
        raise extension.error("it has no docstring: its first paragraph is what people read of the trigger")
    return OwnTrigger(extension, of, " ".join(description.split()))


TRIGGERS: Catalogue[OwnTrigger] = Catalogue("trigger", {}, checked_trigger)
"""By name; the package's own stand in `automation.report_triggers`."""
