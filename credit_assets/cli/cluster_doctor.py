"""`credit-assets doctor --cluster`: what a cluster would refuse, before anything is installed.

Belongs here: what the options say, and showing the answers as `doctor` does. Does not belong here: the questions
(`credit_assets.cluster.preflight`).
"""

from __future__ import annotations

import json as json_
from collections.abc import Iterable
from typing import TYPE_CHECKING

from credit_assets.cli.doctor import LIMIT_SECONDS, Finding, record, render, secrets_of, within
from credit_assets.cluster.preflight import SECRET_NAMES, Target, checks
from credit_assets.failures import PermanentError
from credit_assets.settings import Settings, variable

if TYPE_CHECKING:
    from rich.console import Console


def target_of(namespace: str, image: str, secrets: Iterable[str]) -> Target:
    """Where it is going to be installed, by the options. Raises PermanentError for a Secret that nothing needs."""
    names = dict(SECRET_NAMES)
    for one in secrets:
        need, equals, name = one.partition("=")
        if not equals or need not in names:
            raise PermanentError(f"--secret {one}: give NEED=NAME, where NEED is one of {', '.join(names)}")
        names[need] = name
    return Target(namespace, image or Target.image, names)


def examine(settings: Settings, target: Target, console: Console, *, json: bool = False) -> int:
    """Ask and print; returns the exit code: 1 where anything would be refused."""
    secrets = secrets_of(settings)
    findings = []
    for check in checks(settings, target):
        found = within(LIMIT_SECONDS * check.patience, check.look)
        value, advice = secrets.hide(found.value), secrets.hide(found.advice)
        findings.append(Finding(check.name, value, variable(check.setting), found.status, advice, "check"))
    if json:
        console.file.write(json_.dumps(record(findings), indent=1) + "\n")
    else:
        render(findings, console)
    return int(any(finding.status == "fail" for finding in findings))
