"""Rollouts without servers: the arm of a unit, what the ledger's records make of a rollout, what is refused."""

from __future__ import annotations

import math
import time
from itertools import count, pairwise
from typing import Any

import pytest

from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.release import Manifest
from mlflow_project.domain.rollout import CANARY, Plan, Rollout, arm_of, read_seconds, read_steps
from mlflow_project.errors import InvalidData
from mlflow_project.follower.decide import follow_rollouts
from mlflow_project.ledger import NameState, State, replay
from mlflow_project.ledger.observe import judge
from mlflow_project.rules.gate.policy import policy_from
from mlflow_project.snapshot.content import Placed, Snapshot, Split

UNITS = [f"session-{number}" for number in range(100_000)]
Z_999 = 3.2905
"""The normal quantile of a two-sided 99.9 % interval."""


class Story:
    """Writes records about `qa` one after another, as the ledger would."""

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

    def flip(self, version: int, how: str = "flip") -> None:
        intent = self.add("intent", version)
        self.add(how, version, intent=intent.serial)

    def rollout(self, version: int, baseline: int = 1, **evidence: Any) -> int:
        plan = {"steps": [0.01, 0.25, 1.0], "seconds": 600.0, "unit": "session", "guard": None}
        given = {**plan, "salt": "5a17" * 4, "baseline_digest": f"sha256:{baseline}", **evidence}
        return self.add("rollout", version, alias=CANARY, from_version=baseline, evidence=given).serial

    def change(self, kind: Any, rollout: int, **evidence: Any) -> None:
        self.add(kind, 2, alias=CANARY, intent=rollout, evidence=evidence)

    @property
    def whole(self) -> State:
        return replay(self.records)

    @property
    def state(self) -> NameState:
        return self.whole.of("qa")

    @property
    def now(self) -> Rollout:
        found = self.state.rollout
        assert found is not None
        return found


@pytest.fixture
def story() -> Story:
    """Versions 1 to 3 are sealed, and 1 is live."""
    story = Story()
    for version in (1, 2, 3):
        story.add("seal", version, alias=None)
    story.flip(1)
    return story


def test_nobody_of_100_000_goes_back_on_the_way_up() -> None:
    arms = {share: [arm_of("salt", unit, share) for unit in UNITS] for share in (0.01, 0.05, 0.25, 0.6, 1.0)}
    for before, after in pairwise(arms.values()):
        assert sum(old == "canary" != new for old, new in zip(before, after, strict=True)) == 0


@pytest.mark.parametrize("share", [0.01, 0.05, 0.25, 0.5, 0.75])
def test_canary_and_baseline_have_their_shares(share: float) -> None:
    units = UNITS[:30_000]
    arms = [arm_of("another salt", unit, share) for unit in units]
    for arm, wanted in (("canary", share), ("baseline", min(share, 1 - share))):
        spread = Z_999 * math.sqrt(wanted * (1 - wanted) / len(units))
        assert abs(arms.count(arm) / len(units) - wanted) <= spread


def test_without_a_share_everybody_is_in_production_and_at_the_end_in_the_canary() -> None:
    assert {arm_of("salt", unit, 0.0) for unit in UNITS[:1000]} == {"production"}
    assert {arm_of("salt", unit, 1.0) for unit in UNITS[:1000]} == {"canary"}


def test_each_rollout_chooses_other_units() -> None:
    first, second = ({unit for unit in UNITS[:20_000] if arm_of(salt, unit, 0.05) == "canary"} for salt in ("a", "b"))
    assert len(first & second) < 0.1 * len(first)


def test_choosing_an_arm_takes_less_than_ten_microseconds() -> None:
    best = math.inf
    for _ in range(5):
        began = time.process_time()
        for unit in UNITS[:10_000]:
            arm_of("5a175a175a175a17", unit, 0.05)
        best = min(best, (time.process_time() - began) / 10_000)
    assert best < 10e-6


@pytest.mark.parametrize(
    ("text", "steps"), [("1%,5%,25%,100%", (0.01, 0.05, 0.25, 1.0)), (" 100 % ", (1.0,)), ("0.5%,2%", (0.005, 0.02))]
)
def test_steps_are_written_as_rising_percentages(text: str, steps: tuple[float, ...]) -> None:
    assert read_steps(text) == steps


@pytest.mark.parametrize("text", ["5%,1%", "5%,5%", "0%,5%", "5%,101%", "5", "0.05", "", "1%,,2%", "nan%", "1%;5%"])
def test_other_steps_are_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(InvalidData) as refused:
        read_steps(text)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)


def test_a_time_has_a_unit() -> None:
    assert [read_seconds(text) for text in ("30s", "10m", "1.5h", "1d")] == [30, 600, 5400, 86_400]
    for text in ("10", "0m", "-1m", "ten minutes", "1e3s", "9999999999d"):
        with pytest.raises(InvalidData, match="10m"):
            read_seconds(text)


def test_a_plan_with_an_unknown_unit_is_refused() -> None:
    with pytest.raises(InvalidData, match="session, user, key, request"):
        Plan((0.1,), unit="cookie")  # type: ignore[arg-type]


def test_a_rollout_goes_up_by_its_steps_and_the_flip_of_its_version_ends_it(story: Story) -> None:
    rollout = story.rollout(2)
    assert (story.now.share, story.now.next_share, story.now.baseline_version) == (0.0, 0.01, 1)
    story.change("step", rollout, share=0.01)
    story.change("step", rollout, share=0.25)
    assert (story.now.share, story.now.next_share) == (0.25, 1.0)
    story.flip(2)
    assert story.state.rollout is None
    story.change("finish", rollout)
    assert (story.state.rollout, story.state.live["Production"].version) == (None, 2)


def test_a_rollout_of_what_is_not_sealed_or_of_a_name_that_moves_is_passed_over(story: Story) -> None:
    story.rollout(7)
    story.rollout(2, baseline=3)
    for wrong in ({"steps": [0.5, 0.1]}, {"steps": "0.1"}, {"steps": [True]}, {"salt": "x"}, {"unit": "moon"}):
        story.rollout(2, **wrong)
    assert (story.state.rollout, len(story.whole.strange)) == (None, 7)
    rollout = story.rollout(2)
    story.rollout(3)
    assert (story.now.id, len(story.whole.strange)) == (rollout, 8)


def test_a_rollout_that_begins_during_a_flip_is_passed_over(story: Story) -> None:
    story.add("intent", 2)
    story.rollout(3)
    assert story.state.rollout is None


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0, True, "0.25", None, -1, [0.25]])
def test_a_step_that_is_none_of_the_plan_or_goes_down_changes_nothing(story: Story, share: Any) -> None:
    rollout = story.rollout(2)
    story.change("step", rollout, share=0.01)
    story.change("step", rollout, share=share)
    assert story.now.share == 0.01


def test_records_about_another_rollout_change_nothing(story: Story) -> None:
    first = story.rollout(2)
    story.change("abort", first)
    second = story.rollout(2)
    for kind in ("step", "hold", "abort", "finish"):
        story.change(kind, first, share=0.25)
    assert (story.now.id, story.now.share, story.now.held) == (second, 0.0, False)


def test_a_hold_keeps_the_share_and_a_resume_begins_the_step_anew(story: Story) -> None:
    rollout = story.rollout(2)
    story.change("step", rollout, share=0.01)
    began = story.now.step_since
    story.change("hold", rollout)
    assert (story.now.held, story.now.share, story.now.step_since) == (True, 0.01, began)
    story.change("resume", rollout)
    assert (story.now.held, story.now.share) == (False, 0.01)
    assert story.now.step_since > began


def test_canary_follows_the_ledger_wherever_a_hand_moves_it(story: Story) -> None:
    assert judge(story.state, CANARY, 3, "sha256:3").serve is None
    assert "rollout start qa" in str(judge(story.state, CANARY, 3, "sha256:3").refused)
    assert judge(story.state, CANARY, None, None).refused is None
    story.rollout(2)
    for pointed, complains in ((2, False), (None, False), (3, True), (9, True)):
        judgement = judge(story.state, CANARY, pointed, f"sha256:{pointed}")
        assert judgement.serve is not None
        assert (judgement.serve.version, judgement.refused is not None, judgement.record) == (2, complains, None)
    assert "not what was sealed" in str(judge(story.state, CANARY, 2, "sha256:other").refused)


def test_production_that_a_hand_moves_during_a_rollout_is_not_followed(story: Story) -> None:
    assert judge(story.state, "Production", 3, "sha256:3").record == "observed_flip"
    story.rollout(2)
    judgement = judge(story.state, "Production", 3, "sha256:3")
    assert judgement.serve is not None
    assert (judgement.serve.version, judgement.record) == (1, "observed_violation")
    assert "anna is rolling out qa/2" in str(judgement.refused)


def test_a_flip_that_no_rollout_knows_ends_the_rollout(story: Story) -> None:
    story.rollout(2)
    story.add("observed_flip", 3)
    assert story.state.rollout is None


def placed(version: int, alias: str) -> Placed:
    return Placed(alias, version, f"sha256:{version}", Manifest("prompt", "qa"), {}, "")


def test_a_snapshot_holds_the_split_and_refuses_values_that_are_none(story: Story) -> None:
    story.rollout(2)
    snapshot = Snapshot((placed(1, "Production"), placed(2, CANARY)), splits=(Split.of(story.now),))
    data = snapshot.to_dict()
    assert Snapshot.from_dict(data).splits == snapshot.splits
    assert Snapshot.from_dict({key: data[key] for key in data if key != "splits"}).splits == ()
    for wrong in ({"share": 1.5}, {"share": "0.1"}, {"unit": "moon"}, {"rollout": "1"}, {"salt": 5}, {"more": 1}):
        with pytest.raises(InvalidData):
            Snapshot.from_dict({**data, "splits": [{**data["splits"][0], **wrong}]})


def test_without_mlflow_a_host_follows_shares_and_aborts_and_nothing_else(story: Story) -> None:
    rollout = story.rollout(2)
    serving = Snapshot((placed(1, "Production"), placed(2, CANARY)), splits=(Split.of(story.now),))
    story.change("step", rollout, share=0.25)
    followed = follow_rollouts(serving, story.whole)
    assert (followed.live, [split.share for split in followed.splits]) == (serving.live, [0.25])
    story.change("abort", rollout)
    assert follow_rollouts(serving, story.whole) == Snapshot((placed(1, "Production"),))


def test_a_canary_that_a_snapshot_no_longer_names_was_not_lost() -> None:
    before = Snapshot((placed(1, "Production"), placed(2, CANARY)))
    assert Snapshot().with_lost(before).live == (placed(1, "Production"),)


def policy(**rollout: Any) -> Plan | None:
    metrics = {"correct": {"direction": "higher", "floor": 0.5}}
    return policy_from({"metrics": metrics, "rollout": rollout}).rollout


def test_a_policy_says_how_its_prompt_is_rolled_out() -> None:
    assert policy(steps=["1%", "100%"], every="10m", unit="user") == Plan((0.01, 1.0), 600.0, "user")
    assert policy() == Plan((0.01, 0.05, 0.25, 1.0))
    for wrong, message in (
        ({"steps": ["5%", "1%"]}, "must rise"),
        ({"steps": "5%"}, "rollout.steps must be a list"),
        ({"every": "soon"}, "10m"),
        ({"unit": "moon"}, "no unit"),
        ({"pace": 1}, "unknown"),
    ):
        with pytest.raises(InvalidData, match=message):
            policy(**wrong)
