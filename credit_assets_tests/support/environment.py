"""Settings as a deployment gives them."""

from __future__ import annotations

import json
from typing import Any

from credit_assets.settings import variable


def environment(values: dict[str, Any]) -> dict[str, str]:
    """The environment variables of these settings."""
    return {
        variable(name): json.dumps(value) if isinstance(value, dict) else str(value) for name, value in values.items()
    }
