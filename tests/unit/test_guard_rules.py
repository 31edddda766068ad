"""The guard's statistics: the bets are fair, no traffic is never clear, and every mistake in a policy is named."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from mlflow_project.errors import InvalidData
from mlflow_project.rules.guard.betting import (
    Tally,
    changed,
    changed_from,
    no_worse,
    no_worse_than,
    unchanged,
    unchanged_from,
    worse,
    worse_than,
)
from mlflow_project.rules.guard.judge import Judgement, Watch
from mlflow_project.rules.guard.limits import above, bucket_of, limit_bucket
from mlflow_project.rules.guard.policy import guard_policy_from
from mlflow_project.rules.guard.predictions import Bins, kind_of

BLOCKS = [(1, 1), (1, 3), (4, 1), (2, 0), (3, 2)]
RATES = (0.001, 0.03, 0.2, 0.5, 0.9)


def chance(hits: int, of: int, rate: float) -> float:
    return math.comb(of, hits) * rate**hits * (1 - rate) ** (of - hits)


def expected(gain, canary: int, baseline: int, rate: float, other: float) -> float:
    """The expected factor of the capital over every outcome of one block, for the most favourable alternative."""
    total = 0.0
    for hits, others in itertools.product(range(canary + 1), range(baseline + 1)):
        factor = np.exp(gain(Tally(canary, hits), Tally(baseline, others)))
        total = total + chance(hits, canary, rate) * chance(others, baseline, other) * factor
    return float(np.max(total))


@pytest.mark.parametrize(("canary", "baseline"), BLOCKS)
def test_no_bet_wins_in_expectation_while_the_canary_is_no_worse(canary, baseline):
    for rate, other in itertools.product(RATES, RATES):
        if rate <= other:
            assert expected(worse, canary, baseline, rate, other) <= 1 + 1e-9


@pytest.mark.parametrize(("canary", "baseline"), BLOCKS)
def test_no_bet_on_clear_wins_in_expectation_while_the_harm_is_the_tolerance_or_more(canary, baseline):
    def gain(new: Tally, old: Tally):
        return no_worse(new, old, 0.05)

    for other, more in itertools.product(RATES, (0.05, 0.08, 0.3)):
        if other + more < 1:
            assert expected(gain, canary, baseline, other + more, other) <= 1 + 1e-6


def test_no_bet_against_a_known_rate_wins_in_expectation():
    for known in RATES[:-1]:
        for rate in RATES:
            if rate <= known:
                assert expected(lambda new, _, known=known: worse_than(known, new), 3, 0, rate, 0.5) <= 1 + 1e-9
            if rate >= known + 0.05:
                gain = expected(lambda new, _, known=known: no_worse_than(known, new, 0.05), 3, 0, rate, 0.5)
                assert gain <= 1 + 1e-9


@pytest.mark.parametrize(("canary", "baseline"), BLOCKS)
def test_no_bet_on_drift_wins_in_expectation_while_a_share_moves_by_the_tolerance_at_most(canary, baseline):
    for rate, other in itertools.product((0.0, 0.03, 0.13, 0.5, 0.6, 0.99), (0.03, 0.5, 0.9)):
        if rate <= other + 0.1:
            assert expected(lambda new, old: changed(new, old, 0.1), canary, baseline, rate, other) <= 1 + 1e-6
        if rate >= other + 0.1:
            assert expected(lambda new, old: unchanged(new, old, 0.1), canary, baseline, rate, other) <= 1 + 1e-6


def test_no_bet_on_drift_from_a_known_share_wins_in_expectation():
    for known, rate in itertools.product((0.0, 0.05, 0.5, 0.89, 0.97), (0.0, 0.05, 0.15, 0.5, 0.6, 0.99, 1.0)):
        if rate <= known + 0.1:
            gain = expected(lambda new, _, known=known: changed_from(known, new, 0.1), 3, 0, rate, 0.5)
            assert gain <= 1 + 1e-9
        if known + 0.1 <= rate < 1:
            gain = expected(lambda new, _, known=known: unchanged_from(known, new, 0.1), 3, 0, rate, 0.5)
            assert gain <= 1 + 1e-9


def drifting(new: dict[str, int], old: dict[str, int], *, blocks: int = 40, known: bool = False) -> Judgement:
    """The judgement of so many blocks of predictions; the bins are those of the old release."""
    bins = Bins.of({kind: 100 * count for kind, count in old.items()})
    tally = bins.tally(old)
    past = {"prediction_drift": tally.hits / tally.requests} if known else None
    watch = Watch(guard_policy_from({"indicators": {"prediction_drift": {"must_clear": True}}}, "model"), past)
    for _ in range(blocks):
        watch = watch.after({"prediction_drift": bins.tally(new)}, {"prediction_drift": tally})
        watch = Watch.from_dict(watch.policy, watch.to_dict())
    return watch.judgement()


@pytest.mark.parametrize("known", [False, True])
def test_predictions_that_move_are_harm_and_those_that_stay_are_clear(known):
    old = {"0": 6, "1": 4}
    assert drifting({"0": 1, "1": 9}, old, known=known).answer == "harm"
    assert drifting({"0": 10}, old, known=known).answer == "harm", "a share that falls is drift, too"
    assert drifting({"0": 5, "7": 5}, old, known=known).answer == "harm", "so is a new kind"
    assert drifting(old, old, blocks=100, known=known).answer == "clear"
    little = drifting(old, old, blocks=1, known=known)
    assert (little.answer, little.missing > 20) == ("inconclusive", True)
    nothing = drifting({}, {}, blocks=1)
    assert (nothing.answer, nothing.missing > 20) == ("inconclusive", True)


def test_the_share_that_moved_most_is_named():
    (finding,) = drifting({"0": 1, "1": 9}, {"0": 6, "1": 4}).findings
    assert (finding.new_rate, finding.old_rate) == (0.9, 0.4)


def test_numbers_are_compared_by_the_eighths_of_the_old_release():
    random = np.random.default_rng(1)
    old = dict.fromkeys({kind_of(value) for value in random.normal(100.0, 20.0, 2_000)}, 100)
    bins = Bins.of(old)
    assert len(bins.edges) == 7
    tally = bins.tally({kind_of(value): 1 for value in (1e9, -1e9)})
    assert (tally.hits[0], tally.hits[7], tally.requests[0]) == (1, 1, 2)
    assert Bins.from_dict(bins.to_dict()) == bins


def test_a_prediction_has_one_of_few_kinds():
    assert [kind_of(each) for each in (1, True, 3.0, -255, None, float("inf"), [], [0.2, 0.8])] == [
        *("1", "1", "3", "-255"),
        *(None, None, None, "1"),
    ]
    assert kind_of(0.513) == kind_of(0.518) != kind_of(0.55)
    assert kind_of(1e300) == kind_of(1e200)
    assert kind_of("a text") == kind_of("a text") != kind_of("another")
    assert len({kind_of(f"text {number}") for number in range(5_000)}) == 256
    frequent = Bins.of({f"#{number:02x}": 100 - number for number in range(50)})
    assert frequent.kinds == tuple(f"#{number:02x}" for number in range(7))
    assert frequent.tally({"#ff": 3}).hits[7] == 3


def judged(new: tuple[int, int], old: tuple[int, int] = (0, 0), *, blocks: int = 1, past=None) -> Judgement:
    watch = Watch(guard_policy_from({"indicators": ["errors"]}), past)
    for _ in range(blocks):
        watch = watch.after({"errors": Tally(*new)}, {"errors": Tally(*old)})
    return watch.judgement()


def test_no_traffic_is_inconclusive_and_says_how_much_is_missing():
    nothing = Watch(guard_policy_from({})).judgement()
    assert nothing.answer == "inconclusive"
    assert nothing.missing > 50
    assert "no traffic" in nothing.sentence()
    assert judged((500, 0)).answer == "inconclusive", "an arm alone proves nothing"


def test_three_answers_of_two_arms():
    assert judged((10, 2), (10, 0), blocks=20).answer == "harm"
    assert judged((10, 0), (10, 0), blocks=40).answer == "clear"
    little = judged((10, 0), (10, 0), blocks=2)
    assert little.answer == "inconclusive"
    assert 20 < little.missing < 200


def test_both_arms_failing_alike_is_no_harm():
    assert judged((10, 9), (10, 9), blocks=30).answer != "harm"


def test_a_release_is_compared_with_its_known_past():
    assert judged((10, 2), blocks=10, past={"errors": 0.02}).answer == "harm"
    assert judged((10, 0), blocks=20, past={"errors": 0.02}).answer == "clear"
    unknown = judged((10, 2), blocks=10, past={})
    assert unknown.answer == "inconclusive"
    assert unknown.sentence()


def test_a_broken_split_is_never_clear():
    watch = Watch(guard_policy_from({"indicators": ["errors"]}))
    for _ in range(100):
        watch = watch.after({"errors": Tally(10, 0)}, {"errors": Tally(2, 0)}).after_split(10, 2)
    judgement = watch.judgement()
    assert judgement.broken_split
    assert judgement.answer == "inconclusive"
    assert "split is broken" in judgement.sentence()


def test_a_limit_is_the_bucket_of_the_old_quantile():
    old = {bucket_of(100.0): 95, bucket_of(900.0): 5}
    limit = limit_bucket(old, 0.95)
    assert limit is not None
    assert bucket_of(100.0) == limit < bucket_of(120.0)
    assert above({bucket_of(100.0): 3, bucket_of(130.0): 2}, limit) == Tally(5, 2)
    assert limit_bucket({}, 0.95) is None
    assert bucket_of(0) < bucket_of(1e-6) < bucket_of(float("nan"))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"indicators": {"eror_rate": {}}}, "'eror_rate' is no indicator"),
        ({"indicators": {"errors": {"quantile": 0.9}}}, "'quantile' is unknown"),
        ({"indicators": {"errors": {"tolerance": -1}}}, "tolerance must be a number above 0"),
        ({"indicators": {}}, "not empty"),
        ({"alpha": "1%"}, "alpha must be a number"),
        ({"bake": "soon"}, "bake must be a time such as 30m"),
        ([], "must be a mapping"),
    ],
)
def test_a_mistake_in_a_policy_is_named_in_one_sentence(data, says):
    with pytest.raises(InvalidData, match=says):
        guard_policy_from(data)
