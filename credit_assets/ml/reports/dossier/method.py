"""Method and parameters: the learner, how it was fitted, chosen and calibrated, and what it takes to make it again."""

from __future__ import annotations

from credit_assets.ml.reports.dossier.blocks import (
    Block,
    Fact,
    Facts,
    Paragraph,
    Section,
    Table,
    count,
    number,
    short,
    shown,
    text,
)
from credit_assets.ml.reports.dossier.material import Material, Recorded, lacking


def section(material: Material) -> Section:
    version, candidate, trained = material.version, material.candidate, material.trained
    blocks: list[Block] = [
        Paragraph(
            "Each variant is fitted on the train rows, stops early and is calibrated on the validation rows, and the "
            "one with the best AUC there is the model of its day. The out-of-time test has no part in the choice. "
            "Directions of the portfolio hold for every learner. A model is known by the fingerprint of its data, "
            "code, parameters and seed, and saved in its library's own format, without code in it."
        )
    ]
    if candidate is None:
        return Section("method", "Method and parameters", (*blocks, lacking("its training")))
    identity = candidate["identity"]
    where = candidate.get("trained_on") or {}
    facts = [
        Fact("fingerprint", short(version.fingerprint), version.source),
        Fact("learner", text(version.variant), candidate.source),
        Fact("library", text(identity["params"].get("library")), candidate.source),
        Fact("code of the model", short(identity.get("code")), candidate.source),
        Fact("boosting rounds", count(candidate.get("rounds")), candidate.source),
        Fact("seed", text(identity.get("seed")), candidate.source),
        Fact("threads", shown(candidate.get("threads")), candidate.source),
        Fact("trained on", text(", ".join(str(value) for value in where.values())), candidate.source),
        Fact("MLflow run", text(version.run_id), version.source),
        Fact("package", text(f"credit-assets {material.package}" if material.package else None), version.source),
    ]
    facts += [
        Fact(f"extension {one['kind']} {one['name']}", short(one.get("hash") or one.get("source")), candidate.source)
        for one in candidate.get("extensions", ())
    ]
    blocks += [Facts(tuple(facts), "How it was made"), _parameters(candidate)]
    if trained is not None:
        blocks += _choice(trained)
        blocks += _recalibrated(trained)
    return Section("method", "Method and parameters", tuple(blocks))


def _parameters(candidate: Recorded) -> Table:
    """Those that it was trained with; of a search which were found and which were set by hand."""
    search = candidate.get("search") or {}
    found, by_hand = search.get("params", {}), search.get("by_hand", {})
    params = {**candidate["identity"]["params"], **found}
    params.pop("library", None)

    def whence(name: str) -> str:
        if name in found:
            return f"found by a search of {search['trials']} trials"
        if name in search.get("searched", ()):
            return "the default: the search found none that is better beyond chance"
        return "set by hand" if name in by_hand else "the default"

    rows = [(text(name), shown(value), *([text(whence(name))] if search else [])) for name, value in params.items()]
    head = ("parameter", "value", *(["whence"] if search else []))
    return Table("Parameters", head, tuple(sorted(rows, key=lambda row: row[0].text)), (candidate.source,))


def _choice(trained: Recorded) -> list[Block]:
    candidates = trained.get("candidates") or {}
    if not candidates:
        return []
    rows = sorted(candidates.items(), key=lambda item: (-item[1], item[0]))
    failed = [(text(name), text("failed"), text("no")) for name in trained.get("failed_variants", ())]
    return [
        Table(
            "Candidates of the as-of date",
            ("variant", "AUC on validation", "chosen"),
            (
                *((text(name), number(auc), text("yes" if name == trained["variant"] else "no")) for name, auc in rows),
                *failed,
            ),
            (trained.source,),
            "The AUC on the validation rows is too high for all alike: training was stopped by them.",
        )
    ]


def _recalibrated(trained: Recorded) -> list[Block]:
    made = trained.get("recalibrates")
    if not made:
        return []
    shown_keys = {key: value for key, value in made.items() if not isinstance(value, dict)}
    return [
        Facts(
            tuple(Fact(key.replace("_", " "), shown(value), trained.source) for key, value in shown_keys.items()),
            "It is another version with a new calibration",
        )
    ]
