"""What `credit-assets doctor` finds: every setting with its source, and whether what it names can be reached.

Belongs here: asking every part of the house for its health within a time limit, and showing the answers. Does not
belong here: how a part is looked at (`health` of each wing), and repairing anything. What it makes are the Dagster
folder, as every command does, and one small file in the store that it removes again. It ends runs whose process is
gone, as every command that makes runs does. Nothing is sent.
"""

from __future__ import annotations

import json as json_
import shlex
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import SecretStr

import credit_assets.cluster.health as cluster
import credit_assets.instance.health as instance
import credit_assets.notify.health as alerts
import credit_assets.storage.health as storage
import credit_assets.tracking.health as tracking
import credit_assets.warehouse.health as warehouse
from credit_assets import executors
from credit_assets.assets.comparison_power import power_of
from credit_assets.assets.due import outlook
from credit_assets.checks import gates_of
from credit_assets.cli.completed import moves_health
from credit_assets.cli.left_over import runs_health
from credit_assets.cli.state import (
    accounts_record,
    extension_warnings,
    gated_of,
    holders,
    rejected_line,
    rejected_record,
)
from credit_assets.failures import PermanentError, TransientError
from credit_assets.file_modes import ADVICE, wider
from credit_assets.health import Check, Health, Status, first_line
from credit_assets.instance.ownership import book_of, changed_since, refuse_beginning_anew, refuse_other_portfolio
from credit_assets.ledger.alias_log import LOGS
from credit_assets.ledger.deployment import SHADOW
from credit_assets.ledger.integrity import WAY_OUT, Integrity, break_in_words
from credit_assets.ledger.registry import CHAMPION
from credit_assets.masking import HIDDEN, Secrets, masked_url
from credit_assets.ml.data.directions import not_secured
from credit_assets.ml.data.extensions import ExtensionError
from credit_assets.ml.data.left_columns import in_words, way_out
from credit_assets.ml.extensions import load, try_used, used
from credit_assets.ml.learners import VARIANTS
from credit_assets.ml.rules.due import DUE
from credit_assets.notify.notifier import Notifier
from credit_assets.partitions import today
from credit_assets.places import database_file
from credit_assets.resources import build_resources
from credit_assets.settings import Settings, SettingsError, load_settings, overridden, setting_sources, variable
from credit_assets.settings.matching import came_later
from credit_assets.settings.policies import OVERRIDES, policy_of, source_of
from credit_assets.storage.claims import Claims
from credit_assets.storage.store import Store
from credit_assets.warehouse import open_warehouse

if TYPE_CHECKING:
    from rich.console import Console


LIMIT_SECONDS = 10.0
_GIB = 2**30
_LOW_DISK, _FULL_DISK = 5 * _GIB, 1 * _GIB
_ORDER = ("fail", "warn", "ok")
DEFAULT = "default"
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@dataclass(frozen=True)
class Finding:
    """One setting, or one thing that was tried. `source` is where a setting comes from, or which one decides."""

    name: str
    value: str
    source: str
    status: Status = "ok"
    advice: str = ""
    kind: Literal["setting", "check"] = "setting"


def doctor(json: bool = False, console: Console | None = None, *, whole: bool = True) -> int:
    """Examine and print, without the settings at their defaults unless `whole`; returns the exit code: 1 where anything
    fails.
    """
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
        render(findings, console, whole=whole)
    return int(any(finding.status == "fail" for finding in findings))


def diagnose(settings: Settings, *, limit_seconds: float = LIMIT_SECONDS) -> list[Finding]:
    """All settings, then all checks. A check that takes longer than `limit_seconds` fails, and the next one begins."""
    findings, secrets = describe_settings(settings), secrets_of(settings)
    for check in _checks(settings, limit_seconds):
        found = within(limit_seconds * check.patience, check.look)
        advice = secrets.hide(" ".join(found.advice.split()))
        findings.append(
            Finding(check.name, secrets.hide(found.value), variable(check.setting), found.status, advice, "check")
        )
    return findings


def _checks(settings: Settings, limit_seconds: float) -> list[Check]:
    portfolio, embedded = settings.portfolio_contract, not settings.warehouse_url.get_secret_value()
    return [
        # With a count over the warehouse.
        Check("portfolio", "portfolio", lambda: portfolio_health(settings), 3),
        Check("extensions", "extensions", lambda: extensions_health(settings), 3),
        Check(
            "warehouse",
            "warehouse_url",
            lambda: warehouse.health(
                settings.warehouse, portfolio, settings.start_date, settings.timezone, embedded=embedded
            ),
        ),
        Check("store", "store_uri", lambda: storage.health(settings.store)),
        Check("rows", "portfolio", lambda: rows_health(settings), 3),
        Check("book", "store_uri", lambda: book_health(settings)),
        Check("first model", "start_date", lambda: first_model_health(settings)),
        Check("comparisons", "promotion_alpha", lambda: comparison_health(settings)),
        # Importing mlflow alone takes seconds, which are no sign of a server that does not answer.
        Check("MLflow", "mlflow_tracking_uri", lambda: tracking.health(settings, limit_seconds), 3),
        Check("ledger", "store_uri", lambda: ledger_health(settings), 3),
        Check("moves", "store_uri", lambda: moves_health(settings), 3),
        Check("columns", "portfolio", lambda: columns_health(settings), 3),
        Check("Dagster", "dagster_home", lambda: instance.health(settings), 3),
        Check("runs", "dagster_home", lambda: runs_health(settings), 3),
        Check("alerts", "alert_urls", lambda: alerts.health(settings.alert_targets)),
        Check("executor", "executor", lambda: executors.health(settings)),
        Check("disk", "home", lambda: disk_health(settings)),
        Check("files", "file_access", lambda: files_health(settings)),
        *(cluster.checks(settings) if settings.executor == "k8s" else []),
    ]


def record(findings: Sequence[Finding]) -> dict[str, Any]:
    """For machines: `ok`, and the findings as records."""
    return {
        "ok": not any(finding.status == "fail" for finding in findings),
        "findings": [asdict(finding) for finding in findings],
    }


def render(findings: Sequence[Finding], console: Console, *, whole: bool = True) -> None:
    """What is wrong and what to do about it, then two tables: checks, and settings, those at their defaults only where
    `whole`.
    """
    from rich.table import Table
    from rich.text import Text

    failed = sum(finding.status == "fail" for finding in findings)
    console.print(Text(f"{failed} failed" if failed else "All that is needed works.", style="bold"))
    for finding in sorted((one for one in findings if one.advice), key=lambda one: _ORDER.index(one.status)):
        console.print(Text.assemble((f"{finding.status} {finding.name}: ", _STYLES[finding.status]), finding.advice))
    at_default = [one for one in findings if one.kind == "setting" and one.source == DEFAULT]
    for kind, headers in (("check", ("Checked", "Found", "Setting")), ("setting", ("Setting", "Value", "From"))):
        rows = [one for one in findings if one.kind == kind and (whole or one not in at_default)]
        if not rows:
            continue
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
        for header in ("", *headers):
            table.add_column(header, overflow="fold")
        for finding in rows:
            # Text, not markup: a value may contain square brackets.
            mark = Text(finding.status if kind == "check" else "", style=_STYLES[finding.status])
            table.add_row(mark, Text(finding.name), Text(finding.value), Text(finding.source, style="dim"))
        console.print()
        console.print(table)
    if at_default and not whole:
        console.print(f"\n{len(at_default)} settings are at their defaults: `credit-assets doctor --all` shows them.")


def describe_settings(settings: Settings) -> list[Finding]:
    """Each setting as it takes effect, secrets masked, and whether environment, settings file or default set it."""

    def services() -> str:
        try:
            return ", ".join(Notifier(settings.alert_targets).describe())
        except PermanentError:
            return HIDDEN

    effective: dict[str, Callable[[], Any]] = {
        "home": lambda: settings.home_dir,
        "warehouse_url": lambda: masked_url(settings.warehouse),
        "store_uri": lambda: masked_url(settings.store),
        "portfolio": lambda: settings.portfolio or "the packaged one",
        "experiment": lambda: settings.experiment_name,
        "shared_pools": lambda: ", ".join(settings.shared_pools) or "none",
        "performance_window_days": lambda: settings.window_days,
        "extensions": lambda: ", ".join(settings.extensions) or "those of installed packages",
        "variants": lambda: ", ".join(settings.variants) + _left_out(settings),
        "variant_params": lambda: json_.dumps(settings.variant_params, sort_keys=True),
        "threads": lambda: settings.threads or f"{settings.training_threads} (cores / variants side by side)",
        "alert_urls": lambda: services() or "none",
        "dagster_url": lambda: masked_url(settings.dagster_url),
        "mlflow_url": lambda: masked_url(settings.mlflow_url),
        "mlflow_tracking_uri": lambda: masked_url(settings.tracking_uri),
        "dagster_home": lambda: settings.dagster_dir,
    }
    sources, secrets, policy = setting_sources(settings.portfolio), secrets_of(settings), policy_of(settings)
    findings = []
    for field in Settings.model_fields:
        value = effective[field]() if field in effective else getattr(settings, field)
        if field in OVERRIDES:
            section, key = OVERRIDES[field]
            value, sources[field] = getattr(getattr(policy, section), key), source_of(settings, field, sources[field])
        # A secret without a masked form of its own is not shown at all.
        shown = HIDDEN if isinstance(value, SecretStr) else str(value)
        findings.append(Finding(variable(field), secrets.hide(shown), sources[field]))
    return findings


def _left_out(settings: Settings) -> str:
    """Of the package's own variants, why some are not among the default ones."""
    why = [] if "variants" in settings.model_fields_set else [one.untrainable() for one in VARIANTS.packaged.values()]
    return f" ({'; '.join(filter(None, why))})" if any(why) else ""


def portfolio_health(settings: Settings) -> Health:
    """What the portfolio's file says, and whether the book bears out what it says of who was lent to."""
    both = [_file_health(settings), population_health(settings)]
    status = max((one.status for one in both), key=("ok", "warn", "fail").index)
    return Health("; ".join(one.value for one in both), status, " ".join(one.advice for one in both if one.advice))


def _file_health(settings: Settings) -> Health:
    portfolio = settings.portfolio_contract
    naming = settings.naming
    found = f"{portfolio.name}: {len(portfolio.feature_names)} features, window {settings.window_days} days"
    found += f"; assets {naming.prefix}/..., model {naming.registered_model}" if naming.prefix else ""
    if through := not_secured(portfolio):
        some = ", ".join(f"{name} by {effects[0].derived}" for name, effects in list(through.items())[:5])
        found += f"; {len(through)} directions that a derived feature may undo ({some}), measured on each model"
    if hidden := overridden(settings.portfolio):
        advice = f"the environment sets {', '.join(hidden)} to something else than the settings of {portfolio.name} "
        return Health(found, "warn", f"{advice}alone, which do not count: unset them, or correct the portfolio's file")
    if portfolio.columns_matching:
        return Health(f"{found}; columns_matching waits for table {portfolio.applications_table}", "warn")
    if later := came_later(settings.portfolio, portfolio, settings.warehouse, settings.timezone):
        some = ", ".join(later[:10]) + (f" and {len(later) - 10} more" if len(later) > 10 else "")
        advice = (
            f"the contract keeps the columns that it was first resolved with; {some} came later: give what is wanted "
            "of them under `columns`"
        )
        return Health(f"{found}; {len(later)} columns more match columns_matching", "warn", advice)
    return Health(found)


def extensions_health(settings: Settings) -> Health:
    """What extensions bring, which of it is used, and whether those of the models in force are here."""
    found = load(settings.extensions)
    portfolio = settings.portfolio_contract
    try:
        try_used(portfolio)
        for asset in ("raw_loan_data", "loan_outcomes", "training_set"):
            gates_of(asset, portfolio)
    except ExtensionError as error:
        return Health("one cannot be used", "fail", str(error))
    in_use = {(one["kind"], one["name"]) for one in used(portfolio, settings.variants)}
    value = "; ".join(f"{one}{'' if (one.kind, one.name) in in_use else ', not used'}" for one in found) or "none"
    try:
        warnings = extension_warnings(*holders(settings, CHAMPION, SHADOW))
    except (PermanentError, TransientError):
        # What cannot be reached is told beside it.
        warnings = []
    if warnings:
        return Health(value, "fail", "; ".join(warnings))
    if settings.executor == "k8s" and (bare := [one.name for one in found if not one.distribution]):
        advice = f"{', '.join(bare)}: see that the pods' image has the modules of CREDIT_EXTENSIONS on its path"
        return Health(value, "warn", f"{advice}; a package is installed into it (docs/extensions.md)")
    return Health(value)


def rows_health(settings: Settings) -> Health:
    """Whether every row of the warehouse is accounted for, and no day is rejected."""
    store = Store(settings.store)
    found = accounts_record(settings, store)
    if "problem" in found:
        # What to do about it stands beside the warehouse.
        return Health("not counted: the warehouse has none, or cannot be read", "warn")
    verdicts = [account["verdict"] for account in found.values()]
    status: Status = "fail" if "error" in verdicts else "warn" if "warn" in verdicts else "ok"
    value = "; ".join(
        f"{account['table']}: {account['rows']:,} rows, {account['ingested']:,} ingested" for account in found.values()
    )
    advice = [account["description"] for account in found.values() if account["verdict"] != "passed"]
    if lines := [line for asset in gated_of(settings) if (line := rejected_line(asset, rejected_record(store, asset)))]:
        status = "fail" if status == "fail" else "warn"
        advice.append(f"{'; '.join(lines)}: correct the source, then materialize the day again.")
    return Health(value, status, " ".join(advice))


def population_health(settings: Settings) -> Health:
    """Whether the portfolio says who was lent to, and whether old loans bear it out."""
    from credit_assets.assets.evidence import matured_without_outcome
    from credit_assets.ml.rules.population_gates import evidence_gate, population_gate, stated_population

    portfolio = settings.portfolio_contract
    stated = population_gate(portfolio, None)
    value = f"lent to: {stated_population(portfolio)}"
    try:
        warehouse = open_warehouse(settings.warehouse, settings.timezone)
        found = matured_without_outcome(settings, warehouse, today(settings) - timedelta(1))
    except (PermanentError, TransientError):
        # What to do about it stands beside the warehouse.
        return Health(value, "ok" if stated.passed else "fail", "" if stated.passed else stated.message())
    evidence = evidence_gate(found, portfolio)
    advice = [gate.message() for gate in (stated, evidence) if not gate.passed]
    return Health(f"{value}. {evidence.description}", "fail" if advice else "ok", " ".join(advice))


def book_health(settings: Settings) -> Health:
    """Whose book the store holds, and whether the settings still name the same."""
    book = book_of(Claims(settings.store))
    if book is None:
        try:
            refuse_beginning_anew(settings)
        except PermanentError as error:
            return Health("under plain names", "fail", str(error))
        return Health("none yet: it begins with the first day that is ingested")
    try:
        refuse_other_portfolio(settings, book)
    except PermanentError as error:
        return Health(f"portfolio {book.portfolio}", "fail", str(error))
    changed = changed_since(settings)
    return Health(f"portfolio {book.portfolio}", "warn" if changed else "ok", "; ".join(changed))


def first_model_health(settings: Settings) -> Health:
    """The first as-of date with which there can be a model, and whether it has come."""
    found = outlook(settings, Store(settings.store))
    value = f"possible as of {found.first_due}: {found.why}"
    if found.newest is None:
        return Health(f"{value}; nothing is ingested yet")
    if found.state == DUE:
        return Health(value)
    return Health(
        f"{value}; the newest day ingested is {found.newest}, so none is due: trainings are skipped until then"
    )


def comparison_health(settings: Settings) -> Health:
    """What improvement the book's own tests could show, and whether they are large enough to compare models at all."""
    found = power_of(settings, Store(settings.store))
    if found is None:
        return Health("what a comparison could show is known with the first model")
    least = policy_of(settings).comparison
    if found.bads >= least.min_bads and found.goods >= least.min_goods:
        return Health(found.text())
    advice = (
        f"no model takes over by being better on fewer than {least.min_bads} bads and {least.min_goods} goods "
        "(CREDIT_PROMOTION_MIN_BADS, CREDIT_PROMOTION_MIN_GOODS): a longer CREDIT_LOOKBACK_DAYS or a larger "
        "CREDIT_TEST_SHARE gives more"
    )
    return Health(found.text(), "warn", advice)


def columns_health(settings: Settings) -> Health:
    """Whether the models in force read columns that have left the portfolio, and whether the newest day has them."""
    from credit_assets.assets.model_inputs import MissingInputsError, ModelInputs
    from credit_assets.ml.learners.scorer import CreditScorer

    store, aliases = Store(settings.store), (CHAMPION, SHADOW)
    inputs = ModelInputs(store, settings.portfolio_contract)
    try:
        held = {alias: one["version"] for alias, one in zip(aliases, holders(settings, *aliases), strict=True) if one}
        if not held:
            return Health("no model is in force")
        registry = build_resources(settings)["registry"]
        scorers = {
            f"{alias} version {version}": CreditScorer.load(registry.download(registry.version(version)))
            for alias, version in held.items()
        }
    except (PermanentError, TransientError, ExtensionError) as error:
        # What to do about it stands beside the extensions, or MLflow.
        return Health(f"not looked at: {first_line(error)}", "warn")
    newest, problems, advice = store.days("processed_features")[-1:], [], []
    status: Status = "ok"
    for name, scorer in scorers.items():
        if not (left := inputs.left(scorer)):
            continue
        problems.append(f"{name} reads columns that have left the portfolio: {in_words(left)}")
        advice.append(f"{name}: {way_out(left)}.")
        status = "warn" if status == "ok" else status
        try:
            if newest:
                inputs.beside(store.read_partitions("processed_features", newest), scorer)
        except MissingInputsError as error:
            problems[-1], status = f"{name} cannot score: {error}", "fail"
    return Health("; ".join(problems) or "the models in force read features of the portfolio", status, " ".join(advice))


def ledger_health(settings: Settings) -> Health:
    """Whether the logs end as they were written, and who has to sign."""
    registry = build_resources(settings)["registry"]
    signed = f"; promotions are signed: {settings.approvers}" if settings.approvers else ""
    if settings.tracking_is_new and not registry.claims.names(LOGS):
        return Health(f"no move yet{signed}")
    try:
        integrity = Integrity(registry)
        broken, heads = integrity.breaks(), integrity.heads()
    except (PermanentError, TransientError) as error:
        # What to do about it stands beside the store, or MLflow.
        return Health(f"not looked at: {first_line(error)}", "warn")
    if broken:
        return Health("; ".join(break_in_words(one) for one in broken[:3]), "fail", f"nothing is trained: {WAY_OUT}")
    return Health(f"whole: {', '.join(f'{name} {head.number}' for name, head in heads.items())}{signed}")


def disk_health(settings: Settings) -> Health:
    folder = settings.home_dir
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    status: Status = "fail" if usage.free < _FULL_DISK else "warn" if usage.free < _LOW_DISK else "ok"
    advice = f"free some space on the disk of {folder}, or set CREDIT_HOME to another" if status != "ok" else ""
    return Health(f"{usage.free / _GIB:.1f} GiB free of {usage.total / _GIB:.1f}", status, advice)


def files_health(settings: Settings) -> Health:
    """Whether others of this machine can read what is there: files of earlier versions, or restored from a backup."""
    home = settings.home_dir
    files = (database_file(settings.warehouse), database_file(settings.tracking_uri))
    places = [home, *(sorted(home.iterdir()) if home.is_dir() else []), settings.dagster_dir, *filter(None, files)]
    places += [] if "://" in settings.store_root else [Path(settings.store_root)]
    if not (open_ := wider(dict.fromkeys(places), settings.file_access)):
        return Health("for their user" + (" and the user's group" if settings.file_access == "group" else ""))
    # Whoever cannot enter a folder reads nothing in it.
    whole = [path for path in open_ if not set(path.parents) & set(open_)]
    advice = f"{ADVICE[settings.file_access]} {' '.join(shlex.quote(str(path)) for path in whole)}"
    some = ", ".join(path.name for path in open_[:5]) + (f" and {len(open_) - 5} more" if len(open_) > 5 else "")
    return Health(f"others may read or change {some}", "warn", f"loans of applicants are in them: {advice}")


def within(seconds: float, look: Callable[[], Health]) -> Health:
    """What `look` sees, or that it did not come back in time. It is left behind then: a daemon thread ends with us."""
    seen: list[Health] = []

    def run() -> None:
        try:
            seen.append(look())
        except (PermanentError, TransientError) as error:
            seen.append(Health("cannot be looked at", "fail", str(error)))
        except Exception as error:
            advice = "unexpected: please report it with the command's output"
            seen.append(Health(f"{type(error).__name__}: {first_line(error)}", "fail", advice))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if seen:
        return seen[0]
    return Health(f"no answer within {seconds:.0f} s", "fail", "check the address, the network and the firewall")


def secrets_of(settings: Settings) -> Secrets:
    """All secrets of the settings: whatever library has a password in its message, no finding shows it."""
    given = {
        name: value
        for name in Settings.model_fields
        # A default stands in the documentation.
        if isinstance(value := getattr(settings, name), SecretStr) and value != Settings.model_fields[name].default
    }
    given.pop("alert_urls", None)
    return Secrets([*given.values(), *settings.alert_targets])
