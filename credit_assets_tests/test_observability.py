"""The exporter in the chart, the dashboard and the alert rules: each speaks of figures that there are, and each rule
fires when it should and is silent through a year in which nothing is wrong.

The rules are evaluated by Prometheus' own `promtool` where the machine has it (Debian's package prometheus).
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from credit_assets.cli.exporter.families import FAMILIES, PREFIX
from credit_assets_tests.support.chart import one, rendered
from e2e.chart import CHART

pytest_plugins = ("credit_assets_tests.support.chart",)

VALUES: dict[str, Any] = {
    "metrics": {"alerts": {"enabled": True, "labels": {"release": "prometheus"}}},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
}
# A figure of a healthy deployment by series, in the notation of promtool.
HEALTHY: Mapping[str, str] = {
    'credit_assets_up{place="store",portfolio="p"}': "1",
    'credit_assets_scores_late{portfolio="p"}': "0",
    'credit_assets_daemon_up{portfolio="p"}': "1",
    'credit_assets_daily_schedule_on{portfolio="p"}': "1",
    'credit_assets_runs_unmended{portfolio="p",job="credit_scoring_daily"}': "0",
    'credit_assets_sensors_failing{portfolio="p"}': "0",
    'credit_assets_queue_oldest_seconds{portfolio="p"}': "0",
    'credit_assets_partitions_behind{portfolio="p",asset="loan_scores"}': "0",
    'credit_assets_partitions_rejected{portfolio="p",asset="raw_loan_data"}': "0",
    'credit_assets_check_failed{portfolio="p",asset="loan_scores",check="c",verdict="warn"}': "1",
    'credit_assets_drift{portfolio="p",verdict="shifted"}': "0",
    'credit_assets_champion_age_days{portfolio="p"}': "30",
}


@pytest.fixture(scope="module")
def manifests(own: Path) -> list[dict[str, Any]]:
    return rendered(own, VALUES)


@pytest.fixture(scope="module")
def rules(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = one(manifests, "PrometheusRule", "credit-assets")["spec"]
    return found


def metrics_in(text: str) -> set[str]:
    return set(re.findall(rf"\b{PREFIX}[a-z_]+", text))


def exported() -> set[str]:
    return {f"{PREFIX}{name}{'_total' if name == 'exporter_errors' else ''}" for name in FAMILIES}


def labels_in(text: str) -> set[tuple[str, str]]:
    """Metric and label of each selector."""
    return {
        (name, label)
        for name, selector in re.findall(rf"\b({PREFIX}[a-z_]+)\{{([^}}]*)\}}", text)
        for label in re.findall(r"([a-z_]+)=", selector)
    }


def test_dashboard_and_rules_speak_of_figures_that_there_are(rules: dict[str, Any]) -> None:
    board = (CHART / "dashboards" / "credit-assets.json").read_text()
    spoken = json.dumps(rules)
    labels = {name: {"portfolio", *family.labels} for name, family in FAMILIES.items()}
    for text in (board, "\n".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])):
        assert metrics_in(text) <= exported()
        for name, label in labels_in(text.replace('\\"', '"')):
            assert label in labels[name.removeprefix(PREFIX).removesuffix("_total")], (name, label)
    # And nothing is exported that nobody sees.
    unseen = exported() - metrics_in(board) - metrics_in(spoken)
    assert unseen == {f"{PREFIX}{name}" for name in (
        "scored_day_timestamp_seconds", "exporter_read_timestamp_seconds", "drift_age_days",
    )}  # fmt: skip


def test_the_dashboard_has_panels_that_do_not_lie_on_each_other() -> None:
    board = json.loads((CHART / "dashboards" / "credit-assets.json").read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel.get("targets", []))


def test_the_docs_have_every_figure_and_every_rule(rules: dict[str, Any]) -> None:
    page = (CHART.parent / "docs" / "observability.md").read_text()
    for name, family in FAMILIES.items():
        shown = f"{PREFIX}{name}{'_total' if name == 'exporter_errors' else ''}"
        row = next((line for line in page.splitlines() if line.startswith(f"| `{shown}` |")), "")
        assert row == f"| `{shown}` | {', '.join(f'`{one}`' for one in family.labels)} | {family.help} |"
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert f"| `{rule['alert']}` |" in page, rule["alert"]


def test_the_exporter_has_the_least_that_it_needs(manifests: list[dict[str, Any]]) -> None:
    spec = one(manifests, "Deployment", "credit-assets-exporter")["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    (container,) = spec["containers"]
    assert container["args"][:2] == ["credit-assets", "metrics"]
    secrets = [env["valueFrom"]["secretKeyRef"]["name"] for env in container["env"] if "valueFrom" in env]
    secrets += [given["secretRef"]["name"] for given in container["envFrom"] if "secretRef" in given]
    # Dagster's database and the object store: not the warehouse, not MLflow, nobody to send anything to.
    assert secrets == ["credit-assets-postgresql", "credit-assets-store"]
    assert spec["serviceAccountName"] == "credit-assets-step"
    service = one(manifests, "Service", "credit-assets-exporter")
    monitor = one(manifests, "ServiceMonitor", "credit-assets")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {port["name"] for port in service["spec"]["ports"]} == {one["port"] for one in monitor["spec"]["endpoints"]}
    policy = one(manifests, "NetworkPolicy", "credit-assets-exporter")["spec"]
    (selected,) = policy["podSelector"]["matchExpressions"]
    labels = one(manifests, "Deployment", "credit-assets-exporter")["spec"]["template"]["metadata"]["labels"]
    assert labels[selected["key"]] in selected["values"]
    (ingress,) = policy["ingress"]
    assert ingress["ports"] == [{"port": "metrics", "protocol": "TCP"}]
    assert one(manifests, "ConfigMap", "credit-assets-dashboard")["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_each_portfolio_has_an_exporter_of_its_own(own: Path) -> None:
    cards = {"name": "cards", "settings": {"CREDIT_PORTFOLIO": "cards"}}
    found = rendered(own, {**VALUES, "portfolios": [{"name": "consumer_loans"}, cards]})
    settings = {
        container["envFrom"][0]["configMapRef"]["name"]
        for m in found
        if m["kind"] == "Deployment" and "exporter" in m["metadata"]["name"]
        for container in m["spec"]["template"]["spec"]["containers"]
    }
    assert len(settings) == 2
    assert settings <= {m["metadata"]["name"] for m in found if m["kind"] == "ConfigMap"}
    components = one(found, "NetworkPolicy", "credit-assets-exporter")["spec"]["podSelector"]["matchExpressions"][0]
    assert components["values"] == ["exporter-consumer-loans", "exporter-cards"]


def test_what_is_switched_off_is_not_there(own: Path) -> None:
    found = rendered(own, {"metrics": {"enabled": False, "alerts": {"enabled": True}}})
    assert not [
        m for m in found if re.search("exporter|dashboard|PrometheusRule", json.dumps(m["metadata"]) + m["kind"])
    ]


# The rules themselves


Series = Mapping[str, str]
FIRING = 'sort(group by (alertname) (ALERTS{alertstate="firing"}))'
EVER = 'sort(group by (alertname) (last_over_time(ALERTS{alertstate="firing"}[400d])))'


def counted(
    folder: Path,
    rules: dict[str, Any],
    asked: Sequence[tuple[Series, Mapping[str, str]]],
    every: str = "5m",
    firing: str = FIRING,
) -> None:
    """Have promtool evaluate the rules on these series, with what is asked of each: at which time which rules fire."""
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    tests = [
        {
            "interval": every,
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": firing,
                    "eval_time": at,
                    "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in names.split()],
                }
                for at, names in times.items()
            ],
        }
        for series, times in asked
    ]
    whole = {"rule_files": ["rules.yaml"], "evaluation_interval": every, "tests": tests}
    (folder / "test.yaml").write_text(yaml.safe_dump(whole))
    done = subprocess.run([tool, "test", "rules", "test.yaml"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def steady(**changed: str) -> dict[str, str]:
    """The healthy series for three days, some of them replaced by others' values; by the metric's name."""
    found = {}
    for series, value in HEALTHY.items():
        name = series.removeprefix(PREFIX).partition("{")[0]
        values = changed.get(name, f"{value}x864")
        if values:
            found[series] = values
    return found


# What changes in the healthy series, when nothing fires yet, when one rule does, and which.
CASES: Sequence[tuple[dict[str, str], str, str, str]] = [
    ({}, "70h", "71h", ""),
    ({"scores_late": "0x108 1x700"}, "9h", "9h25m", "CreditAssetsScoresLate"),
    # Not there at all: the dead man's switch, and the exporter.
    ({"scores_late": "0x108 _x700"}, "9h", "9h30m", "CreditAssetsScoresLate"),
    ({"up": "1x108 _x700"}, "9h", "9h30m", "CreditAssetsExporterDown"),
    ({"up": "1x108 0x700"}, "9h5m", "9h20m", "CreditAssetsPlaceUnreadable"),
    ({"daemon_up": "1x108 0x700"}, "9h5m", "9h20m", "CreditAssetsDaemonDown"),
    ({"daily_schedule_on": "1x108 0x700"}, "9h50m", "10h15m", "CreditAssetsScheduleOff"),
    ({"runs_unmended": "0x108 2x700"}, "9h10m", "9h25m", "CreditAssetsRunsFailed"),
    ({"sensors_failing": "0x108 1x700"}, "9h10m", "9h25m", "CreditAssetsSensorsFailing"),
    ({"queue_oldest_seconds": "0+300x700"}, "60m", "70m", "CreditAssetsQueueStuck"),
    ({"partitions_behind": "1x288 2x400"}, "24h50m", "25h15m", "CreditAssetsPartitionsBehind"),
    ({"partitions_rejected": "0x108 1x700"}, "9h50m", "10h15m", "CreditAssetsDaysRejected"),
    ({"drift": "0x108 1x700"}, "38h50m", "39h15m", "CreditAssetsDriftShifted"),
    ({"champion_age_days": "400x108 401x700"}, "9h50m", "10h15m", "CreditAssetsChampionOld"),
]


def test_each_rule_fires_when_it_should_and_not_before(rules: dict[str, Any], tmp_path: Path) -> None:
    asked: list[tuple[Series, Mapping[str, str]]] = [
        (steady(**changed), {silent: "", fires: name}) for changed, silent, fires, name in CASES
    ]
    failing = 'credit_assets_check_failed{portfolio="p",asset="raw_loan_data",check="volume",verdict="error"}'
    asked.append(({**steady(), failing: "1x864"}, {"10m": "", "20m": "CreditAssetsCheckErrors"}))
    assert {name for _, times in asked for name in times.values()} - {""} == {
        rule["alert"] for group in rules["groups"] for rule in group["rules"]
    }
    counted(tmp_path, rules, asked)


def test_one_portfolio_of_two_that_is_heard_of_no_more_is_missed(rules: dict[str, Any], tmp_path: Path) -> None:
    series = steady()
    series['credit_assets_scores_late{portfolio="q"}'] = "0x24 _x800"
    series['credit_assets_up{place="store",portfolio="q"}'] = "1x24 _x800"
    both = "CreditAssetsScoresLate CreditAssetsExporterDown"
    counted(tmp_path, rules, [(series, {"2h": "", "2h40m": both})])


# Reports of a year that say shifted though nothing has: CREDIT_DRIFT_ALPHA allows one in a hundred.
BY_CHANCE = 4
# Steps of half an hour: what lasts for one of them is over before any rule speaks.
DAYS, A_DAY, MINUTES = 365, 48, 30


def a_year(seed: int, faults: Mapping[str, tuple[str, str, int, int]]) -> tuple[dict[str, str], dict[str, list[int]]]:
    """A year in steps of half an hour in which nothing is wrong that anybody has to see, and these faults planted on
    days of their own (by rule: what has which value, from which step of the day on, for how many): what is scraped,
    and by rule the days of its faults.

    What happens in a healthy year: days lie behind until the daily run has ended at half past six, and runs wait for
    half an hour behind others; each week the exporter is restarted; each month a run fails and is mended within a step,
    a place is away for a step and a sensor fails for one; some drift reports say shifted by chance.
    """
    rng = random.Random(seed)
    by_chance = set(rng.sample(range(DAYS), BY_CHANCE))
    values: dict[str, list[Any]] = {name: [healthy] * (DAYS * A_DAY) for name, healthy in HEALTHY.items()}
    of = {name.removeprefix(PREFIX).partition("{")[0]: series for name, series in values.items()}
    for day in range(DAYS):
        begin = day * A_DAY
        of["partitions_behind"][begin : begin + 13] = ["1"] * 13
        of["queue_oldest_seconds"][begin + 12] = "1800"
        if day in by_chance:
            of["drift"][begin + 13 : begin + 13 + A_DAY] = ["1"] * A_DAY
        if day % 7 == 3:
            for series in values.values():
                series[begin + 27] = "_"
        if day % 30 == 5:
            at = begin + rng.randrange(30, 47)
            for name, value in (("runs_unmended", "1"), ("up", "0"), ("sensors_failing", "1")):
                of[name][at] = value
        of["champion_age_days"][begin : begin + A_DAY] = [str(day % 31)] * A_DAY
    planted: dict[str, list[int]] = {}
    for number, (rule, (name, value, step, steps)) in enumerate(faults.items()):
        # Once a month, each rule on a day of its own, and none where reports said shifted by chance just before.
        planted[rule] = [30 * month + 8 + 3 * number for month in range(11)]
        for day in planted[rule]:
            at = day * A_DAY + step
            of[name][at : at + steps] = [value] * len(of[name][at : at + steps])
    return {name: " ".join(map(str, series)) for name, series in values.items()}, planted


FAULTS = {
    "CreditAssetsScoresLate": ("scores_late", "1", 18, 20),
    "CreditAssetsRunsFailed": ("runs_unmended", "1", 13, 20),
    "CreditAssetsQueueStuck": ("queue_oldest_seconds", "5400", 13, 10),
    "CreditAssetsPlaceUnreadable": ("up", "0", 20, 4),
    "CreditAssetsPartitionsBehind": ("partitions_behind", "2", 0, 13),
    "CreditAssetsDriftShifted": ("drift", "1", 13, 2 * A_DAY),
}


@pytest.mark.slow
def test_a_year_has_an_alarm_for_each_planted_fault_and_none_where_nothing_is_wrong(
    rules: dict[str, Any], tmp_path: Path
) -> None:
    series, planted = a_year(20071, FAULTS)
    # Half an hour or an hour before each fault has ended.
    times = {
        f"{(day * A_DAY + FAULTS[rule][2] + FAULTS[rule][3] - 2) * MINUTES}m": rule
        for rule, days in planted.items()
        for day in days
    }
    assert len(times) == 66
    counted(tmp_path, rules, [(series, times)], f"{MINUTES}m")
    healthy, _ = a_year(20071, {})
    counted(tmp_path, rules, [(healthy, {f"{DAYS * A_DAY * MINUTES}m": ""})], f"{MINUTES}m", EVER)
