"""What the fork server loads once of that which runs a step, so that no step does.

Belongs here: imports and definitions, and nothing that opens a file, a connection or a thread, which would cross the
fork; a thread of a step begins in the step (`credit_assets.step_processes`). A step in a process of its own opens the
instance before anything else. Does not belong here: what its work takes (`preload_libraries`). What cannot be loaded
here is left to the step, which then says why.
"""

from __future__ import annotations

import gc
import os
from contextlib import suppress

import dagster as dg
from upath import UPath

from credit_assets.definitions import defs
from credit_assets.instance.dagster_internals import load_for_steps, remember_migrations
from credit_assets.step_processes import end_with_their_run


def load() -> None:
    end_with_their_run()
    with suppress(Exception):
        load_for_steps(os.environ.get("DAGSTER_HOME"))
    with suppress(Exception):
        remember_migrations()
    # Registers the file systems of fsspec.
    UPath(os.getcwd())
    with suppress(Exception):
        resolve(defs)


def resolve(definitions: dg.Definitions) -> None:
    """Let Dagster resolve the jobs once, for all steps."""
    definitions.resolve_all_job_defs()
    # What is loaded by now stays: no step's collector need walk through it, nor copy its pages.
    gc.freeze()


load()
