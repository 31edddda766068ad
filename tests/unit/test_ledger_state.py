"""Replaying records: what is live, what to go back to, what is void; and the judgement on aliases moved by hand."""

from itertools import count
from typing import Any

import pytest

from mlflow_project.domain.record import LedgerRecord, seconds_of
from mlflow_project.errors import InvalidData
from mlflow_project.ledger import NameState, replay
from mlflow_project.ledger.chain import UNREADABLE, Draft, Link, link_over, placed, read_link
from mlflow_project.ledger.observe import judge
from mlflow_project.rules.canonical import canonical, digest


class Story:
    """Writes records one after another, as the ledger would."""

    def __init__(self) -> None:
        self.records: list[LedgerRecord] = []
        self._serial = count(1)

    def add(self, kind: Any, version: int | None = None, **rest: Any) -> LedgerRecord:
        serial = next(self._serial)
        fields = {"digest": f"sha256:{version}", "alias": "Production", **rest}
        time = f"2026-11-30T12:{serial:02d}:00.000Z"
        record = LedgerRecord(serial, "", "", time, kind, "prompt", "qa", "anna", version=version, **fields)
        self.records.append(record)
        return record

    def seal(self, version: int, **evidence: Any) -> None:
        self.add("seal", version, alias=None, evidence=evidence)

    def flip(self, version: int, how: str = "flip", **rest: Any) -> None:
        intent = self.add("intent", version, **rest)
        self.add(how, version, intent=intent.serial, **rest)

    @property
    def state(self) -> NameState:
        return replay(self.records).of("qa")


@pytest.fixture
def story() -> Story:
    story = Story()
    for version in (1, 2, 3, 4):
        story.seal(version)
    return story


def live(story: Story) -> int:
    return story.state.live["Production"].version


def target(story: Story) -> int | None:
    found = story.state.rollback_target()
    return found.version if found else None


def test_the_last_completed_flip_is_live(story: Story) -> None:
    story.flip(1)
    story.flip(2)
    assert live(story) == 2
    assert story.state.was is not None
    assert story.state.was.version == 1


def test_an_intent_alone_makes_nothing_live(story: Story) -> None:
    story.flip(1)
    story.add("intent", 2)
    assert live(story) == 1
    assert story.state.intent is not None


def test_rollback_goes_back_and_again_further_back(story: Story) -> None:
    for version in (1, 2, 3):
        story.flip(version)
    assert target(story) == 2
    story.flip(2, "rollback", why="bad answers")
    assert target(story) == 1
    story.flip(1, "rollback", why="bad as well")
    assert target(story) is None


def test_rollback_never_goes_to_what_was_rolled_back_from(story: Story) -> None:
    for version in (1, 2, 3):
        story.flip(version)
    story.flip(2, "rollback")
    story.flip(4)
    assert target(story) == 2
    story.flip(2, "rollback", why="4 is worse")
    assert target(story) == 1
    assert set(story.state.rolled_back) == {3, 4}


def test_a_second_rollback_without_reasons_goes_back_to_the_other_version(story: Story) -> None:
    for version in (1, 2):
        story.flip(version)
    story.flip(1, "rollback")
    assert target(story) == 2
    story.flip(2, "rollback")
    assert target(story) == 1


def test_a_version_that_was_live_twice_is_found_although_a_later_one_was_rolled_back(story: Story) -> None:
    for version in (1, 2, 1, 3):
        story.flip(version)
    story.flip(1, "rollback", why="3 is worse")
    assert target(story) == 2


def test_a_rollback_passes_over_what_the_gate_has_refused_since(story: Story) -> None:
    for version in (1, 2, 3):
        story.flip(version)
    story.add("refusal", 2, alias=None)
    assert target(story) == 1
    story.seal(2)
    assert target(story) == 2


def test_a_release_that_was_rolled_back_for_a_reason_is_withdrawn_until_it_is_live_again(story: Story) -> None:
    story.flip(1)
    story.flip(2)
    story.flip(1, "rollback", why="bad answers")
    found = story.state.withdrawn("sha256:2")
    assert found is not None
    assert (found.version, found.to_version, found.who, found.reason) == (2, 1, "anna", "bad answers")
    story.flip(2, alias="Staging")
    assert story.state.withdrawn("sha256:2") is not None
    story.flip(2)
    assert story.state.withdrawn("sha256:2") is None


def test_what_is_promoted_again_after_a_rollback_counts_again(story: Story) -> None:
    story.flip(1)
    story.flip(2)
    story.flip(1, "rollback")
    story.flip(2)
    story.flip(3)
    assert target(story) == 2


def test_a_rollback_over_two_steps_marks_both(story: Story) -> None:
    for version in (1, 2, 3):
        story.flip(version)
    story.flip(1, "rollback")
    assert set(story.state.rolled_back) == {2, 3}


def test_a_flip_that_answers_no_open_intent_is_void(story: Story) -> None:
    story.flip(1)
    stalled = story.add("intent", 2)
    story.add("aborted", 2, intent=stalled.serial)
    story.flip(3)
    story.add("flip", 2, intent=stalled.serial)
    assert live(story) == 3


def test_staging_has_its_own_live_version_and_no_history(story: Story) -> None:
    story.flip(1)
    story.flip(2, alias="Staging")
    assert story.state.live["Staging"].version == 2
    assert (live(story), target(story)) == (1, None)


def test_a_seal_of_older_content_is_still_found_for_what_stands(story: Story) -> None:
    story.flip(1)
    story.add("seal", 1, alias=None, digest="sha256:other")
    state = story.state
    seal = state.seal_of(state.live["Production"])
    assert seal is not None
    assert seal.digest == "sha256:1"
    assert state.seals[1].digest == "sha256:other"


def test_an_approval_is_for_exactly_one_content(story: Story) -> None:
    story.add("approval", 2, alias=None)
    assert story.state.approved_by(2, "sha256:2") == ["anna"]
    assert story.state.approved_by(2, "sha256:other") == []


def test_an_alias_as_recorded_is_served(story: Story) -> None:
    story.flip(1)
    judgement = judge(story.state, "Production", 1, "sha256:1")
    assert judgement.serve is not None
    assert (judgement.serve.version, judgement.refused, judgement.record) == (1, None, None)


def test_a_hand_on_an_unprotected_alias_is_followed_and_recorded(story: Story) -> None:
    story.flip(1)
    judgement = judge(story.state, "Production", 2, "sha256:2")
    assert judgement.serve is not None
    assert (judgement.serve.version, judgement.refused, judgement.record) == (2, None, "observed_flip")


@pytest.mark.parametrize(
    ("pointed", "content", "said", "cause"),
    [
        (9, "sha256:9", "no seal", "unsealed"),
        (2, "sha256:9", "not what was sealed", "broken_seal"),
        (2, None, "deleted", "broken_seal"),
        (None, None, "is gone", "alias_gone"),
    ],
)
def test_a_hand_on_an_alias_is_not_followed_when(
    story: Story, pointed: int | None, content: str | None, said: str, cause: str
) -> None:
    story.flip(1)
    judgement = judge(story.state, "Production", pointed, content)
    assert judgement.serve is not None
    assert (judgement.serve.version, judgement.record) == (1, "observed_violation")
    assert said in (judgement.refused or "")
    assert judgement.cause == cause


def test_a_protected_name_follows_the_ledger_alone(story: Story) -> None:
    story.flip(1)
    story.seal(2, protected=True)
    judgement = judge(story.state, "Production", 2, "sha256:2")
    assert judgement.serve is not None
    assert (judgement.serve.version, judgement.record) == (1, "observed_violation")
    assert "protected" in (judgement.refused or "")
    assert judgement.cause == "moved_by_hand"


def test_content_rewritten_under_a_live_version_sounds_the_alarm_and_keeps_serving(story: Story) -> None:
    story.flip(1)
    judgement = judge(story.state, "Production", 1, "sha256:9")
    assert judgement.serve is not None
    assert (judgement.serve.digest, judgement.record, judgement.cause) == ("sha256:1", None, "broken_seal")
    assert "not what was sealed" in (judgement.refused or "")


def test_a_flip_under_way_is_followed_and_not_taken_for_a_hand(story: Story) -> None:
    story.flip(1)
    story.add("intent", 2)
    moving, elsewhere = (judge(story.state, "Production", version, f"sha256:{version}") for version in (2, 3))
    assert moving.serve is not None
    assert elsewhere.serve is not None
    assert (moving.serve.version, moving.record) == (2, None)
    assert (elsewhere.serve.version, elsewhere.record) == (1, None)


def test_a_violation_is_known_until_the_alias_is_put_back(story: Story) -> None:
    story.flip(1)
    story.add("observed_violation", 9)
    assert story.state.violations == {"Production": 9}
    story.add("reconciled", 1)
    assert story.state.violations == {}


def chain(length: int) -> list[tuple[Link, bytes]]:
    links: list[tuple[Link, bytes]] = []
    for number in range(length):
        links.append(placed(Draft("approval", "prompt", "qa", "anna", str(number)), links[-1][0] if links else None))
    return links


def test_a_chain_of_records_is_read_as_it_was_written() -> None:
    before = None
    for link, data in chain(5):
        before = read_link(data, before)
        assert before == link
        assert before.digest == digest(data)


def test_a_changed_missing_or_reordered_record_does_not_fit() -> None:
    links = chain(4)
    first, second = links[0][0], links[1][0]
    with pytest.raises(InvalidData, match="does not follow"):
        read_link(links[1][1], Link(first.record, "sha256:other"))
    with pytest.raises(InvalidData, match="lies number 3"):
        read_link(links[2][1], first)
    with pytest.raises(InvalidData, match="not JSON"):
        read_link(links[2][1][:-3], second)


def test_times_never_run_backwards_along_the_chain() -> None:
    link, _ = chain(1)[0]
    earlier = placed(Draft("approval", "prompt", "qa", "anna"), link, "2000-01-01T00:00:00.000Z")[0]
    assert earlier.record.time == link.record.time


FIRST, FIRST_BYTES = placed(Draft("approval", "prompt", "qa", "anna", version=1), None)
FIELDS = FIRST.record.to_dict() | {"serial": 2, "previous": FIRST.digest}


@pytest.mark.parametrize(
    "foreign",
    [b"", b"hello", b"[]", b"7", b'{"hello": "world"}', b"\xff", b"[" * 100_000]
    + [
        canonical(FIELDS | odd)
        for odd in ({"version": "one"}, {"time": None}, {"name": 7}, {"evidence": []}, {"more": 1}, {"serial": "2"})
    ]
    + [canonical({key: value for key, value in FIELDS.items() if key != "who"})],
)
def test_what_is_no_record_in_a_records_place_is_passed_over_and_followed(foreign: bytes) -> None:
    stranger = link_over(foreign, FIRST)
    after, data = placed(Draft("approval", "prompt", "qa", "bert", version=1), stranger)
    assert link_over(data, stranger) == after
    state = replay([FIRST.record, stranger.record, after.record])
    assert [record.who for record in state.of("qa").approvals] == ["anna", "bert"]
    assert [record.serial for record in state.strange] == [2]
    assert list(state.names) == ["qa"]


def test_a_record_of_a_type_from_another_time_changes_nothing() -> None:
    later = link_over(canonical(FIELDS | {"type": "canary", "version": 9}), FIRST)
    state = replay([FIRST.record, later.record])
    assert (state.serial, [record.type for record in state.strange]) == (2, ["canary"])


@pytest.mark.parametrize("odd", [{"previous": "sha256:0"}, {"serial": 3}])
def test_a_record_that_does_not_follow_stops_the_reading(odd: dict[str, Any]) -> None:
    with pytest.raises(InvalidData):
        link_over(canonical(FIELDS | odd), FIRST)


WRITTEN = seconds_of(FIRST.record.time)


@pytest.mark.parametrize(
    "time", ["9999-12-31T00:00:00.000Z", "2999-01-01T00:00:00.000Z", "2000-01-01T00:00:00.000Z", "~", "9999-99-99", ""]
)
def test_a_record_with_an_impossible_time_is_passed_over_and_its_time_counts_for_nobody(time: str) -> None:
    odd = link_over(canonical(FIELDS | {"time": time}), FIRST, WRITTEN)
    state = replay([FIRST.record, odd.record])
    assert (odd.record.type, odd.record.time) == (UNREADABLE, FIRST.record.time)
    assert ([record.serial for record in state.strange], state.time) == ([2], FIRST.record.time)
    after, data = placed(Draft("approval", "prompt", "qa", "bert", version=1), odd)
    assert after.record.time < "2900"
    assert link_over(data, odd, seconds_of(after.record.time)) == after


def test_a_clock_that_is_a_little_ahead_of_the_stores_is_no_forgery() -> None:
    assert link_over(FIRST_BYTES, None, WRITTEN - 240) == FIRST
    assert link_over(FIRST_BYTES, None, WRITTEN - 360).record.type == UNREADABLE


@pytest.mark.parametrize("field", ["serial", "version", "from_version", "intent"])
@pytest.mark.parametrize("value", [0, -1, True, 1.0, "1"])
def test_a_number_in_a_record_is_a_whole_number_from_one(field: str, value: Any) -> None:
    with pytest.raises(InvalidData, match="record"):
        LedgerRecord.from_dict(FIELDS | {field: value})


@pytest.mark.parametrize(("writer", "followed"), [("stalled", False), (None, True)])
def test_what_a_stalled_promoter_writes_late_is_no_move_by_hand(
    story: Story, writer: str | None, followed: bool
) -> None:
    story.flip(1)
    intent = story.add("intent", 2)
    story.add("aborted", 2, intent=intent.serial, evidence={"settled_by": "bert", "writer": writer})
    judgement = judge(story.state, "Production", 2, "sha256:2")
    assert (judgement.record, judgement.refused is None) == (
        ("observed_flip", True) if followed else ("observed_violation", False)
    )
    story.flip(2)
    story.flip(3)
    assert judge(story.state, "Production", 2, "sha256:2").record == "observed_flip"
