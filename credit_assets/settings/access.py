"""The group of settings that says who is let in: to the pages of `dev`, and to the files that are made.

Belongs here: the fields and what their values may be. Does not belong here: how a request is judged by them
(`credit_assets.cli.guard`), and modes (`credit_assets.file_modes`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from credit_assets.places import HOST


class Access(BaseModel):
    """Who may reach the pages that `dev` serves, and read the files that are made."""

    dev_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Names under which the pages of `dev` are reached where a port is forwarded, with commas."
    )

    file_access: Literal["private", "group"] = Field(
        "private", description="Who reads the files that are made: their user alone, or the user's group too."
    )

    @field_validator("dev_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("dev_hosts")
    @classmethod
    def _names_of_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not HOST.fullmatch(host):
                raise ValueError(f"{host!r} is no name of a host: write dev.lender.example, or dev.lender.example:3000")
        return value
