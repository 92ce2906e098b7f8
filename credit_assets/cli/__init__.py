"""The `credit-assets` command.

Belongs here: the verbs, what they print, and how they end. Does not belong here: work that a schedule could do as well.

Importing what a command needs takes a second: a signal in that time ends it without a traceback. Only where this is the
program: whoever imports a module of it keeps his handlers.
"""

import os
import sys

if os.path.basename(sys.argv[0] if sys.argv else "") in ("credit-assets", "-m"):
    from credit_assets.cli.signals import end_while_importing

    end_while_importing()
