"""The pages: whatever a reader types is run here or named with the reason why not; links, contents and names hold."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

import credit_assets
from credit_assets.cli.edge import run
from credit_assets.cli.main import app
from credit_assets.settings import Settings, variable
from credit_assets.storage.store import Store
from credit_assets_tests.support.environment import environment
from credit_assets_tests.support.houses import SMALL, TRIAL_SETTINGS, copied_home
from credit_assets_tests.support.pages import Command, commands, filled, pages, spans, tree, unmarked
from docs_site import reference
from docs_site.staging import ROOT, Links, contents, parts, sources, stage

# What no test here runs, and why; by the words that a command begins with.
NOT_RUN = {
    "make ": "sets up an environment or runs these tests; the Makefile has tests of its own (test_makefile.py)",
    ".venv/bin/pre-commit": "installs a hook into the checkout",
    "python3 -m venv": "sets up an environment; test_package.py installs the wheel in one",
    ". .venv/bin/activate": "belongs to the line before it",
    "pip install": "asks a package index; test_package.py installs the wheel that is built here",
    "uv pip install": "installs the example, as test_example_extension.py does",
    "credit-assets demo": "four minutes of CPU; cli/test_demo.py runs it, and test_package.py by the wheel",
    "credit-assets dev": "serves until Ctrl-C; cli/test_dev.py runs it",
    "credit-assets metrics": "serves until Ctrl-C; cli/exporter/test_places.py asks its server",
    "credit-assets simulate": "13 minutes of CPU on the public loans; cli/test_simulate.py runs it on small ones",
    "credit-assets sensitivity": "needs a book with declined applicants; cli/test_sensitivity.py has one",
    "mlflow models serve": "serves until Ctrl-C; tracking/test_serving.py asks the server that it starts",
    "python examples/orchestrators": "needs Airflow or Prefect; test_orchestrators.py runs both where they are",
    "curl ": "asks a running web server; automation/test_external_trigger.py reports the same event",
    "export CREDIT_DASK_SCHEDULER": "needs a cluster; ml/learners/test_dask_cluster.py has one",
    "export CREDIT_STORE_URI": "needs a bucket; storage/test_object_store.py has one",
}
# Pages whose commands have a walk of their own elsewhere.
WALKED = {
    "docs/backup.md": "test_services.py",
    "docs/first-portfolio.md": "cli/test_init.py",
    "docs/promotion.md": "cli/test_signing.py",
    "examples/credit_assets_example_extension/README.md": "test_example_extension.py",
}
DAY, FROM, TO = "2024-04-11", "2024-04-10", "2024-04-12"
# Days, versions and ids of the pages' books, in the houses here.
HERE = {
    "docs/ad-hoc-training.md": {"2026-05-31": "2024-04-30", "--lookback 180": "--lookback 60"},
    "docs/backtest.md": {"2009-12-31": "2024-03-31", "2010-12-31": "2024-04-30", "--every 30": "--every 15 --days 15"},
    "docs/dossier.md": {"dossier 2": "dossier 1"},
    "docs/portfolio.md": {"--portfolio cards": "", "2024-06-30": "2024-01-03"},
}
# On the house with a model on trial; all others on the one with a champion.
ON_TRIAL = {"approve", "reject", "rollback"}


def refused(command: Command) -> str | None:
    alone = re.sub(r"^([A-Z_]+=\S+ )+", "", command.text)
    return next((why for start, why in NOT_RUN.items() if alone.startswith(start)), None)


def test_commands_stand_in_blocks_that_are_marked_as_such() -> None:
    assert unmarked() == []


def test_what_is_not_run_is_still_there() -> None:
    texts = [one.text for one in commands()]
    assert [start for start in NOT_RUN if not any(text.startswith(start) for text in texts)] == []
    assert set(WALKED) <= {one.page for one in commands()}
    named = {name for why in (*NOT_RUN.values(), *WALKED.values()) for name in re.findall(r"[\w/]+\.py", why)}
    assert [name for name in named if not (Path(__file__).parent / name).is_file()] == []


def test_every_command_is_known_to_the_command_line() -> None:
    """Verbs and options, in blocks and in sentences."""
    whole = tree()
    common = {"--portfolio", "--debug", "--help", "--json", "--version", "--install-completion", "--show-completion"}
    unknown = []
    for command in [*commands(), *spans()]:
        if not command.text.startswith("credit-assets ") and " credit-assets " not in command.text:
            continue
        words = re.split(r"[\s|,;)\]]+", command.text.split("credit-assets ", 1)[1])
        here, met = whole, []
        for word in words:
            if word in getattr(here, "commands", {}):
                here = here.commands[word]
                met.append(word)
        options = {word.split("=")[0].strip("[(\"'") for word in words if word.lstrip("[(").startswith("--")}
        known = common | {name for option in here.params for name in (*option.opts, *option.secondary_opts)}
        # Options of the command line itself need no verb.
        unfinished = hasattr(here, "commands") and not options
        if unfinished or not options <= known:
            unknown.append(f"{command.page}: {command.text} ({options - known})")
    assert unknown == []


def test_every_command_is_run_or_said_why_not() -> None:
    """All that no line of NOT_RUN stands for is given in a walk below, which knows these programs."""
    programs = {"credit-assets", "export", "eval", "python"}
    mine = [one for one in commands() if one.page not in WALKED and not refused(one)]
    assert [
        f"{one.page}: {one.text}" for one in mine if shlex.split(one.text)[0] not in programs and not one.verb
    ] == []


class Walk:
    """A folder with a house, in which the commands of a page are given one after the other."""

    def __init__(self, folder: Path, home: Path, settings: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.home, self.monkeypatch = folder, home, monkeypatch
        values = environment({**settings, "variants": "xgboost,lightgbm,catboost"})
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("CREDIT_HOME", str(home))
        monkeypatch.chdir(folder)
        self.values = {"DAY": DAY, "FROM": FROM, "TO": TO, "PWD": str(folder)}

    def applicant(self) -> str:
        """Somebody of DAY, which the demo has scored, and this house has where a page asked for it."""
        store = Store(str(self.home / "store"))
        if not store.path("loan_scores", f"{DAY}.parquet").exists():
            assert run(app, ["backfill", "--start", DAY, "--end", DAY]) == 0
        return str(store.read_partitions("loan_scores", [DAY])["application_id"][0])

    def give(self, command: Command) -> int:
        text = command.text
        for theirs, ours in HERE.get(command.page, {}).items():
            text = text.replace(theirs, ours)
        if "$ID" in text:
            self.values["ID"] = self.applicant()
        given = Command(command.page, filled(text, self.values) if "$(" not in text else text)
        if given.words[:1] == ["credit-assets"]:
            with self.monkeypatch.context() as alone:
                for name, value in given.assigned.items():
                    alone.setenv(name, value)
                return run(app, given.words[1:])
        if given.words[:1] == ["export"]:
            for name, value in given.assigned.items():
                self.monkeypatch.setenv(name, value)
            return 0
        # As a shell has it: programs of this environment, in a process of their own.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(["bash", "-ec", given.text], env={**os.environ, "PATH": path}, check=False).returncode


@pytest.fixture
def walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained_home: Path, trial_home: Path
) -> Callable[[bool], Walk]:
    def begin(on_trial: bool) -> Walk:
        name = "trial" if on_trial else "trained"
        folder = tmp_path / name
        folder.mkdir()
        home = copied_home(trial_home if on_trial else trained_home, folder / "home")
        return Walk(folder, home, TRIAL_SETTINGS if on_trial else SMALL, monkeypatch)

    return begin


def walked() -> list[str]:
    return sorted({one.page for one in commands() if one.page not in WALKED and not refused(one)})


@pytest.mark.slow
@pytest.mark.parametrize("page", walked())
def test_the_commands_of_a_page_run(page: str, walk: Callable[[bool], Walk]) -> None:
    for on_trial in (False, True):
        mine = [
            one for one in commands() if one.page == page and not refused(one) and (one.verb in ON_TRIAL) == on_trial
        ]
        if not mine:
            continue
        here = walk(on_trial)
        for name in ("stricter.yaml", "plain.yaml"):
            (here.folder / name).write_text(yaml_of(page))
        failed = [one.text for one in mine if here.give(one) != 0]
        assert failed == []


def yaml_of(page: str) -> str:
    """The first block of YAML of a page: the file that its commands name."""
    for code, part in parts((ROOT / page).read_text("utf-8")):
        if code and part.startswith("```yaml\n"):
            return "".join(part.splitlines(keepends=True)[1:-1])
    return "policy: {}\n"


# Links and contents


def test_every_link_leads_somewhere(tmp_path: Path) -> None:
    """Staging refuses one that does not."""
    stage(tmp_path)
    assert (tmp_path / "pages" / "index.md").is_file()
    assert not list((tmp_path / "pages").rglob("*.html"))
    assert (tmp_path / "extra" / "samples" / "dossier.html").is_file()
    # A second time nothing is written: Sphinx would make the page anew.
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "pages" / "gone.md").write_text("# of an earlier version")
    stage(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_link_that_leads_nowhere_is_named() -> None:
    links = Links("docs/glossary.md", sources())
    with pytest.raises(FileNotFoundError, match=r"docs/glossary.md: \[x\]\(gone.md\) leads nowhere"):
        links.rewritten("see [x](gone.md)")
    assert links.rewritten("see [`a`](../SECURITY.md#b)\n```\n[x](gone.md)\n```\n") == (
        "see [`a`](security.md#b)\n```\n[x](gone.md)\n```\n"
    )


def test_a_picture_made_light_and_dark_is_shown_in_the_colours_of_the_reader() -> None:
    links = Links("docs/index.md", sources())
    assert links.rewritten("![x](images/lineage-light.png)\n![y](images/explain.png)") == (
        "![x](images/lineage-light.png){.only-light}![x](images/lineage-dark.png){.only-dark}\n![y](images/explain.png)"
    )
    assert links.files == ["docs/images/lineage-light.png", "docs/images/lineage-dark.png", "docs/images/explain.png"]


def test_every_page_is_in_the_contents_of_one_page() -> None:
    """Of the site's pages each but the first has one parent, and a way to it from the first."""
    places = sources()
    parent: dict[str, str] = {}
    for source, place in places.items():
        for child in contents(Links(source, places).rewritten((ROOT / source).read_text("utf-8"))):
            folder = os.path.dirname(place)
            named = os.path.normpath(os.path.join(folder, child))
            assert named not in parent, f"{named} is in the contents of {parent[named]} and of {place}"
            parent[named] = place
    assert set(places.values()) - set(parent) == {"index.md"}


# References


def test_the_reference_of_settings_has_each_with_its_meaning_and_default() -> None:
    text = reference.settings()
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| .* \| ([^|]*(?:\\\|[^|]*)*) \|$", text, re.M))
    assert set(rows) == {variable(name) for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        assert field.description
        assert rows[variable(name)].replace("\\|", "|") == " ".join(field.description.split())
    assert "| `CREDIT_MIN_IMPROVEMENT` | `0.005` |" in text
    assert "| `MLFLOW_TRACKING_URI` | `sqlite:///<home>/mlflow/mlflow.db` |" in text


def test_the_reference_of_settings_is_that_of_no_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = reference.settings()
    monkeypatch.setenv("CREDIT_MIN_IMPROVEMENT", "0.2")
    monkeypatch.setenv("CREDIT_WAREHOUSE_URL", "postgresql://u:secret@h/db")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64))
    assert reference.settings() == before
    assert os.environ["CREDIT_MIN_IMPROVEMENT"] == "0.2"


def test_the_reference_of_commands_has_every_verb_and_option() -> None:
    text = reference.commands()
    for name, command in reference.verbs(tree()):
        part = text.split(f"## `{name}`\n", 1)[1].split("\n## ", 1)[0]
        assert re.search(rf"^```\n.*credit-assets {name}", part, re.M), f"{name} has no example"
        for option in command.params:
            if option.param_type_name == "option" and not option.hidden and option.name != "help":
                assert f"`{option.opts[0]}`" in part


def test_the_reference_of_the_portfolio_has_every_key() -> None:
    text, whole = reference.portfolio_schema(), reference.schema()
    for name, part in {"The file": whole, **whole["$defs"]}.items():
        section = text.split(f"## {name}\n", 1)[1].split("\n## ", 1)[0]
        assert re.findall(r"^\| `(\w+)` \|", section, re.M) == list(part["properties"])


def test_every_reference_is_made_for_a_page() -> None:
    made = {name for _, text in pages() for name in re.findall(r"<!-- generated: ([a-z-]+) -->", text)}
    assert made == set(reference.GENERATED)


def test_every_table_row_of_a_reference_has_its_cells() -> None:
    for name in ("settings", "portfolio-schema", "commands", "assets", "checks"):
        for block in re.findall(r"(?:^\|.*\|$\n?)+", reference.GENERATED[name](), re.M):
            widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(widths) == 1, (name, block[:200])


# Names of the pages for those who come from elsewhere

COMING = ("docs/from-airflow.md", "docs/from-prefect.md")
PLAIN_WORDS = {
    *("cards/loan_scores", "context.log", "context.partition_key", "day", "reads", "process", "k8s"),
    *("in_process", "multiprocess", "manual", "continue", "dagster.yaml", "gates"),
    *("CREDIT_", "--again", "--train", "--dry-run", "max_concurrent_runs", "max_runtime_seconds"),
    *("dagster instance concurrency set", "dagster definitions validate", "dagster-webserver", "dagster-daemon"),
    "credit_assets.ml",
}


def known_names() -> set[str]:
    """Whatever this project has a name for: settings, verbs, assets, checks, jobs, sensors, schedules, pools."""
    defs = credit_assets.build_definitions(credit_assets.load_settings())
    repository = defs.get_repository_def()
    assets = {"/".join(key.path) for key in repository.asset_graph.get_all_asset_keys()}
    checks = {key.name for key in repository.asset_graph.asset_check_keys}
    groups = {repository.asset_graph.get(key).group_name for key in repository.asset_graph.get_all_asset_keys()}
    started = {one.name for one in (*repository.sensor_defs, *repository.schedule_defs)}
    return {
        *(variable(name) for name in Settings.model_fields),
        *(f"credit-assets {name}" for name, _ in reference.verbs(tree())),
        *assets, *checks, *groups, *started, *repository.job_names, *credit_assets.__all__, "gpu", "warehouse",
    }  # fmt: skip


@pytest.mark.parametrize("page", COMING)
def test_what_things_become_here_has_these_names(page: str) -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \| .*\|$", (ROOT / page).read_text("utf-8"), re.M)[2:]
    assert len(rows) >= 30
    known = known_names() | PLAIN_WORDS
    unknown = []
    for theirs, ours in rows:
        for name in re.findall(r"`([^`]+)`", ours):
            if name.startswith("dg."):
                assert hasattr(dg, name.removeprefix("dg.")), f"{theirs}: dagster has no {name}"
            elif name not in known:
                unknown.append(f"{theirs}: {name}")
    assert unknown == []


@pytest.mark.parametrize("page", COMING)
def test_commands_in_their_code_are_commands_here(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    (block,) = [part for code, part in parts(text) if code and part.startswith("```python\n")]
    compile(block.removeprefix("```python\n").removesuffix("```\n"), page, "exec")
    whole = tree().commands["replay"]
    options = set(re.findall(r"--[a-z-]+", block))
    assert options == {"--start", "--end", "--train", "--json"}
    assert options <= {name for option in whole.params for name in option.opts}
    assert "replay" in block


# The site


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "docs_site", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "site"
    assert (site / "searchindex.js").stat().st_size > 100_000
    assert (site / "portfolio.schema.json").is_file()
    assert (site / "samples" / "dossier.html").is_file()
    asked = set()
    for page in site.rglob("*.html"):
        if "samples" not in page.parts:
            asked |= set(re.findall(r"(?:src|href)=\"(https?://[^\"]+\.(?:js|css|woff2?))\"", page.read_text("utf-8")))
    assert asked == set(), "the site asks other servers"
    assert "CREDIT_MIN_IMPROVEMENT" in (site / "reference" / "settings.html").read_text("utf-8")
    assert "train_candidate" in (site / "reference" / "library.html").read_text("utf-8")


@pytest.mark.slow
def test_a_broken_anchor_fails_the_build(tmp_path: Path) -> None:
    from docs_site.__main__ import build

    pages = tmp_path / "pages"
    pages.mkdir()
    (tmp_path / "extra").mkdir()
    (pages / "index.md").write_text("# One\n\n[there](#two)\n")
    assert build(tmp_path, tmp_path / "site") != 0
    assert not (tmp_path / "site").exists()
    (pages / "index.md").write_text("# One\n\n[there](#one)\n")
    assert build(tmp_path, tmp_path / "site") == 0
