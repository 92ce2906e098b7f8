"""What the demo came to: the models, what monitoring saw, and where to look at it.

Belongs here: reading it from the records, so that each line is true whatever the demo came to. Does not belong here:
the book and its replay (`demo`).
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console

from credit_assets.assets.policies import policy_of
from credit_assets.assets.stored_days import ScoredDays, StoredDays
from credit_assets.cli.models import models_record, print_models
from credit_assets.cli.trainings import ReplayReport
from credit_assets.ml.rules.decisions import summary_of
from credit_assets.places import database_file
from credit_assets.settings import Settings
from credit_assets.storage.store import Store


@dataclass(frozen=True)
class DemoReport:
    settings: Settings
    book: str
    loans: dict[str, Any]
    replay: ReplayReport
    models: dict[str, Any]
    scored: int
    why_promoted: str
    seen: tuple[str, ...]
    """What monitoring saw by the last day, and what was done about it, in sentences."""

    @property
    def champion(self) -> dict[str, Any] | None:
        return _holder(self.models, "champion")

    def to_record(self) -> dict[str, Any]:
        return {
            "book": self.book,
            "home": str(self.settings.home_dir),
            "loans": self.loans,
            "replay": self.replay.to_record(),
            **self.models,
            "champion": self.champion,
            "scored_applications": self.scored,
            "seen": list(self.seen),
        }

    def print(self, console: Console) -> None:
        print_models(self.models, console)
        champion = self.champion
        if champion is None:
            console.print("[bold]No model passed its gates:[/] the table says why.")
        else:
            m = champion["metrics"]
            console.print(
                f"\n[bold green]Champion: {self.models['model']} version {champion['version']}[/], "
                f"{champion['variant']}, as of {champion['as_of']}: out-of-time AUC {m['auc']:.4f}, "
                f"Gini {m['gini']:.4f}, KS {m['ks']:.4f}, Brier {m['brier']:.4f}"
            )
            console.print(f"Promoted because: {self.why_promoted}")
            console.print(f"{self.scored:,} applications scored, each by the champion of its day.")
        for line in self.seen:
            console.print(line, markup=False)
        home, command = _shell_home(self.settings), _shell_command()
        mlflow = f", MLflow http://127.0.0.1:{self.settings.dev_mlflow_port}"
        verbs = {
            "dev": f"Dagster http://127.0.0.1:{self.settings.dev_port}"
            + (mlflow if database_file(self.settings.tracking_uri) else ""),
            "status": "how things stand, on one screen",
            "models": "champions and rejected models",
        }
        console.print("\nLook at it:")
        for verb, what in verbs.items():
            console.print(f"  {home}{command} {verb}", markup=False, soft_wrap=True)
            console.print(f"      {what}", markup=False, style="dim")


def report_of(
    settings: Settings, store: Store, book: tuple[str, date], loaded: dict[str, Any], replay: ReplayReport
) -> DemoReport:
    """The report on what the store has of the book (its name and last day)."""
    models = models_record(settings)
    days = [date.fromisoformat(day) for day in store.days("loan_scores")]
    scored = sum(day.scored for day in ScoredDays(store).of(days).values())
    champion, why = _holder(models, "champion"), ""
    if champion:
        record = store.read_record(store.path("registered_model", f"{champion['as_of']}.json"))
        why = summary_of(record["reasons"])
    seen = tuple(_seen(settings, store, models, book[1]))
    return DemoReport(settings, book[0], loaded, replay, models, scored, why, seen)


def _holder(models: Mapping[str, Any], alias: str) -> dict[str, Any] | None:
    return next((version for version in models["versions"] if alias in version["aliases"]), None)


def _seen(settings: Settings, store: Store, models: Mapping[str, Any], last: date) -> Iterator[str]:
    tables = StoredDays(store)
    champion, trial = _holder(models, "champion"), _holder(models, "shadow")
    if performance := tables.record("performance_report", last):
        yield from _realised(performance["realised"], champion)
    yield from _drift(tables, store)
    shadow = tables.record("shadow_report", last)
    if trial and shadow and shadow["shadow"] == trial["version"]:
        yield (
            f"On trial: version {trial['version']} since {shadow['since']}: {shadow['rows']:,} applications of "
            f"{shadow['days']} days scored beside the champion; decided after {policy_of(settings).trials.days} days."
        )


def _realised(part: Mapping[str, Any], champion: Mapping[str, Any] | None) -> Iterator[str]:
    for version, one in part["versions"].items():
        if (found := one.get("evaluation")) and not (champion and champion["version"] == version):
            yield (
                f"What became of version {version}'s decisions: AUC {found['auc']:.3f} ({found['auc_ci_low']:.3f} .. "
                f"{found['auc_ci_high']:.3f}) on {one['rows']:,} loans that matured by then, {found['bads']:,} bads, "
                f"the last of {part['to']}."
            )


def _drift(tables: StoredDays, store: Store) -> Iterator[str]:
    """On how many days nothing drifted, since when something does, and which trainings drift has asked for."""
    records = [tables.record("drift_report", date.fromisoformat(day)) for day in store.days("drift_report")]
    known = [one for one in records if one and one["verdict"] in ("stable", "watch", "shifted")]
    shifted = [one for one in known if one["verdict"] == "shifted"]
    if not shifted:
        return
    line = (
        f"Drift: seen on {len(shifted)} of {len(known)} days, first on {shifted[0]['day']}, by {shifted[-1]['day']} "
        f"in {', '.join(shifted[-1]['shifted'])}"
    )
    drift_days = [day for day in store.days("registered_model") if "drift" in _triggers(store, day)]
    yield f"{line}; so a model was trained as of {', '.join(drift_days)}." if drift_days else f"{line}."


def _triggers(store: Store, day: str) -> list[str]:
    return list(store.read_record(store.path("registered_model", f"{day}.json")).get("triggers") or ())


def _shell_home(settings: Settings) -> str:
    default = (Path.cwd() / Settings.model_fields["home"].default).absolute()
    return "" if settings.home_dir == default else f"CREDIT_HOME={shlex.quote(str(settings.home_dir))} "


def _shell_command() -> str:
    """How this program is called here: by its name where the shell finds it, else by its path from here."""
    program = Path(sys.executable).with_name("credit-assets")
    if not program.exists():
        return f"{shlex.quote(sys.executable)} -m credit_assets.cli.main"
    found = shutil.which("credit-assets")
    if found and Path(found).samefile(program):
        return "credit-assets"
    here = Path.cwd()
    return shlex.quote(str(program.relative_to(here) if program.is_relative_to(here) else program))
