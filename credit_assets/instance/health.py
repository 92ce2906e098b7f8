"""Whether the Dagster instance of this machine loads, and with which event log."""

from __future__ import annotations

from credit_assets.failures import PermanentError, advised
from credit_assets.health import Health, first_line
from credit_assets.instance.home import CONFIG_FILE, ensure_instance, opened
from credit_assets.instance.ownership import refuse_foreign
from credit_assets.settings import Settings


def health(settings: Settings) -> Health:
    """Loads the Dagster instance as every command does."""
    there = (settings.dagster_dir / CONFIG_FILE).exists()
    try:
        folder = ensure_instance(settings)
    except PermanentError as error:
        return Health("cannot be used", "fail", str(error))
    config = folder / CONFIG_FILE
    try:
        with opened(folder) as instance:
            sharded = instance.event_log_storage.is_run_sharded
            runs = instance.get_runs_count()
            # Another file than that of the runs.
            instance.get_asset_keys(limit=1)
            refuse_foreign(settings, instance)
    except PermanentError as error:
        return Health("another book's", "fail", str(error))
    except Exception as error:
        advice = advised(error) or f"correct or delete {config}: {first_line(error)}"
        return Health(f"the instance in {folder} does not load", "fail", advice)
    shown = f"{runs} runs, {CONFIG_FILE} {'is there' if there else 'was written'}"
    if sharded:
        return Health(
            f"{shown}, Dagster's default event log",
            "warn",
            f"runs over many days are slow with it: take event_log_storage from a fresh {CONFIG_FILE} (rename {config} "
            "and run doctor again), or use PostgreSQL",
        )
    return Health(shown)
