"""Who asks for a move or a retraining, as it is recorded.

Belongs here: the name of whoever runs a command. Does not belong here: the ledger that keeps it.
"""

from __future__ import annotations

import getpass
import os

from credit_assets.settings import Settings


def who(settings: Settings, by: str = "") -> str:
    """What was given, else CREDIT_OPERATOR, else the user's login name, else the number of the user.

    A container may run under a user id that no account has (OpenShift gives each project its own): the commands of an
    emergency must work there, too.
    """
    named = by or settings.operator
    if not named:
        try:
            named = getpass.getuser()
        except (KeyError, OSError, ImportError):
            named = f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown user"
    return " ".join(named.split())
