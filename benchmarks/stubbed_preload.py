"""What the fork server of the stubbed job loads: its definitions, as far as the pipeline's own are (`preload`)."""

from __future__ import annotations

from benchmarks.stubbed import defs
from credit_assets.preload import resolve

resolve(defs)
