"""A policy in a file of its own: to try one out before it stands in the portfolio.

Belongs here: reading the file. Does not belong here: the sections.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from credit_assets.failures import OwnError
from credit_assets.ml.data.documents import mapping_of, problems, text_of
from credit_assets.ml.data.policies import Policy

_KEY = "policy"


class PolicyError(OwnError, ValueError):
    """The policy file cannot be used; the message says where and why."""


def load_policy(path: str | Path) -> Policy:
    """The policy of a file: its sections by themselves, or below `policy` as in a portfolio file. A key that is not
    given has its default.

    Raises PolicyError with the file, the place in it and what is wrong.
    """
    source = f"policy file {path}"
    try:
        content = mapping_of(text_of(path, source), source, "the sections of a policy, or with `policy`")
        return Policy.model_validate(content.get(_KEY) or {} if _KEY in content else content)
    except ValidationError as error:
        raise PolicyError(f"{source}: {problems(error)}") from error
    except ValueError as error:
        raise PolicyError(str(error)) from error
