"""What the guard watches, counts and decides, without services: the ledger's state in, a decision out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from mlflow_project.domain.record import LedgerRecord, seconds_of
from mlflow_project.domain.rollout import Plan, Rollout
from mlflow_project.domain.times import utc_text
from mlflow_project.errors import NotFound
from mlflow_project.guard.deciding import decide
from mlflow_project.guard.subjects import Subject, subjects
from mlflow_project.guard.traffic import Traffic
from mlflow_project.guard.watching import begin, keep, load
from mlflow_project.guard.words import SILENT_SECONDS, lines, present_words, word, words
from mlflow_project.ledger import replay
from mlflow_project.rules.guard.betting import Tally
from mlflow_project.rules.guard.limits import bucket_of
from mlflow_project.rules.guard.policy import guard_policy_from
from mlflow_project.snapshot.arm_counts import COUNTS_SCHEMA, ArmCounts, ArmKey, counts_to_list

POLICY = guard_policy_from({"indicators": ["errors", "latency"]})
LATE = 2e9
"""A time by which every step is over."""


class MemoryStore:
    """The coordination bucket in memory, as far as the guard uses it."""

    settings = SimpleNamespace(coordination_bucket="coordination")

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def list(self, bucket: str, prefix: str = "") -> Iterator[Any]:
        for key, data in self.objects.items():
            if key.startswith(prefix):
                yield SimpleNamespace(key=key, etag=str(hash(data)))

    def get(self, bucket: str, key: str) -> bytes:
        if key not in self.objects:
            raise NotFound(key)
        return self.objects[key]

    def put(self, bucket: str, key: str, data: bytes, kind: str) -> None:
        self.objects[key] = data


def rollout(share: float = 0.1, **fields: Any) -> Rollout:
    said: dict[str, Any] = {
        "id": 7,
        "kind": "prompt",
        "name": "qa",
        "version": 3,
        "digest": "sha256:3",
        "baseline_version": 2,
        "baseline_digest": "sha256:2",
        "plan": Plan((0.1, 0.5, 1.0), 60.0),
        "salt": "00" * 8,
        "who": "ann",
        "why": "",
        "opened": "2026-11-30T10:00:00.000Z",
        "step_since": "2026-11-30T10:00:00.000Z",
        "share": share,
    }
    return Rollout(**{**said, **fields})


def of_rollout(share: float = 0.1, **fields: Any) -> Subject:
    return Subject(7, "prompt", "qa", 3, 2, "sha256:2", POLICY, rollout=rollout(share, **fields))


def of_promotion(was_live: bool = False) -> Subject:
    return Subject(9, "prompt", "qa", 3, 2, "sha256:2", POLICY, until=LATE, was_live=was_live)


def counted(requests: int, errors: int = 0, milliseconds: float = 500.0) -> ArmCounts:
    answered = requests - errors
    return ArmCounts(requests, errors, 0, answered, latency={bucket_of(milliseconds): answered})


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def traffic(store: MemoryStore) -> Traffic:
    return Traffic(store)  # type: ignore[arg-type]


def publish(store: MemoryStore, runs: dict[str, dict[ArmKey, ArmCounts]], host: str = "h") -> None:
    data = {"schema": COUNTS_SCHEMA, "runs": {run: counts_to_list(counts) for run, counts in runs.items()}}
    store.objects[f"counts/{host}.json"] = json.dumps(data).encode()


CANARY, BASELINE = ArmKey("qa", 3, "canary", 7), ArmKey("qa", 2, "baseline", 7)
NEW, OLD = ArmKey("qa", 3, "production", 0), ArmKey("qa", 2, "production", 0)


def test_a_canary_that_fails_more_is_harm_and_ends_the_rollout(store: MemoryStore, traffic: Traffic) -> None:
    publish(store, {"r": {CANARY: counted(200, 50), BASELINE: counted(200, 5)}})
    traffic.read()
    subject = of_rollout()
    judgement = begin(subject, traffic).look(subject, traffic)
    decision = decide(subject, judgement, Tally(200, 5), LATE)
    assert (decision.action, decision.state) == ("abort", "harm")
    assert "errors 25.0% of 200 requests, 2.5% before" in decision.why


def test_a_step_is_taken_only_when_it_is_clear_and_its_time_is_over(store: MemoryStore, traffic: Traffic) -> None:
    publish(store, {"r": {CANARY: counted(400), BASELINE: counted(400)}})
    traffic.read()
    subject = of_rollout()
    observation = begin(subject, traffic)
    observation.look(subject, traffic)
    publish(store, {"r": {CANARY: counted(800), BASELINE: counted(800)}})
    traffic.read()
    judgement = observation.look(subject, traffic)
    none = Tally(0, 0)
    assert decide(subject, judgement, none, LATE).action == "step"
    assert decide(subject, judgement, none, 1e9).action == "wait", "its time is not over"
    assert decide(of_rollout(held=True), judgement, none, LATE).action == "wait"
    assert decide(of_rollout(plan=Plan((0.1, 1.0))), judgement, none, LATE).action == "wait", "a person takes steps"


def test_no_traffic_takes_no_step_and_says_how_much_is_missing(traffic: Traffic) -> None:
    subject = of_rollout()
    decision = decide(subject, begin(subject, traffic).look(subject, traffic), Tally(0, 0), LATE)
    assert (decision.action, decision.state) == ("wait", "inconclusive")
    assert "no traffic" in decision.why


def test_each_step_has_to_become_clear_by_its_own_traffic(store: MemoryStore, traffic: Traffic) -> None:
    observation = begin(of_rollout(), traffic)
    for number in (1, 2):
        publish(store, {"r": {CANARY: counted(500 * number), BASELINE: counted(500 * number)}})
        traffic.read()
        judgement = observation.look(of_rollout(), traffic)
    assert judgement.answer == "clear"
    assert observation.look(of_rollout(share=0.5), traffic).answer == "inconclusive"


def test_while_the_old_release_fails_too_nothing_is_moved(store: MemoryStore, traffic: Traffic) -> None:
    publish(store, {"r": {CANARY: counted(300, 290), BASELINE: counted(300, 200)}})
    traffic.read()
    subject = of_rollout()
    observation = begin(subject, traffic)
    judgement = observation.look(subject, traffic)
    decision = decide(subject, judgement, observation.recent_old(), LATE)
    assert (decision.action, decision.state) == ("wait", "old_release_fails")


def test_a_split_that_loses_one_arm_holds_the_rollout(store: MemoryStore, traffic: Traffic) -> None:
    publish(store, {"r": {CANARY: counted(20), BASELINE: counted(400)}})
    traffic.read()
    subject = of_rollout()
    judgement = begin(subject, traffic).look(subject, traffic)
    assert decide(subject, judgement, Tally(400, 0), LATE).action == "hold"
    assert decide(of_rollout(held=True), judgement, Tally(400, 0), LATE).action == "wait"


def test_after_a_promotion_the_past_of_the_old_release_decides(store: MemoryStore, traffic: Traffic) -> None:
    publish(store, {"r": {OLD: counted(1000, 20)}})
    traffic.read()
    subject = of_promotion()
    observation = begin(subject, traffic)
    publish(store, {"r": {OLD: counted(1000, 20), NEW: counted(100, 25)}})
    traffic.read()
    decision = decide(subject, observation.look(subject, traffic), observation.recent_old(), LATE)
    assert (decision.action, decision.state) == ("rollback", "harm")


def test_older_counts_of_a_release_that_was_live_before_do_not_count(store: MemoryStore, traffic: Traffic) -> None:
    publish(store, {"r": {OLD: counted(1000, 20), NEW: counted(400, 390)}})
    traffic.read()
    subject = of_promotion(was_live=True)
    assert begin(subject, traffic).look(subject, traffic).answer == "inconclusive"


def test_a_slower_release_is_harm_by_the_limit_that_the_old_one_set(store: MemoryStore, traffic: Traffic) -> None:
    publish(store, {"r": {OLD: counted(1000)}})
    traffic.read()
    subject = of_promotion()
    observation = begin(subject, traffic)
    for looks in range(1, 11):
        publish(store, {"r": {OLD: counted(1000), NEW: counted(10 * looks, milliseconds=1500.0)}})
        traffic.read()
        decision = decide(subject, observation.look(subject, traffic), Tally(0, 0), LATE)
    assert decision.state == "harm"
    assert "latency 100.0%" in decision.why


def test_one_slow_moment_after_a_promotion_is_no_harm(store: MemoryStore, traffic: Traffic) -> None:
    publish(store, {"r": {OLD: counted(1000)}})
    traffic.read()
    subject = of_promotion()
    observation = begin(subject, traffic)
    publish(store, {"r": {OLD: counted(1000), NEW: counted(200, milliseconds=1500.0)}})
    traffic.read()
    judgement = observation.look(subject, traffic)
    assert decide(subject, judgement, Tally(0, 0), LATE).state == "inconclusive"


def test_another_guard_goes_on_where_this_one_stopped(store: MemoryStore, traffic: Traffic) -> None:
    publish(store, {"r": {CANARY: counted(100, 9), BASELINE: counted(100, 1)}})
    traffic.read()
    subject = of_rollout()
    first = begin(subject, traffic)
    judgement = first.look(subject, traffic)
    first.word = word(subject, "inconclusive", "Not decided yet.", judgement)
    keep(store, "qa", first)  # type: ignore[arg-type]
    second = load(store, subject)  # type: ignore[arg-type]
    assert second is not None
    assert second.look(subject, traffic).to_dict() == judgement.to_dict(), "nothing is counted twice"
    assert words(store)["qa"]["state"] == "inconclusive"  # type: ignore[arg-type]
    assert load(store, of_promotion()) is None, "it is of another subject"  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"key": "rollout:7"}', b'{"key": "rollout:7", "seen": 3}'])
def test_a_damaged_state_is_begun_anew(store: MemoryStore, damage: bytes) -> None:
    store.objects["guard/qa.json"] = damage
    assert load(store, of_rollout()) is None  # type: ignore[arg-type]
    assert words(store) == {}  # type: ignore[arg-type]


def test_counts_that_go_down_or_cannot_be_read_count_for_nothing(store: MemoryStore, traffic: Traffic) -> None:
    subject = of_rollout()
    observation = begin(subject, traffic)
    publish(store, {"r": {CANARY: counted(200), BASELINE: counted(200)}})
    traffic.read()
    observation.look(subject, traffic)
    publish(store, {"r": {CANARY: counted(100, 100), BASELINE: counted(200)}})
    store.objects["counts/other.json"] = b"no json"
    traffic.read()
    judgement = observation.look(subject, traffic)
    assert judgement.answer != "harm"
    assert [each.new_requests for each in judgement.findings if each.indicator == "errors"] == [200]


def ledger_of(*said: tuple[str, dict[str, Any]]) -> Any:
    """A ledger with these records: type and fields, one a minute."""
    records = []
    for serial, (kind, fields) in enumerate(said, 1):
        common = {"nonce": "", "kind": "prompt", "name": "qa", "who": "ann", "alias": "Production"}
        time = f"2026-11-30T10:{serial:02d}:00.000Z"
        records.append(
            LedgerRecord(**{**common, "serial": serial, "previous": "", "time": time, "type": kind, **fields})
        )
    return SimpleNamespace(records=lambda: records, state=lambda: replay(records))


def seal_of(version: int, **evidence: Any) -> tuple[str, dict[str, Any]]:
    return "seal", {"version": version, "digest": f"sha256:{version}", "evidence": evidence}


def flip_of(version: int, intent: int, kind: str = "flip", **evidence: Any) -> list[tuple[str, dict[str, Any]]]:
    of = {"version": version, "digest": f"sha256:{version}"}
    return [("intent", {**of, "evidence": evidence}), (kind, {**of, "intent": intent})]


NOW = seconds_of("2026-11-30T10:20:00.000Z")
GUARD = {"indicators": ["errors"], "bake": "1h"}


def test_a_promotion_is_watched_through_its_bake_time_against_what_was_live_before() -> None:
    ledger = ledger_of(seal_of(1), *flip_of(1, 2), seal_of(2, guard=GUARD), *flip_of(2, 5))
    (found,) = subjects(ledger, NOW)
    assert (found.key, found.new, found.old, found.was_live) == ("promotion:6", 2, 1, False)
    assert found.until == seconds_of("2026-11-30T11:06:00.000Z")
    assert list(subjects(ledger, found.until)) == [], "the bake time is over"


def test_neither_a_rollback_nor_a_first_version_nor_one_without_a_policy_is_watched() -> None:
    first = [seal_of(1, guard=GUARD), *flip_of(1, 2)]
    assert list(subjects(ledger_of(*first), NOW)) == []
    assert list(subjects(ledger_of(*first, seal_of(2), *flip_of(2, 5)), NOW)) == []
    rolled_back = [*first, seal_of(2, guard=GUARD), *flip_of(2, 5), *flip_of(1, 7, "rollback")]
    assert list(subjects(ledger_of(*rolled_back), NOW)) == [], "so it is never rolled back twice in a row"


def test_a_promotion_that_finished_a_rollout_is_watched_by_the_policy_of_the_rollout() -> None:
    first = [seal_of(1), *flip_of(1, 2), seal_of(2)]
    opening = Rollout(
        0, "prompt", "qa", 2, "sha256:2", 1, "sha256:1", Plan((0.1, 1.0), guard=GUARD), "0" * 16, "", "", "", ""
    )
    begun = ("rollout", {"version": 2, "digest": "sha256:2", "from_version": 1, "evidence": opening.evidence()})
    (during,) = subjects(ledger_of(*first, begun), NOW)
    assert (during.key, during.new_arm, during.old_arm) == (
        "rollout:5",
        ArmKey("qa", 2, "canary", 5),
        ArmKey("qa", 1, "baseline", 5),
    )
    (after,) = subjects(ledger_of(*first, begun, *flip_of(2, 6, rollout=5)), NOW)
    assert (after.key, after.policy.bake_seconds) == ("promotion:7", 3600.0)


def test_a_policy_that_cannot_be_read_is_passed_over() -> None:
    said = [seal_of(1), *flip_of(1, 2), seal_of(2, guard={"indicators": {"nope": {}}}), *flip_of(2, 5)]
    assert list(subjects(ledger_of(*said), NOW)) == []


def test_the_word_on_what_is_watched_says_when_the_guard_is_silent(store: MemoryStore, traffic: Traffic) -> None:
    long_ago = ledger_of(seal_of(1), *flip_of(1, 2), seal_of(2, guard={"bake": "365d"}), *flip_of(2, 5))
    parts: Any = SimpleNamespace(store=store, ledger=long_ago)
    said = present_words(parts)["qa"]
    assert (said["state"], said["silent"], said["release"]) == ("unseen", True, "qa/2")
    assert "The guard is silent" in "\n".join(lines(said))

    publish(store, {"r": {ArmKey("qa", 1, "production", 0): counted(1000, 20)}})
    traffic.read()
    (subject,) = subjects(long_ago)
    observation = begin(subject, traffic)
    observation.word = word(subject, "inconclusive", "Not decided yet.", observation.look(subject, traffic))
    keep(store, "qa", observation)  # type: ignore[arg-type]
    said = present_words(parts)["qa"]
    assert (said["state"], said["silent"], said["missing"] > 20) == ("inconclusive", False, True)
    assert f"about {said['missing']} requests are missing" in lines(said)[0]

    observation.word["at"] = utc_text(datetime.now(UTC) - timedelta(seconds=SILENT_SECONDS + 1))
    keep(store, "qa", observation)  # type: ignore[arg-type]
    assert present_words(parts)["qa"]["silent"]
