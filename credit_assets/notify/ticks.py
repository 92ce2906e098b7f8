"""What a tick that could do nothing says, so that a program need not read its words.

Belongs here: the form of a skip reason by which others act: of a tick, Dagster keeps no other word. Does not belong
here: who acts on it (`watch`, `credit-assets simulate`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_CODE = re.compile(r" \[unreachable: ([^\[\]]+)\]$")


@dataclass(frozen=True)
class Unreachable:
    """A service that did not answer a tick, which is to be tried again. As text it is a skip reason.

    >>> Unreachable.of(str(Unreachable("MLflow", "connection refused"))).service
    'MLflow'
    """

    service: str
    why: str

    def __str__(self) -> str:
        return f"cannot reach {self.service}: {self.why} [unreachable: {self.service}]"

    @classmethod
    def of(cls, skip_reason: str | None) -> Unreachable | None:
        """What a tick could not reach, None where it skipped for any other reason."""
        text = skip_reason or ""
        code = _CODE.search(text)
        return cls(code[1], text[: code.start()].removeprefix(f"cannot reach {code[1]}: ")) if code else None
