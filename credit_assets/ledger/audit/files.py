"""Files of the store and of models beside the hashes and days that were recorded of them.

Belongs here: whether what was kept has the content of its name, and whether days are there that were made. Does not
belong here: reading files (`reading`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from credit_assets.ledger.audit.walk import Gap, Verdict, Walk, again
from credit_assets.ledger.kept import named_beside

_BACKUP = "bring it back from a backup"


def evidence_kept(walk: Walk) -> Sequence[Gap]:
    """The evidence of a decision, with the portfolio and the code that it names, is what it was when it decided."""
    return [*_of_days(walk), *_of_versions(walk), *_beside(walk), *_copied(walk)]


def _of_days(walk: Walk) -> Iterator[Gap]:
    for day, record in walk.of("registered_model").items():
        then, now = record.get("evidence"), walk.hashes.get(day)
        of_day = walk.of("trained_model").get(day)
        if then is None or then == now:
            continue
        if of_day is None:
            yield Gap("evidence_kept", "is gone, and a registration was decided by it", _BACKUP, "trained_model", day)
        elif of_day.get("fingerprint") == record.get("fingerprint"):
            text = "is not what the registration was decided by: it was edited, or made again without deciding again"
            do = f"{_BACKUP}, or decide again: {again('registered_model', day)}"
            yield Gap("evidence_kept", text, do, "trained_model", day, record.get("version") or "")
        else:
            text = "is of another model than the registration was decided about"
            do = f"decide again: {again('registered_model', day)}"
            yield Gap("evidence_kept", text, do, "trained_model", day, record.get("version") or "")


def _of_versions(walk: Walk) -> Iterator[Gap]:
    for kept in walk.kept.versions:
        if kept.evidence is None:
            continue
        now = walk.kept.evidence_now.get(kept.evidence)
        if now != kept.evidence:
            text = "its evidence was edited" if now else "its evidence cannot be read"
            yield Gap(
                "evidence_kept", text, _BACKUP, f"kept/evidence/{kept.evidence[:12]}", kept.as_of, kept.version or ""
            )


def _beside(walk: Walk) -> Iterator[Gap]:
    for kept in walk.kept.versions:
        evidence = walk.kept.evidence.get(kept.evidence or "")
        for place, content in named_beside(evidence).items() if evidence else ():
            now = walk.kept.beside.get(place)
            if now == content:
                continue
            text = "which the version was made with, was edited" if now else "which the version was made with, is gone"
            folder, _, name = place.rpartition("/")
            yield Gap("evidence_kept", text, _BACKUP, f"{folder}/{name[:12]}", kept.as_of, kept.version or "")


def _copied(walk: Walk) -> Iterator[Gap]:
    """By what is copied into a version's record a takeover is judged: it is that of its evidence. How later days looked
    to it is noted there too, and is of other days.
    """
    for kept in walk.kept.versions:
        evidence = walk.kept.evidence.get(kept.evidence or "")
        for name, copied in (("leaks", kept.leaks), ("fairness", kept.fairness), ("first_days", kept.first_days)):
            own = (evidence or {}).get(name)
            if copied is None or own is None or copied == own:
                continue
            if name == "first_days" and copied.get("days") != own.get("days"):
                continue
            text = f"its {name}, by which a takeover is judged, is not that of its evidence: it was edited"
            where = f"kept/versions/{kept.fingerprint[:12]}"
            yield Gap("evidence_kept", text, _BACKUP, where, kept.as_of, kept.version or "")


def training_sets(walk: Walk) -> Sequence[Gap]:
    """What a version was trained on is kept, with the content that was recorded."""
    found = []
    for kept in walk.kept.versions:
        if kept.training_set is None:
            continue
        name = kept.training_set.rpartition("/")[2].removesuffix(".parquet")
        now = walk.kept.sets.get(name)
        if now == name:
            continue
        text = "the rows that it was trained on were edited" if now else "the rows that it was trained on are not there"
        found.append(
            Gap("training_sets", text, _BACKUP, f"kept/training_set/{name[:12]}", kept.as_of, kept.version or "")
        )
    return found


def model_files(walk: Walk) -> Sequence[Gap]:
    """The files of a model are those that were logged when it was trained."""
    found = []
    for number, version in walk.versions.items():
        files = walk.files.get(number, {})
        do = "roll back (`credit-assets rollback`) where it scores, and bring its files back from a backup"

        def gap(text: str, number: str = number, day: str = str(version.as_of), do: str = do) -> Gap:
            return Gap("model_files", text, do, "model", day, number)

        if isinstance(files, str):
            found.append(gap(f"its files cannot be read: {files}"))
            continue
        recorded = ((walk.evidence_of(version) or {}).get("made") or {}).get("files") or {}
        for name, content in recorded.items():
            if name not in files:
                found.append(gap(f"its file {name} is not there"))
            elif files[name] != content:
                found.append(gap(f"its file {name} is not the one that was judged: it was edited"))
    return found


def days_in_between(walk: Walk) -> Sequence[Gap]:
    """Every day that was made is there."""
    found = []
    for asset, days in walk.made.items():
        for day in sorted({*days} - {*walk.stored.get(asset, ())}):
            text = "was made, and its file is gone"
            found.append(Gap("days_in_between", text, f"{_BACKUP}, or make it again: {again(asset, day)}", asset, day))
    return found


def rows_of_days(walk: Walk) -> Sequence[Gap]:
    """The rows of every partition are those that its file records (with --verify)."""
    found = []
    for asset, days in walk.rows.items():
        recorded_before = False
        for day, (recorded, now) in sorted(days.items()):
            # Releases before recorded none; after a day that has one there is no reason for it.
            if not recorded and recorded_before:
                text = "records no hash of its rows, as earlier days do: another program wrote it"
            elif recorded and now != recorded:
                text = "its rows are not those that were written: the file was edited, or is damaged"
            else:
                text = ""
            recorded_before = recorded_before or bool(recorded)
            found += [Gap("rows_of_days", text, f"make it again: {again(asset, day)}", asset, day)] if text else []
    return found


def gates_of_days(walk: Walk) -> Sequence[Gap]:
    """The gate results in the file of a day are those that it was made or rejected with, and no day passes unmade."""
    found = []
    for asset, judged in walk.judged.items():
        made = {*walk.made.get(asset, ())}
        for day, verdict in walk.verdicts.get(asset, {}).items():
            if text := _of_verdict(verdict, judged.get(day), day in made):
                found.append(Gap("gates_of_days", text, f"judge it again: {again(asset, day)}", asset, day))
    return found


def _of_verdict(verdict: Verdict, recorded: Verdict | None, made: bool) -> str:
    """What is wrong with the gate results in the file of a day; "" where nothing is."""
    if verdict == recorded:
        return ""
    if verdict.rejected:
        # Nothing reads it; and what releases before recorded of such a day is of the day as it was made before.
        of_rejection = recorded is not None and recorded.rejected
        return "its gate results are not those that it was rejected with: its footer was edited" if of_rejection else ""
    if recorded is not None and not recorded.rejected:
        return "its gate results are not those of the day when it was made: the footer of its file was edited"
    if recorded is not None:
        return "no gate rejects it, and by Dagster one did: a rejection was edited out of its file"
    # Releases before recorded no hash with a day that was made.
    edited_out = "no gate rejects it, and by Dagster it was never made: a rejection was edited out of its file"
    return "" if made else edited_out
