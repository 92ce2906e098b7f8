"""What every opening of a database reads or makes again, once: hundreds of tests open homes of their own.

Belongs here: saving this process what it has read already. Does not belong here: homes with something in them
(`prepared`, `houses`). Processes that tests start open as they do anywhere.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from credit_assets.settings import Settings, load_settings
from credit_assets_tests.support.prepared import prepared_home


def remember_migrations(patch: pytest.MonkeyPatch) -> None:
    """Alembic's folders of migrations are read once. Dagster and MLflow read some ninety of them at each opening, to
    see whether the newest is what the database has: half of what opening a Dagster home costs.
    """
    from alembic.script import ScriptDirectory

    read = ScriptDirectory.from_config
    known: dict[tuple[str | None, str | None], ScriptDirectory] = {}

    def from_config(config: Any) -> ScriptDirectory:
        place = (config.config_file_name, config.get_main_option("script_location"))
        if place not in known:
            known[place] = read(config)
        return known[place]

    patch.setattr(ScriptDirectory, "from_config", from_config)


def copy_new_homes(patch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A new Dagster home in this process gets the databases of a blank one, which was opened as any is."""
    from credit_assets.instance import home

    def blank(folder: Path) -> None:
        folder.mkdir()
        with pytest.MonkeyPatch.context() as environment:
            environment.delenv("DAGSTER_HOME", raising=False)
            with home.instance_of(load_settings(home=folder)) as instance:
                assert instance.get_runs_count() == 0

    made = prepared_home(tmp_path_factory, "blank", blank) / "dagster"
    ensure = home.ensure_instance

    def ensured(settings: Settings) -> Path:
        folder = ensure(settings)
        untouched = (folder / home.CONFIG_FILE).read_text("utf-8") == home.CONFIG
        if untouched and not any((folder / name).exists() for name in ("event_log.db", "history", "schedules")):
            with suppress(OSError):
                shutil.copytree(made, folder, ignore=shutil.ignore_patterns("*.lock"), dirs_exist_ok=True)
        return folder

    patch.setattr(home, "ensure_instance", ensured)
