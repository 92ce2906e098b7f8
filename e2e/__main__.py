"""`make e2e-k8s`: the daily run, and what clusters do to pods, on the cluster that KUBECONFIG names.

Exit codes: 0 all was shown, 1 something was not, 3 there is no cluster or something that the run needs is missing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta

from kubernetes.client import ApiException

from e2e.cluster import Cluster, FailedError, NotReadyError, refusal
from e2e.installation import Installation
from e2e.runs import Stage
from e2e.scenarios import SCENARIOS
from e2e.trial_values import FIRST_DAY, NAMESPACE, Given

NOT_READY = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m e2e", description=__doc__.split("\n\n")[0])
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)}; default: all, in this order")
    parser.add_argument("--keep", action="store_true", help="leave the namespace on the cluster, for looking around")
    parser.add_argument("--loaded", action="store_true", help="the loans and their features are there already")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.scenarios) - set(SCENARIOS))
    if unknown:
        parser.error(f"unknown scenarios {', '.join(unknown)}; known: {', '.join(SCENARIOS)}")
    begin = time.monotonic()

    def report(text: str) -> None:
        print(f"{time.monotonic() - begin:6.0f} s  {text}", flush=True)

    try:
        cluster = Cluster(os.environ.get("CREDIT_E2E_NAMESPACE") or NAMESPACE)
        given = Given.of_environment()
        stage = _prepared(cluster, given, report, load=not arguments.loaded)
        failed = _show(stage, arguments.scenarios or list(SCENARIOS))
    except NotReadyError as error:
        print(f"e2e: {error}", file=sys.stderr)
        return NOT_READY
    except FailedError as error:
        print(f"e2e: the chart could not be installed: {error}", file=sys.stderr)
        return 1
    except ApiException as error:
        print(f"e2e: the chart could not be installed: {refusal(error)}", file=sys.stderr)
        return NOT_READY if error.status in (401, 403) else 1
    if not arguments.keep:
        stage.installation.uninstall()
        report(f"namespace {cluster.namespace} deleted")
    report(f"not shown: {', '.join(failed)}" if failed else "all shown")
    return 1 if failed else 0


def _prepared(cluster: Cluster, given: Given, report: Callable[[str], None], *, load: bool) -> Stage:
    gpu = cluster.gpu_nodes(given.gpu_type)
    others = [node.metadata.name for node in cluster.nodes() if node.metadata.name not in gpu]
    if not gpu or not others:
        raise NotReadyError(
            f"the cluster needs a node labelled gpu-type={given.gpu_type} that offers nvidia.com/gpu (found: "
            f"{', '.join(gpu) or 'none'}), and another one (found: {', '.join(others) or 'none'})"
        )
    report(f"Kubernetes {cluster.version}; GPU nodes {', '.join(gpu)}; others {', '.join(others)}")
    installation = Installation(cluster, given)
    installation.install()
    report("chart installed: webserver, daemon, code server and MLflow stand")
    stage = Stage(installation, given, report)
    if load:
        report(installation.load_history(FIRST_DAY + timedelta(len(SCENARIOS))))
    return stage


def _show(stage: Stage, names: list[str]) -> list[str]:
    failed = []
    for name in names:
        stage.number = list(SCENARIOS).index(name)
        stage.report(f"--- {name}: {SCENARIOS[name].__doc__}")
        begin = time.monotonic()
        try:
            SCENARIOS[name](stage)
        except (FailedError, NotReadyError, ApiException) as error:
            failed.append(name)
            why = refusal(error) if isinstance(error, ApiException) else str(error)
            stage.report(f"--- {name}: FAILED after {time.monotonic() - begin:.0f} s: {why}")
        else:
            stage.report(f"--- {name}: shown in {time.monotonic() - begin:.0f} s")
    return failed


if __name__ == "__main__":
    sys.exit(main())
