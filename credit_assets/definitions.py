"""The code location that Dagster loads."""

from credit_assets.build import build_definitions
from credit_assets.settings import load_settings, restrict_files

restrict_files()
defs = build_definitions(load_settings())
