"""How often the guard stops a good release, and how much traffic it needs to stop a bad one: simulated rollouts.

`python -m bench.rollouts`. The rules are the shipped ones, `mlflow_project.rules.guard`; only the requests are drawn.
Five indicators share an alpha of 1 %. All simulations look after every request of an arm, save the day of traffic,
which looks every five seconds as the guard does under load. The information limit is the least traffic by which any
such test can decide: `ln(5 / alpha)` over the divergence of a request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from bench.report import Measure, report
from mlflow_project.rules.guard.betting import Numbers, Tally, changed, log_capital, no_worse, worse, worse_than
from mlflow_project.rules.guard.judge import harm_needed, known_rate
from mlflow_project.rules.guard.limits import above, bucket_of, limit_bucket
from mlflow_project.rules.guard.policy import PREDICTION_DRIFT, guard_policy_from

SEED = 20_261_130
POLICY = guard_policy_from({})
NEEDED = harm_needed(POLICY)
RATES = (0.02, 0.05, 0.005, 0.10, 0.05)
"""The rates of the five indicators where nothing differs: errors, latency, schema failures, refusals, cost."""
PAST = 5_000
"""Requests of the old release before a full promotion."""
Random = np.random.Generator
Bools = NDArray[np.bool_]
Gain = Callable[[Numbers, Numbers], Numbers]
"""Maps the hits of one request of the new release and of one of the old to what they add to the tests' capitals."""


@dataclass(frozen=True)
class Simulated:
    """The request at which each of many rollouts was decided; infinity: never."""

    at: Numbers

    def quantile(self, share: float) -> float:
        """The request by which this share of the rollouts was decided."""
        return float(np.quantile(self.at, share, method="higher"))


def main() -> None:
    """Simulate everything and report it."""
    began = time.perf_counter()
    measures = [*equal_arms(), *against_a_baseline(), *after_promotion(), *other_indicators(), *predictions()]
    measures += [*clearing(), *days()]
    measures.append(Measure("time of all simulations", time.perf_counter() - began, "s"))
    report("rollouts", measures, "The guard on simulated rollouts")


def equal_arms(rollouts: int = 10_000, requests: int = 2_000) -> Iterator[Measure]:
    """A/A: both arms have the same rates, so every rollback is false."""
    random, stopped = np.random.default_rng(SEED), np.zeros(rollouts, dtype=bool)
    for rate in RATES:
        stopped |= np.isfinite(simulate(random, rate, rate, paired, rollouts, requests).at)
    wrong = int(stopped.sum())
    upper = float(beta.ppf(0.95, wrong + 1, rollouts - wrong))
    what = f"A/A, {rollouts:,} rollouts of {requests:,} requests an arm, a look after each"
    yield Measure(f"{what}: false rollbacks", wrong / rollouts, "share", goal="<= 0.01", met=wrong / rollouts <= 0.01)
    yield Measure(f"{what}: upper bound (95 %)", upper, "share", goal="<= 0.013", met=upper <= 0.013)
    past, false = np.random.default_rng(SEED + 1), np.zeros(2_000, dtype=bool)
    for rate in RATES:
        known = np.array([known_rate(Tally(PAST, hits)) for hits in past.binomial(PAST, rate, len(false))])
        gain = against(known)
        false |= np.isfinite(simulate(past, rate, rate, gain, len(false), requests).at)
    yield Measure(f"nothing changes after a promotion, {requests:,} requests: false rollbacks", false.mean(), "share")


def against_a_baseline() -> Iterator[Measure]:
    """Errors rise, and an equally large baseline answers beside the canary."""
    for low, high in ((0.01, 0.10), (0.05, 0.20)):
        middle = (low + high) / 2
        limit = NEEDED / (divergence(high, middle) + divergence(low, middle))
        found = simulate(np.random.default_rng(SEED), high, low, paired)
        yield from _detected(f"errors {low:.0%} -> {high:.0%}, canary against baseline", found, limit)


def after_promotion() -> Iterator[Measure]:
    """Errors rise after a full promotion: the old release's rate is known from its past."""
    for low, high in ((0.01, 0.10), (0.05, 0.20)):
        random = np.random.default_rng(SEED)
        known = np.array([known_rate(Tally(PAST, hits)) for hits in random.binomial(PAST, low, 2_000)])
        found = simulate(random, high, low, against(known))
        limit = NEEDED / divergence(high, low)
        yield from _detected(f"errors {low:.0%} -> {high:.0%}, after a full promotion", found, limit)

    for past in (200, 1_000):
        random = np.random.default_rng(SEED)
        known = np.array([known_rate(Tally(past, hits)) for hits in random.binomial(past, 0.05, 2_000)])
        found = simulate(random, 0.20, 0.05, against(known))
        what = f"errors 5% -> 20%, after a full promotion, past of {past:,} requests: requests, median"
        yield Measure(what, found.quantile(0.5), "requests", f"{PAST:,} in the row with the goal")


def _detected(what: str, found: Simulated, limit: float) -> Iterator[Measure]:
    median = found.quantile(0.5)
    goal = f"<= {1.6 * limit:.0f}"
    against = f"information limit {limit:.0f}"
    yield Measure(
        f"{what}: requests an arm, median", median, "requests", against, median / limit, goal, median <= 1.6 * limit
    )
    yield Measure(f"{what}: requests an arm, p90", found.quantile(0.9), "requests")


def other_indicators() -> Iterator[Measure]:
    """The 95th percentile of the latency doubles; refusals and schema failures rise."""
    random = np.random.default_rng(SEED)
    old = random.lognormal(np.log(800), 0.6, 4_000)
    histogram: dict[int, int] = {}
    for value in old:
        histogram[bucket_of(value)] = histogram.get(bucket_of(value), 0) + 1
    limit = limit_bucket(histogram, 0.95)
    assert limit is not None
    slow = {bucket_of(value): 0 for value in 2 * old}
    for value in 2 * old:
        slow[bucket_of(value)] += 1
    before, after = above(histogram, limit), above(slow, limit)
    rates = {
        "latency p95 doubled": (before.hits / before.requests, after.hits / after.requests),
        "refusals 5 % -> 25 %": (0.05, 0.25),
        "schema failures 0 -> 3 %": (0.0, 0.03),
    }
    for what, (low, high) in rates.items():
        found = simulate(random, float(high), float(low), paired)
        for name, share in (("median", 0.5), ("p90", 0.9)):
            yield Measure(f"{what}: requests an arm, {name}", found.quantile(share), "requests")


def predictions(rollouts: int = 2_000, requests: int = 1_500) -> Iterator[Measure]:
    """The share of one of a model's two classes moves. Its fall is the other one's rise, so half of the four bets on
    the two bins win. Three indicators share alpha."""
    policy = guard_policy_from({}, "model")
    tolerance = next(each.tolerance for each in policy.indicators if each.name == PREDICTION_DRIFT)
    needed = harm_needed(policy) + float(np.log(2))

    def gain(new: Numbers, old: Numbers) -> Numbers:
        return changed(Tally(1.0, new), Tally(1.0, old), tolerance)

    random = np.random.default_rng(SEED)
    wrong = np.isfinite(simulate(random, 0.1 + tolerance, 0.1, gain, rollouts, requests, needed).at).mean()
    what = f"a class moves from 10 % by the tolerance, {requests:,} requests an arm: false rollbacks"
    yield Measure(what, float(wrong), "share", goal="<= 0.01", met=bool(wrong <= 0.01))
    for high in (0.3, 0.5):
        found = simulate(random, high, 0.1, gain, rollouts, requests, needed)
        for name, share in (("median", 0.5), ("p90", 0.9)):
            what = f"a class moves from 10 % to {high:.0%}: requests an arm, {name}"
            yield Measure(what, found.quantile(share), "requests")


def clearing(rollouts: int = 2_000, most: int = 3_000) -> Iterator[Measure]:
    """How soon a harmless release is clear, and how often a release that harms just so much passes as clear."""
    needed = float(np.log(1 / POLICY.miss))
    for indicator, rate in (("errors", 0.02), ("latency", 0.05)):
        tolerance = next(each.tolerance for each in POLICY.indicators if each.name == indicator)

        def gain(new: Numbers, old: Numbers, tolerance: float = tolerance) -> Numbers:
            return no_worse(Tally(1.0, new), Tally(1.0, old), tolerance)

        random = np.random.default_rng(SEED)
        fine = simulate(random, rate, rate, gain, rollouts, most, needed)
        harmful = simulate(random, rate + tolerance, rate, gain, rollouts, most, needed)
        passed = float(np.isfinite(harmful.at).mean())
        what = f"{indicator} at {rate:.0%}, tolerance {tolerance:.0%}"
        yield Measure(f"{what}: requests an arm until clear, median", fine.quantile(0.5), "requests")
        yield Measure(
            f"{what}: a harm of the tolerance passes as clear", passed, "share", goal="<= 0.05", met=passed <= 0.05
        )


def days(count: int = 20, seconds: int = 5) -> Iterator[Measure]:
    """Plain days: both arms have the same daily rhythm and the same six bad five minutes of the provider."""
    random, alarms = np.random.default_rng(SEED), np.zeros(count)
    looks = 86_400 // seconds
    hours = np.arange(looks) * seconds / 3600
    traffic = seconds * (1.0 + 0.8 * np.sin(2 * np.pi * (hours - 8) / 24))
    bad = np.zeros((looks, count), dtype=bool)
    for day in range(count):
        for start in random.integers(0, looks - 60, 6):
            bad[start : start + 300 // seconds, day] = True
    for rate in RATES:
        rates = np.where(bad, 0.4, rate * (1 + 0.5 * np.sin(2 * np.pi * hours / 24))[:, None])
        capitals, most = np.zeros((count, 1)), np.full(count, -np.inf)
        for look in range(looks):
            arms = [random.poisson(traffic[look], count).astype(float) for _ in range(2)]
            new, old = (Tally(arm, random.binomial(arm.astype(int), rates[look])) for arm in arms)
            capitals = capitals + worse(new, old)
            if capitals.max() >= NEEDED:
                most = np.maximum(most, log_capital(capitals))
        alarms += most >= NEEDED
    worst = float(alarms.max())
    yield Measure(
        f"24 h of traffic with rhythm and hiccups, worst of {count} days: false alarms",
        worst,
        "alarms",
        goal="<= 1",
        met=worst <= 1,
    )
    yield Measure(f"24 h of traffic with rhythm and hiccups, mean of {count} days: false alarms", alarms.mean())


def paired(new: Numbers, old: Numbers) -> Numbers:
    """Return what one request of each arm adds to the capitals of the test that compares both arms."""
    return worse(Tally(1.0, new), Tally(1.0, old))


def against(known: Numbers) -> Gain:
    """Return a function that says what one request adds to the capitals of the test against known rates."""
    rows = np.asarray(known)

    def gain(new: Numbers, old: Numbers) -> Numbers:
        return worse_than(rows, Tally(1.0, new))

    return gain


def simulate(
    random: Random,
    new: float,
    old: float,
    gain: Gain,
    rollouts: int = 2_000,
    requests: int = 1_500,
    needed: float = NEEDED,
) -> Simulated:
    """When the capitals of many rollouts reach what is needed, with a look after every request of each arm.

    The mean of a grid's capitals is never above its largest one, so only rollouts whose largest capital suffices are
    looked at closely. A rollout that was decided stays so.
    """
    at = np.full(rollouts, np.inf)
    capitals = np.zeros((rollouts, 1))
    for number in range(1, requests + 1):
        capitals = capitals + gain(random.random(rollouts) < new, random.random(rollouts) < old)
        near: Bools = np.isinf(at) & (capitals.max(axis=-1) >= needed)
        if near.any():
            rows = np.flatnonzero(near)
            at[rows[log_capital(capitals[rows]) >= needed]] = number
        if np.isfinite(at).all():
            break
    return Simulated(at)


def divergence(high: float, low: float) -> float:
    """The Kullback-Leibler divergence of two rates, in nats a request."""
    return float(high * np.log(high / low) + (1 - high) * np.log((1 - high) / (1 - low)))


if __name__ == "__main__":
    main()
