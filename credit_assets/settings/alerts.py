"""The group of settings that says who hears of what happened, and where the links of a message lead.

Belongs here: the fields and what their values may be. Does not belong here: how a message is delivered
(`credit_assets.notify`).
"""

from __future__ import annotations

import re
from functools import cached_property

from pydantic import BaseModel, Field, SecretStr, ValidationInfo, field_validator


class Alerts(BaseModel):
    """Who hears of what happened, and where the links lead."""

    alert_urls: SecretStr = Field(SecretStr(""), description="Apprise URLs for alerts, separated by spaces or commas.")
    dagster_url: str = Field("http://localhost:3000", description="Where people reach the Dagster UI, for links.")
    mlflow_url: str = Field("", description="Where people reach the MLflow UI; empty: its server, or the UI of `dev`.")
    dev_port: int = Field(3000, ge=1, le=65535, description="Port of the Dagster UI that `dev` starts.")
    dev_mlflow_port: int = Field(5000, ge=1, le=65535, description="Port of the MLflow UI that `dev` starts.")

    @field_validator("dagster_url", "mlflow_url")
    @classmethod
    def _web_address(cls, value: str, info: ValidationInfo) -> str:
        if (value or info.field_name == "dagster_url") and not re.match(r"https?://[^/\s]", value):
            raise ValueError("must start with http:// or https:// and a host")
        return value

    @cached_property
    def alert_targets(self) -> tuple[str, ...]:
        # A comma within a URL belongs to it: mailto://relay?to=a@example.org,b@example.org.
        parts = re.split(r"\s+|,(?=\s*[A-Za-z][\w+.-]*://)", self.alert_urls.get_secret_value())
        return tuple(part.strip(",") for part in parts if part.strip(","))
