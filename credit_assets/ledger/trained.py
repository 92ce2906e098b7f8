"""As of which days models were trained: for who counts from the newest of them.

Belongs here: reading each version once in the life of a process. Does not belong here: what a version is (`registry`),
and which retrainings were asked for (`retraining`).

MLflow cannot order versions by a tag, and reads every one of them for a list. An as-of date never changes, so only the
versions that came since are read, and of all that are known only the one that counts is looked for again: it may have
been deleted. Where it was, or the model was made anew, all are read again.
"""

from __future__ import annotations

from datetime import date

from credit_assets.ledger.registry import RECALIBRATES, Registry, Version


class TrainedDays:
    """What is known of them in this process."""

    def __init__(self) -> None:
        self._known: dict[int, Version] = {}

    def newest(self, registry: Registry, but: date | None = None) -> date | None:
        """The newest as-of date other than `but`; None where there is none. A new calibration of another version was
        not trained. Raises as `Registry` does.
        """
        while True:
            for version in registry.registered_after(max(self._known, default=0)):
                self._known[int(version.version)] = version
            trained = [one for one in self._known.values() if RECALIBRATES not in one.tags and one.as_of != but]
            found = max(trained, key=lambda one: (one.as_of, int(one.version)), default=None)
            if found is None or registry.has(found):
                return found.as_of if found else None
            self._known.clear()
