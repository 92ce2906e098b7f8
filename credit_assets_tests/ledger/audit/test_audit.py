"""Gaps that are planted in a ledger that has none: each is found, by the check whose matter it is, and named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from credit_assets.cli.audit import audit_record, judged_by, made_by
from credit_assets.ledger.alias_log import MoveDetails, MoveKind
from credit_assets.ledger.aliases import Aliases
from credit_assets.ledger.audit import CHECKS, described, gaps
from credit_assets.ledger.audit.reading import AuditReading
from credit_assets.ledger.audit.walk import Gap, KeptVersions, Verdict, Walk
from credit_assets.ledger.deployment import ACTOR
from credit_assets.ledger.kept import evidence_hash
from credit_assets.ledger.requests import Request
from credit_assets.ml.rules.periods import Period
from credit_assets.resources import build_resources
from credit_assets.storage.footers import CONTENT_KEY, GATES_KEY
from credit_assets.storage.seals import SEALED_KEY, canonical_json, record_of, sealed
from credit_assets_tests.support.houses import TRAINED, House, copied_home, open_house
from credit_assets_tests.support.tampering import TAMPERINGS

D, FIRST, LAST_SCORED = str(TRAINED), TRAINED + timedelta(1), date(2024, 4, 10)
NO_PROGRESS: Callable[[str, int, int], None] = lambda *_: None  # noqa: E731


def reading(house: House) -> AuditReading:
    found = build_resources(house.settings)
    return AuditReading(
        found["store"],
        found["registry"],
        found["requests"],
        made_by(house.settings, house.instance),
        judged_by(house.settings, house.instance),
    )


def prepare(home: Path) -> None:
    """Scores of some days, a promotion that a person asked for, and the rollback of it."""
    with open_house(home) as house:
        house.replay.backfill(TRAINED, LAST_SCORED, ("loan_scores",))
        resources = build_resources(house.settings)
        deployment = resources["deployment"]
        deployment.requests.add("promote", "1", by="ann", reason="from a later day on", effective_from=FIRST)
        deployment.apply_pending()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, trained_home: Path) -> Path:
    home = copied_home(trained_home, tmp_path_factory.mktemp("audited") / "home")
    prepare(home)
    return home


@pytest.fixture(scope="module")
def house(home: Path) -> Iterator[House]:
    with open_house(home) as opened:
        yield opened


@pytest.fixture(scope="module")
def walk(house: House) -> Walk:
    return reading(house).walk()


def test_a_ledger_without_gaps_is_clean_and_says_what_was_walked(house: House) -> None:
    before = house.hashes()
    record = audit_record(house.settings, house.instance, NO_PROGRESS)
    assert record["gaps"] == []
    assert record["clean"]
    assert [one["check"] for one in record["checks"]] == [check.__name__ for check in CHECKS]
    walked = record["walked"]
    assert (walked["versions"], walked["kept versions"], walked["registrations"], walked["moves"]) == (1, 1, 1, 2)
    assert (walked["requests"], walked["days of scores"]) == (1, 11)
    assert walked["partitions"] > 500
    assert house.hashes() == before


def edited(walk: Walk, asset: str, day: str, **changes: Any) -> Walk:
    """The walk with another record of a day."""
    record = {**walk.of(asset)[day], **changes}
    return replace(walk, records={**walk.records, asset: {**walk.of(asset), day: record}})


def with_reason(record: Mapping[str, Any], rule: str, **changes: Any) -> list[dict[str, Any]]:
    return [{**one, **changes} if one["rule"].startswith(rule) else one for one in record["reasons"]]


def of_version(walk: Walk, **changes: Any) -> Walk:
    return replace(walk, versions={"1": replace(walk.versions["1"], **changes)})


def moved(walk: Walk, **changes: Any) -> Walk:
    (*before, last) = walk.logs["champion"]
    return replace(walk, logs={**walk.logs, "champion": [*before, last._replace(**changes)]})


def request(**changes: Any) -> Request:
    asked = Request(2, "promote", "1", "eve", "because", FIRST, "i2", "2024-04-02T00:00:00+00:00")
    return replace(asked, **changes)


def judged_otherwise(walk: Walk, gate: str) -> Walk:
    """The walk with a gate of the training set that failed."""
    return replace(walk, gates={D: [replace(g, passed=False) if g.name == gate else g for g in walk.gates[D]]})


def asked(walk: Walk, more: Request, outcome: str = "done") -> Walk:
    return replace(walk, requests=[*walk.requests, more], outcomes={**walk.outcomes, more.number: outcome})


def with_verdict(walk: Walk, asset: str, day: str, verdict: Verdict) -> Walk:
    """The walk with other gate results in the file of a day."""
    return replace(walk, verdicts={**walk.verdicts, asset: {**walk.verdicts[asset], day: verdict}})


def unmade(walk: Walk, asset: str, day: str) -> Walk:
    """The walk with a day that was rejected when it came, whose file passes."""
    judged = {asset: {one: then for one, then in days.items() if one != day} for asset, days in walk.judged.items()}
    return replace(walk, judged=judged, made={**walk.made, asset: [one for one in walk.made[asset] if one != day]})


def rejected(walk: Walk, asset: str, day: str, then: str, now: Verdict) -> Walk:
    """The walk with a day that was rejected with the results `then`, whose file says `now`."""
    judged = {**walk.judged, asset: {**walk.judged[asset], day: Verdict(then, True)}}
    made = {**walk.made, asset: [one for one in walk.made[asset] if one != day]}
    return with_verdict(replace(walk, judged=judged, made=made), asset, day, now)


def without(walk: Walk, asset: str, day: str) -> Walk:
    return replace(walk, stored={**walk.stored, asset: [one for one in walk.stored[asset] if one != day]})


def beside(walk: Walk, folder: str, content: str | None) -> Walk:
    """The walk with another content of what the versions name in a folder."""
    found = {place: content if place.startswith(folder) else now for place, now in walk.kept.beside.items()}
    assert found != walk.kept.beside
    return replace(walk, kept=replace(walk.kept, beside=found))


def copied(walk: Walk, **changes: Any) -> Walk:
    """The walk with another record of the version, beside the evidence that it was made of."""
    return replace(walk, kept=replace(walk.kept, versions=[replace(one, **changes) for one in walk.kept.versions]))


def test_a_record_that_no_release_writes_ends_one_check_alone(walk: Walk) -> None:
    found = gaps(copied(walk, leaks={"concentration": []}))
    assert {gap.check for gap in found} == {"evidence_kept", "requests_met"}
    (ended,) = [gap.text for gap in found if gap.check == "requests_met"]
    assert "could not be walked to its end" in ended
    assert "'champion' is missing" in ended


def test_how_days_that_came_since_looked_to_a_version_is_no_gap(walk: Walk) -> None:
    (version,) = walk.kept.versions
    days = {**(version.first_days or {})["days"], "now": ["2024-05-01", "2024-05-07"]}
    assert gaps(copied(walk, first_days={**(version.first_days or {}), "days": days})) == []


# Each a gap, the check that has to find it, and the day, version and words by which it is named.
PLANTED: dict[str, tuple[Callable[[Walk], Walk], str, str]] = {
    "gate results of an ingested day edited": (
        lambda w: with_verdict(w, "raw_loan_data", D, Verdict("0" * 64, False)), "gates_of_days", f"raw_loan_data {D}",
    ),
    "a rejected day made one that passed": (
        lambda w: unmade(w, "loan_outcomes", D), "gates_of_days", "by Dagster it was never made",
    ),
    "a rejection of a day that was made before edited out": (
        lambda w: rejected(w, "raw_loan_data", D, "1" * 64, w.judged["raw_loan_data"][D]),
        "gates_of_days",
        "a rejection was edited out of its file",
    ),
    "the reasons of a rejection edited": (
        lambda w: rejected(w, "training_set", D, "1" * 64, Verdict("2" * 64, True)),
        "gates_of_days",
        "not those that it was rejected with",
    ),
    "a version registered by hand": (lambda w: replace(w, by_hand=["7"]), "versions_and_records", "version 7"),
    "a version without a record": (
        lambda w: replace(w, kept=KeptVersions(), records={**w.records, "registered_model": {}}),
        "versions_and_records",
        f"{D} version 1",
    ),
    "a record without a version": (lambda w: replace(w, versions={}), "versions_and_records", f"{D} version 1"),
    "another model under its number": (
        lambda w: of_version(w, fingerprint="0" * 64), "versions_and_records", "is another model in MLflow",
    ),
    "a metric edited in MLflow": (
        lambda w: of_version(w, tags={**w.versions["1"].tags, "auc": "0.910000"}),
        "versions_as_recorded",
        "its auc in MLflow is 0.910000",
    ),
    "a rejection made a registration": (
        lambda w: edited(w, "registered_model", D, decision="rejected"), "registrations", "rejected was recorded",
    ),
    "evidence that does not carry its decision": (
        lambda w: edited(
            w, "trained_model", D, evaluation={**w.of("trained_model")[D]["evaluation"], "auc": 0.41}
        ),
        "registrations",
        "rule min_auc",
    ),
    "a policy edited where it was recorded": (
        lambda w: edited(w, "registered_model", D, policy={**w.of("registered_model")[D]["policy"], "version": "0"}),
        "registrations",
        "the recorded policy is not that of its version",
    ),
    "a gate edited in the footer of its file": (
        lambda w: judged_otherwise(w, "leakage"),
        "registrations",
        "rule gate leakage",
    ),
    "a reason edited": (
        lambda w: edited(w, "deployed_model", D, reasons=with_reason(w.of("deployed_model")[D], "leaks", passed=False)),
        "takeovers",
        "rule leaks",
    ),
    "a takeover that no move made": (
        lambda w: replace(w, logs={name: log for name, log in w.logs.items() if name != "champion"}),
        "takeovers",
        "says that the version took over",
    ),
    "a forged request of the pipeline": (
        lambda w: asked(w, request(by=ACTOR)),
        "requests_met",
        "it is forged",
    ),
    "a request that is done and moved nothing": (
        lambda w: asked(w, request(effective_from=date(2020, 1, 1))),
        "requests_met",
        "no move brought the version into force from 2020-01-01 on",
    ),
    "a request taken out of the log": (
        lambda w: replace(w, requests=[request(number=3)]), "requests_met", "request 1 is missing",
    ),
    "a trigger that asked for nothing": (
        lambda w: edited(w, "registered_model", D, triggers=["refresh"]), "retrainings_requested", "refresh",
    ),
    "an entry taken out of a log": (
        lambda w: replace(w, log_numbers={**w.log_numbers, "champion": [2, 3]}), "moves_in_order", "entry 1",
    ),
    "the history of a move edited": (
        lambda w: moved(w, history=(Period("1", date(2024, 3, 1), None),)), "moves_in_order", "it was edited",
    ),
    "a move that nobody decided": (
        lambda w: moved(w, change=MoveDetails(FIRST, MoveKind.APPROVE, "eve", "because")),
        "moves_decided",
        "approve by eve",
    ),
    "a move to a version that is not there": (lambda w: moved(w, version="9"), "moves_decided", "not in MLflow"),
    "an alias moved by hand": (
        lambda w: replace(w, held={**w.held, "champion": "9"}), "aliases_held", "is on version 9 in MLflow",
    ),
    "periods edited in MLflow": (
        lambda w: of_version(w, champion_periods=((date(2024, 3, 1), None),)), "aliases_held", "by MLflow alone",
    ),
    "two champions on a day": (
        lambda w: of_version(w, champion_periods=((FIRST, None), (FIRST + timedelta(5), None))),
        "periods",
        "both in force",
    ),
    "days without a champion": (
        lambda w: of_version(w, champion_periods=((FIRST, FIRST), (FIRST + timedelta(5), None))),
        "periods",
        f"no champion is in force from {FIRST + timedelta(1)} to {FIRST + timedelta(4)}",
    ),
    "evidence edited after the decision": (
        lambda w: replace(w, hashes={D: "0" * 64}), "evidence_kept", "it was edited",
    ),
    "kept evidence that is gone": (
        lambda w: replace(w, kept=replace(w.kept, evidence_now={})), "evidence_kept", "its evidence cannot be read",
    ),
    "the portfolio edited that a version was made with": (
        lambda w: beside(w, "kept/portfolios", "0" * 64),
        "evidence_kept",
        "which the version was made with, was edited",
    ),
    "the parts of its code gone": (
        lambda w: beside(w, "kept/code", None), "evidence_kept", "which the version was made with, is gone",
    ),
    "leaks edited by which a takeover is judged": (
        lambda w: copied(w, leaks={**(w.kept.versions[0].leaks or {}), "champion": "9"}),
        "evidence_kept",
        "its leaks, by which a takeover is judged",
    ),
    "how the newest days looked edited": (
        lambda w: copied(w, first_days={**w.kept.versions[0].first_days, "edited": 1}),  # type: ignore[dict-item]
        "evidence_kept",
        "its first_days, by which a takeover is judged",
    ),
    "rows of a kept training set edited": (
        lambda w: replace(w, kept=replace(w.kept, sets=dict.fromkeys(w.kept.sets, "0" * 64))),
        "training_sets",
        "the rows that it was trained on were edited",
    ),
    "a model file edited": (
        lambda w: replace(w, files={"1": {**w.files["1"], "scorer.json": "0" * 64}}),  # type: ignore[dict-item]
        "model_files",
        "its file scorer.json is not the one that was judged",
    ),
    "a model whose files are gone": (
        lambda w: replace(w, files={"1": "no such folder"}), "model_files", "its files cannot be read",
    ),
    "a day deleted in between": (
        lambda w: without(w, "loan_outcomes", "2024-02-03"),
        "days_in_between",
        "loan_outcomes 2024-02-03",
    ),
    "scores by a version that was not in force": (
        lambda w: replace(w, scorers={**w.scorers, "2024-04-05": ["1", "4"]}),
        "scores_by_models_in_force",
        "loan_scores 2024-04-05 version 4",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_gap_is_found_and_named(walk: Walk, name: str) -> None:
    plant, check, words = PLANTED[name]
    assert gaps(walk) == []
    found = [gap for gap in gaps(plant(walk)) if gap.check == check]
    assert any(words in f"{gap.where}: {gap.text}" for gap in found), found
    assert all(gap.do for gap in found)


def test_every_check_finds_one_of_the_planted_gaps() -> None:
    """But for trials, which have a test of their own; and those of what was done to real files (`test_chains`)."""
    planted = {check for _, check, _ in (*PLANTED.values(), *TAMPERINGS.values())}
    assert planted | {"trials"} == {check.__name__ for check in CHECKS}
    assert all(described(check).endswith(".") for check in CHECKS)


def report(**changes: Any) -> dict[str, Any]:
    """A trial of one report, as `shadow_report` records it: it goes on."""
    from credit_assets.ml.data.policies import Policy
    from credit_assets.ml.rules.trials import TrialPolicy, decide_trial

    policy = Policy()
    seen: dict[str, Any] = {
        "day": "2024-05-01", "shadow": "1", "since": "2024-04-03", "days": 12, "rows": 900, "psi": 0.1,
        "correlation": {"spearman": 0.9}, "matured": None, "mean_pd": {"champion": 0.05, "shadow": 0.06},
    }  # fmt: skip
    seen |= changes
    decision, reasons = decide_trial(TrialPolicy("shadow", policy.trials, policy.performance.min_bads), seen)
    recorded = {"decision": decision, "reasons": [one.to_record() for one in reasons], "promotion": "shadow"}
    return {**seen, **recorded, "policy": policy.to_record()}


def of_trial(walk: Walk, record: dict[str, Any], requests: Sequence[Request] = ()) -> list[Gap]:
    trial = replace(
        walk,
        records={**walk.records, "shadow_report": {"2024-05-01": record}},
        requests=[*walk.requests, *requests],
    )
    return [gap for gap in gaps(trial) if gap.check in ("trials", "requests_met")]


def test_trials_follow_from_their_reports_and_are_asked_for(walk: Walk) -> None:
    assert of_trial(walk, report()) == []
    (edited_report,) = of_trial(walk, {**report(), "decision": "promote"})[:1]
    assert "promote was recorded, and its evidence gives continue" in edited_report.text
    ended = report(days=60, psi=3.0)
    assert ended["decision"] == "end"
    (unasked,) = of_trial(walk, ended)
    assert "no request for it is in the log" in unasked.text
    by_trial = request(kind="reject", by=ACTOR, identity="trial:1:2024-04-03")
    assert of_trial(walk, ended, [by_trial]) == []
    # Whoever forges a request of the pipeline has to forge a report too, which its evidence denies.
    forged = of_trial(walk, ended, [by_trial, replace(by_trial, number=3, kind="promote")])
    assert "forged" in str([gap.text for gap in forged])


def test_a_rejected_day_is_no_gap(walk: Walk) -> None:
    def found(planted: Walk) -> list[str]:
        return [gap.text for gap in gaps(planted) if gap.check in ("gates_of_days", "days_in_between")]

    results, of_rejection = walk.judged["raw_loan_data"][D].results, Verdict("1" * 64, True)
    assert found(rejected(walk, "raw_loan_data", D, "1" * 64, of_rejection)) == []
    # Of releases that recorded no rejection: of the day as it was made before, the rejected one itself, or nothing.
    as_made = with_verdict(walk, "raw_loan_data", D, of_rejection)
    assert found(as_made) == []
    assert found(with_verdict(walk, "raw_loan_data", D, Verdict(results, True))) == []
    assert found(with_verdict(unmade(walk, "raw_loan_data", D), "raw_loan_data", D, of_rejection)) == []


def test_what_a_person_brought_into_force_was_accepted(walk: Walk) -> None:
    differs: dict[str, Any] = {"why": "the newest days are another world"}
    (kept,) = walk.kept.versions
    evidence = {**walk.kept.evidence[str(kept.evidence)], "first_days": differs}  # type: ignore[dict-item]
    name = evidence_hash(evidence)
    planted = replace(kept, evidence=name, first_days=differs)
    stands = replace(walk, kept=KeptVersions([planted], {name: evidence}, {name: name}, walk.kept.sets))

    def found(one: Walk) -> list[str]:
        return [gap.text for gap in gaps(one) if gap.check == "requests_met"]

    (text,) = found(stands)
    assert "first_days stands against, and nobody accepted it" in text
    (by_ann,) = walk.requests
    assert found(replace(stands, requests=[replace(by_ann, accepted=("first_days",))])) == []


def test_gaps_planted_in_the_files_are_found_by_reading_them(tmp_path: Path, home: Path) -> None:
    """The whole way, through the store, MLflow and Dagster: ten gaps at once, none of which hides another."""
    with open_house(copied_home(home, tmp_path / "home")) as house:
        store, resources = Path(house.settings.store), build_resources(house.settings)
        registry = resources["registry"]

        def record(asset: str, **changes: Any) -> None:
            path = store / asset / f"{D}.json"
            # By somebody who knows of the seal: else it is not even read.
            path.write_bytes(canonical_json(sealed({**record_of(path.read_bytes()), **changes})))

        def table(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
            before = pq.read_table(path)
            path.unlink()
            said = (before.schema.metadata or {}).items()
            kept = {key: text for key, text in said if key not in (SEALED_KEY, CONTENT_KEY)}
            pq.write_table(change(before).replace_schema_metadata(kept), path)

        record("trained_model", age={"days": 1})
        (kept_set,) = (store / "kept/training_set").iterdir()
        table(kept_set, lambda rows: rows.slice(1))
        table(
            store / "loan_scores/2024-04-05.parquet",
            lambda rows: rows.set_column(
                rows.column_names.index("model_version"), "model_version", pa.array(["4"] * rows.num_rows)
            ),
        )
        (store / "raw_loan_data/2024-02-03.parquet").unlink()
        judged = store / "loan_outcomes/2024-02-04.parquet"
        rows, metadata = pq.read_table(judged), dict(pq.read_metadata(judged).metadata)
        results = json.loads(metadata[GATES_KEY])
        results[0]["description"] = "another"
        judged.unlink()
        own = {**metadata, GATES_KEY: json.dumps(results).encode()}
        own = {key: own[key] for key in own if key not in (b"ARROW:schema", SEALED_KEY)}
        pq.write_table(rows.replace_schema_metadata(own), judged)
        scorer = registry.download(registry.version("1")) / "scorer.json"
        scorer.write_text(scorer.read_text().replace("0", "1", 1))
        registry.set_tags(registry.version("1"), {"auc": "0.990000"})
        registry.delete_alias("challenger")
        Aliases(registry).move("champion", "1", MoveDetails(date(2024, 3, 1), MoveKind.ROLLBACK, "eve", "quietly"))
        resources["requests"].add("promote", "1", by=ACTOR, reason="forged", effective_from=FIRST, identity="trial:1:x")
        (store / "claims/requests/log/000009").write_text("no request\n")
        found = audit_record(house.settings, house.instance, NO_PROGRESS)
    assert not found["clean"]
    named = {(gap["check"], gap["where"]) for gap in found["gaps"]}
    content = kept_set.stem[:12]
    assert named >= {
        ("evidence_kept", f"trained_model {D} version 1"),
        ("training_sets", f"kept/training_set/{content} {D} version 1"),
        ("scores_by_models_in_force", "loan_scores 2024-04-05 version 4"),
        ("days_in_between", "raw_loan_data 2024-02-03"),
        ("model_files", f"model {D} version 1"),
        ("versions_as_recorded", f"registered_model {D} version 1"),
        ("aliases_held", "model_aliases/challenger"),
        ("moves_decided", "model_aliases/champion 2024-03-01 version 1"),
        ("requests_met", f"requests {FIRST} version 1"),
        ("readable", "requests"),
        ("gates_of_days", "loan_outcomes 2024-02-04"),
    }
