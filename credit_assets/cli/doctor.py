"""What `credit-assets doctor` finds: every setting with its source, and whether what it names can be reached.

Belongs here: looking, and one line of advice for each thing that is wrong. Does not belong here: repairing anything.
What it makes are the Dagster folder, as every command does, and one small file in the store that it removes again.
Nothing is sent.
"""

from __future__ import annotations

import importlib.util
import json as json_
import os
import shutil
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

from pydantic import SecretStr

from credit_assets.cli.findings import Finding, Seen, Status
from credit_assets.failures import PermanentError, TransientError
from credit_assets.instance.home import CONFIG_FILE, ensure_instance
from credit_assets.masking import HIDDEN, Secrets, masked_url
from credit_assets.settings import Settings, SettingsError, load_settings, setting_sources, variable

if TYPE_CHECKING:
    from rich.console import Console


LIMIT_SECONDS = 10.0
_GIB = 2**30
_LOW_DISK, _FULL_DISK = 5 * _GIB, 1 * _GIB
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(json: bool = False, console: Console | None = None) -> int:
    """Examine and print; returns the exit code: 1 where anything fails."""
    try:
        findings = diagnose(load_settings())
    except SettingsError as error:
        findings = [Finding("settings", "cannot be used", "environment", "fail", str(error), "check")]
    from rich.console import Console

    console = console or Console(highlight=False)
    if json:
        # Not `print`: it would wrap long lines in the middle of a string.
        console.file.write(json_.dumps(record(findings), indent=1) + "\n")
    else:
        render(findings, console)
    return int(any(finding.status == "fail" for finding in findings))


def diagnose(settings: Settings, *, limit_seconds: float = LIMIT_SECONDS) -> list[Finding]:
    """All settings, then all checks. A check that takes longer than `limit_seconds` fails, and the next one begins."""
    findings, secrets = describe_settings(settings), _secrets(settings)
    checks: list[tuple[str, str, Callable[[], Seen], float]] = [
        ("portfolio", "portfolio", lambda: check_portfolio(settings), 1),
        ("warehouse", "warehouse_url", lambda: check_warehouse(settings), 1),
        ("store", "store_uri", lambda: check_store(settings), 1),
        # Importing mlflow and dagster alone takes seconds, which are no sign of a server that does not answer.
        ("MLflow", "mlflow_tracking_uri", lambda: check_tracking(settings, limit_seconds), 3),
        ("Dagster", "dagster_home", lambda: check_instance(settings), 3),
        ("alerts", "alert_urls", lambda: check_alerts(settings), 1),
        ("executor", "executor", lambda: check_executor(settings), 1),
        ("disk", "home", lambda: check_disk(settings), 1),
    ]
    if settings.executor == "k8s":
        from credit_assets.cli.cluster import cluster_checks

        checks += cluster_checks(settings)
    for name, field, look, patience in checks:
        seen = _within(limit_seconds * patience, look)
        findings.append(
            Finding(
                name,
                secrets.hide(seen.value),
                variable(field),
                seen.status,
                secrets.hide(" ".join(seen.advice.split())),
                "check",
            )
        )
    return findings


def record(findings: Sequence[Finding]) -> dict[str, Any]:
    """For machines: `ok`, and the findings as records."""
    return {
        "ok": not any(finding.status == "fail" for finding in findings),
        "findings": [asdict(finding) for finding in findings],
    }


def render(findings: Sequence[Finding], console: Console) -> None:
    """Two tables, settings and checks, and a line for each thing to do."""
    from rich.table import Table
    from rich.text import Text

    for kind, headers in (("setting", ("Setting", "Value", "From")), ("check", ("Checked", "Found", "Setting"))):
        rows = [finding for finding in findings if finding.kind == kind]
        if not rows:
            continue
        table = Table(box=None, pad_edge=False, header_style="bold")
        for header in ("", *headers):
            table.add_column(header, overflow="fold")
        for finding in rows:
            # Text, not markup: a value may contain square brackets.
            mark = Text(finding.status if kind == "check" else "", style=_STYLES[finding.status])
            table.add_row(mark, Text(finding.name), Text(finding.value), Text(finding.source, style="dim"))
        console.print(table)
        console.print()
    todo = [finding for finding in findings if finding.advice]
    for finding in todo:
        console.print(Text.assemble((f"{finding.name}: ", _STYLES[finding.status]), finding.advice))
    failed = sum(finding.status == "fail" for finding in findings)
    console.print(Text(f"{failed} failed" if failed else "All that is needed works.", style="bold"))


def describe_settings(settings: Settings) -> list[Finding]:
    """Each setting as it takes effect, secrets masked, and whether environment, settings file or default set it."""
    from credit_assets.notify.notifier import Notifier

    def alerts() -> str:
        try:
            return ", ".join(Notifier(settings.alert_targets).describe())
        except PermanentError:
            return HIDDEN

    effective: dict[str, Callable[[], Any]] = {
        "home": lambda: settings.home_dir,
        "warehouse_url": lambda: masked_url(settings.warehouse),
        "store_uri": lambda: masked_url(settings.store),
        "portfolio": lambda: settings.portfolio or "the packaged one",
        "performance_window_days": lambda: settings.window_days,
        "variants": lambda: ", ".join(settings.variants),
        "variant_params": lambda: json_.dumps(settings.variant_params, sort_keys=True),
        "threads": lambda: settings.threads or f"{settings.training_threads} (cores / variants side by side)",
        "alert_urls": lambda: alerts() or "none",
        "dagster_url": lambda: masked_url(settings.dagster_url),
        "mlflow_tracking_uri": lambda: masked_url(settings.tracking_uri),
        "dagster_home": lambda: settings.dagster_dir,
    }
    sources, secrets = setting_sources(), _secrets(settings)
    findings = []
    for field in Settings.model_fields:
        try:
            value = effective[field]() if field in effective else getattr(settings, field)
        except SettingsError:
            value = "unknown: the portfolio cannot be used"
        # A secret without a masked form of its own is not shown at all.
        shown = HIDDEN if isinstance(value, SecretStr) else str(value)
        findings.append(Finding(variable(field), secrets.hide(shown), sources[field]))
    return findings


def check_portfolio(settings: Settings) -> Seen:
    try:
        portfolio = settings.portfolio_contract
    except SettingsError as error:
        return Seen("cannot be used", "fail", str(error))
    return Seen(f"{portfolio.name}: {len(portfolio.feature_names)} features, window {settings.window_days} days")


def check_warehouse(settings: Settings) -> Seen:
    """Connects and asks for the first and last application date."""
    from credit_assets.warehouse import open_warehouse

    load = "load loans: `credit-assets generate` or `credit-assets load lending-club FILE`"
    embedded = not settings.warehouse_url.get_secret_value()
    if embedded and not Path(settings.warehouse.removeprefix("duckdb:///")).exists():
        return Seen("no loans yet", "warn", load)
    try:
        warehouse = open_warehouse(settings.warehouse)
        warehouse.ping()
    except (PermanentError, TransientError) as error:
        return Seen("cannot be reached", "fail", str(error))
    try:
        days = warehouse.date_range(settings.portfolio_contract)
    except PermanentError as error:
        return Seen("reached, but the loans cannot be read", "fail", f"{error}; or {load}")
    if days is None:
        return Seen("reached, no applications yet", "warn", load)
    shown = f"applications from {days[0]} to {days[1]}"
    if days[0] < settings.start_date:
        advice = f"days before {settings.start_date} have no partition: set CREDIT_START_DATE={days[0]} to use them"
        return Seen(shown, "warn", advice)
    return Seen(shown)


def check_store(settings: Settings) -> Seen:
    """Writes a small file aside, renames it, reads it back and removes it."""
    from credit_assets.storage.store import Store

    advice = f"make {masked_url(settings.store)} writable for this user, or set CREDIT_STORE_URI"
    content = uuid4().hex.encode()
    try:
        root = Store(settings.store).root
        root.mkdir(parents=True, exist_ok=True)
        aside, probe = root / f".doctor-{content.decode()}.tmp", root / f".doctor-{content.decode()}"
        try:
            aside.write_bytes(content)
            aside.rename(probe)
            if probe.read_bytes() != content:
                return Seen("reads back something else than was written", "fail", advice)
        finally:
            for path in (aside, probe):
                if path.exists():
                    path.unlink()
    except PermanentError as error:
        return Seen("cannot be opened", "fail", str(error))
    except Exception as error:
        return Seen(f"cannot be written: {_said(error)}", "fail", advice)
    return Seen("written, renamed, read and removed a file")


def check_tracking(settings: Settings, limit_seconds: float = LIMIT_SECONDS) -> Seen:
    """Asks the tracking server or store; an embedded store that does not exist yet is left for the first run."""
    from credit_assets.storage.claims import Claims
    from credit_assets.tracking.runs import Tracking

    uri = settings.tracking_uri
    if not settings.mlflow_tracking_uri.get_secret_value() and not Path(uri.removeprefix("sqlite:///")).exists():
        return Seen("embedded; made by the first training")
    advice = "start the MLflow server, or correct or unset MLFLOW_TRACKING_URI"
    if unreachable := _unreachable(uri, limit_seconds):
        return Seen(unreachable, "fail", advice)
    try:
        Tracking(uri, settings.experiment, Claims(settings.store)).ping()
    except (PermanentError, TransientError) as error:
        return Seen("cannot be used", "fail", str(error))
    return Seen(f"answers, experiment {settings.experiment}")


def check_instance(settings: Settings) -> Seen:
    """Loads the Dagster instance as every command does."""
    there = (settings.dagster_dir / CONFIG_FILE).exists()
    try:
        folder = ensure_instance(settings)
    except PermanentError as error:
        return Seen("no folder", "fail", str(error))
    config = folder / CONFIG_FILE
    import dagster as dg

    try:
        with dg.DagsterInstance.get() as instance:
            sharded = instance.event_log_storage.is_run_sharded
            runs = instance.get_runs_count()
    except Exception as error:
        return Seen("the instance does not load", "fail", f"correct or delete {config}: {_said(error)}")
    shown = f"{runs} runs, {CONFIG_FILE} {'is there' if there else 'was written'}"
    if sharded:
        return Seen(
            f"{shown}, Dagster's default event log",
            "warn",
            f"runs over many days are slow with it: take event_log_storage from a fresh {CONFIG_FILE} (rename {config} "
            "and run doctor again), or use PostgreSQL",
        )
    return Seen(shown)


def check_alerts(settings: Settings) -> Seen:
    """Parses the URLs; nothing is sent."""
    from credit_assets.notify.notifier import Notifier

    try:
        services = Notifier(settings.alert_targets).check()
    except PermanentError as error:
        return Seen("cannot be used", "fail", str(error))
    if not services:
        return Seen("none", "ok", "to be told of failed runs, set CREDIT_ALERT_URLS to Apprise URLs")
    return Seen(f"understood, not tried: {', '.join(services)}")


def check_executor(settings: Settings) -> Seen:
    threads = f"{settings.training_threads} thread{'s' if settings.training_threads > 1 else ''} each"
    if settings.executor == "in_process":
        return Seen(f"steps one after another in one process, {threads}")
    if settings.executor == "multiprocess":
        return Seen(f"up to {settings.max_concurrent} step processes on this machine, {threads}")
    if importlib.util.find_spec("dagster_k8s") is None:
        return Seen("dagster_k8s is not installed", "fail", "install dagster-k8s, or choose another CREDIT_EXECUTOR")
    local = [
        variable(field)
        for field, value in {
            "warehouse_url": settings.warehouse,
            "store_uri": settings.store,
            "mlflow_tracking_uri": settings.tracking_uri,
        }.items()
        if value.startswith(("duckdb:", "sqlite:", "file:")) or "://" not in value
    ]
    if local:
        return Seen(
            "step pods would not share local files",
            "fail",
            f"pods do not see each other's files: set {', '.join(local)} to something that all of them reach",
        )
    if not os.environ.get("KUBERNETES_SERVICE_HOST"):
        return Seen(
            "step pods, seen from outside a cluster",
            "warn",
            "runs must be launched where K8sRunLauncher is configured: deploy with the Helm chart, or configure it in "
            f"{CONFIG_FILE} with load_incluster_config: false and a kubeconfig_file",
        )
    return Seen("step pods, inside a cluster")


def check_disk(settings: Settings) -> Seen:
    folder = settings.home_dir
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    status: Status = "fail" if usage.free < _FULL_DISK else "warn" if usage.free < _LOW_DISK else "ok"
    advice = f"free some space on the disk of {folder}, or set CREDIT_HOME to another" if status != "ok" else ""
    return Seen(f"{usage.free / _GIB:.1f} GiB free of {usage.total / _GIB:.1f}", status, advice)


def _within(seconds: float, look: Callable[[], Seen]) -> Seen:
    """What `look` sees, or that it did not come back in time. It is left behind then: a daemon thread ends with us."""
    seen: list[Seen] = []

    def run() -> None:
        try:
            seen.append(look())
        except Exception as error:
            advice = "unexpected: please report it with the command's output"
            seen.append(Seen(f"{type(error).__name__}: {_said(error)}", "fail", advice))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if seen:
        return seen[0]
    return Seen(f"no answer within {seconds:.0f} s", "fail", "check the address, the network and the firewall")


def _unreachable(uri: str, seconds: float) -> str:
    """Why the server of an http(s) URI cannot be reached; nothing where it can, or where a proxy stands between."""
    parts = urlsplit(uri)
    proxied = any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"))
    if parts.scheme not in ("http", "https") or proxied:
        return ""
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=seconds).close()
    except (OSError, ValueError) as error:
        return f"cannot be reached: {_said(error)}"
    return ""


def _said(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _secrets(settings: Settings) -> Secrets:
    """All secrets of the settings: whatever library has a password in its message, no finding shows it."""
    given = {
        name: value
        for name in Settings.model_fields
        # A default stands in the documentation.
        if isinstance(value := getattr(settings, name), SecretStr) and value != Settings.model_fields[name].default
    }
    given.pop("alert_urls", None)
    return Secrets([*given.values(), *settings.alert_targets])
