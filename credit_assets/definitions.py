"""The code location that Dagster loads."""

from credit_assets.loading import load

defs = load()
