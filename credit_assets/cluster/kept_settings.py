"""Settings of earlier releases: ConfigMaps that runs under way still need, and which of the others may go.

Belongs here: which are needed, and deleting the rest. Does not belong here: how they are named and kept (the chart),
and how a run comes by them (its code location says so, and it stands on the run from when it is asked for).

    python -m credit_assets.cluster.kept_settings --namespace lending --selector app=x --keep 5 --now NAME ...
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dagster as dg

from credit_assets.cluster.refusals import ask_bounded, is_missing, refusal_of
from credit_assets.instance.statuses import UNFINISHED


@dataclass(frozen=True)
class KeptConfigMap:
    """A ConfigMap, and when it was made."""

    name: str
    made: datetime


def dispensable(there: Iterable[KeptConfigMap], needed: Collection[str], keep: int) -> list[str]:
    """The names of those that nobody needs, but for the newest `keep` of them, oldest first.

    Those are kept for a roll back, and since a page that has loaded the code location before the upgrade may still ask
    for a run.
    """
    unneeded = sorted((one for one in there if one.name not in needed), key=lambda one: (one.made, one.name))
    return [one.name for one in unneeded[: max(0, len(unneeded) - keep)]]


def needed_by_runs(instance: dg.DagsterInstance) -> set[str]:
    """Every ConfigMap that a run which has not ended names, whether or not its pod is there yet."""
    runs = instance.get_runs(dg.RunsFilter(statuses=list(UNFINISHED)))
    return {name for run in runs for name in named_in(_context(run))}


def _context(run: dg.DagsterRun) -> Any:
    origin = run.job_code_origin
    return origin.repository_origin.container_context if origin else None


def named_in(value: Any) -> set[str]:
    """All texts within a container context: whatever of it names a ConfigMap is among them."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, dict):
        value = value.values()
    return {name for one in value for name in named_in(one)} if isinstance(value, Iterable) else set()


def clean(instance: dg.DagsterInstance, api: Any, where: argparse.Namespace) -> list[str]:
    """Delete what is dispensable in the namespace, and give the names of it."""
    # Before the runs: what a run that is asked for in between names is of this release, or among the newest.
    found = api.list_namespaced_config_map(where.namespace, label_selector=where.selector).items
    there = [KeptConfigMap(one.metadata.name, one.metadata.creation_timestamp) for one in found]
    gone = dispensable(there, needed_by_runs(instance) | set(where.now), where.keep)
    for name in gone:
        try:
            api.delete_namespaced_config_map(name, where.namespace)
        except Exception as error:
            if not is_missing(error):
                raise
    return gone


def sweep(instance: dg.DagsterInstance, api: Any, where: argparse.Namespace) -> None:
    """`clean`, and what is said of it. An API that is away for now fails no upgrade: the next one does what is left."""
    try:
        gone = clean(instance, api, where)
    except Exception as error:
        refusal = refusal_of(error)
        if refusal is None or refusal.permanent:
            raise
        sys.stdout.write(f"left for the next upgrade: {refusal.words}\n")
        return
    sys.stdout.write(f"deleted {', '.join(gone)}\n" if gone else "nothing to delete\n")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="kept_settings", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--selector", required=True, help="labels of the ConfigMaps")
    parser.add_argument("--keep", type=int, required=True, help="how many stay that nobody needs")
    parser.add_argument("--now", nargs="*", default=[], help="those of this release")
    where = parser.parse_args(arguments)
    from kubernetes import client, config

    config.load_incluster_config()
    api = client.CoreV1Api()
    ask_bounded(api)
    with dg.DagsterInstance.get() as instance:
        sweep(instance, api, where)


if __name__ == "__main__":
    main()
