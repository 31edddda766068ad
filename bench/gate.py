"""How often the gate errs, and what its caution costs, by simulated comparisons and the gate's own statistics.

`python -m bench.gate [--comparisons N] [--part models]`: N, by default 10,000, for each price and for each error on a
model's statistic; four times as many for each other error and power, where a goal stands near the level. `--part
models` is F1, PR-AUC and RMSE alone, `--part many` the candidates that are judged one after the other.
Every line has its 95 % confidence bounds (Clopper-Pearson), so that a figure is not luck. Two shortcuts make it fast,
and `decide` itself must say the same on a sample: yes/no tables are tested as arrays; and since the gate's seed is
fixed, every comparison of n cases meets the same resamples, so they are kept as counts, and matrix products give all
means and spreads.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.stats import beta
from scipy.stats import t as student

from bench import gate_models
from bench.report import Measure, report
from mlflow_project.domain.verdict import Scores
from mlflow_project.rules.gate.decide import decide
from mlflow_project.rules.gate.means import RESAMPLES, SEED, normal_power
from mlflow_project.rules.gate.paired import detectable_gain, mcnemar_p, mcnemar_power, tango_z
from mlflow_project.rules.gate.policy import policy_from
from mlflow_project.rules.gate.spending import spending

CONFIDENCE, Z = 0.95, 1.6448536269514722
LIMIT = 0.06
AT_ONCE = 500
PRICED_CASES, PRICED_MARGINS = (100, 150, 200, 500, 1000, 2000, 5000), (0.01, 0.02, 0.05)
Random = np.random.Generator


def main() -> None:
    """All simulations, each with its own seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparisons", type=int, default=10_000)
    parser.add_argument("--part", choices=("models", "many"))
    given = parser.parse_args()
    count = given.comparisons
    if given.part == "models":
        report("gate", list(on_models(count)), f"The gate on models, {count:,} comparisons a line", part=True)
        return
    many = 4 * count
    if given.part == "many":
        report("gate", list(many_candidates(many)), f"Candidates in a row, {many:,} runs", part=True)
        return
    measures = [*no_difference(many), *drop_of_the_margin(many), *gain(many), *many_candidates(many)]
    measures += [*same_as_decide(count), *on_models(count)]
    report("gate", [*measures, *price_of_caution(count)], f"The gate, {many:,} and {count:,} comparisons a line")


def no_difference(count: int) -> Iterator[Measure]:
    """A/A under `superior`: nothing is better, so whatever is accepted is an error."""
    for n, changed in ((150, 0.1), (500, 0.2), (2000, 0.3)):
        gained, lost = _tables(np.random.default_rng(n), count, n, changed / 2, changed / 2)
        accepted = int(np.sum(mcnemar_p(gained, lost) <= 1 - CONFIDENCE))
        yield _error(f"A/A, yes/no, {n} cases, {changed} discordant: accepted as superior", accepted, count)
    for n in (150, 300):
        accepted = _accepted_means(np.random.default_rng(n), count, n, 0.0, 0.0)
        yield _error(f"A/A, continuous, {n} cases: accepted as superior", accepted, count)


def drop_of_the_margin(count: int) -> Iterator[Measure]:
    """A true drop of exactly the margin under `non_inferior`: whatever is accepted is an error."""
    for n, margin in ((150, 0.05), (500, 0.05), (2000, 0.02)):
        gained, lost = _tables(np.random.default_rng(n + 1), count, n, 0.05, 0.05 + margin)
        accepted = int(np.sum(tango_z(gained, lost, n, -margin) > Z))
        yield _error(f"drop of {margin}, yes/no, {n} cases: accepted as non-inferior", accepted, count)
    for n, margin in ((150, 0.05), (300, 0.02)):
        accepted = _accepted_means(np.random.default_rng(n + 1), count, n, -margin, -margin)
        yield _error(f"drop of {margin}, continuous, {n} cases: accepted as non-inferior", accepted, count)


def gain(count: int) -> Iterator[Measure]:
    """A true gain of 5 points on 500 cases under `superior`, against the power that the gate states."""
    gained, lost = _tables(np.random.default_rng(5), count, 500, 0.125, 0.075)
    accepted = int(np.sum(mcnemar_p(gained, lost) <= 1 - CONFIDENCE))
    yield _power("gain of 0.05, yes/no, 500 cases", accepted, count, mcnemar_power(500, 0.125, 0.075, CONFIDENCE))
    accepted = _accepted_means(np.random.default_rng(6), count, 500, 0.05, 0.0)
    spread = float(_differences(np.random.default_rng(7), 1, 1_000_000, 0.05).std())
    yield _power("gain of 0.05, continuous, 500 cases", accepted, count, normal_power(0.05, spread, 500, CONFIDENCE))


def price_of_caution(count: int) -> Iterator[Measure]:
    """How often a harmless change passes `non_inferior`: yes/no, a tenth of the answers changed; continuous, four in
    ten; no true difference in either.
    """
    for n in PRICED_CASES:
        gained, lost = _tables(np.random.default_rng(n + 2), count, n, 0.05, 0.05)
        for margin in PRICED_MARGINS:
            yield _price("yes/no", n, margin, int(np.sum(tango_z(gained, lost, n, -margin) > Z)), count)
    for n in PRICED_CASES:
        lower = _lower_bounds(np.random.default_rng(n + 3), count, n, 0.0)
        for margin in PRICED_MARGINS:
            yield _price("continuous", n, margin, int(np.sum(lower > -margin)), count)


def many_candidates(count: int) -> Iterator[Measure]:
    """20 worthless candidates judged one after the other as `superior` on the same 150 cases: how often any of them is
    accepted. Then what that costs: the power to show a gain twice as large as a single test of all cases detects, as
    the first, the fifth and the twentieth candidate, after as many rejections.
    """
    n, in_a_row, changed = 150, 20, 0.2
    levels = np.array([1 - spending(CONFIDENCE, [False] * before, n).confidence for before in range(in_a_row)])
    gained, lost = _tables(np.random.default_rng(10), count * in_a_row, n, changed / 2, changed / 2)
    found = mcnemar_p(gained, lost).reshape(count, in_a_row)
    what = f"{in_a_row} worthless candidates in a row, yes/no, {n} cases: any accepted"
    yield _error(what, int(np.sum((found <= levels).any(axis=1))), count)
    alone = int(np.sum((found <= 1 - CONFIDENCE).any(axis=1)))
    yield Measure(f"{what}, if earlier verdicts are ignored", alone / count, "share")
    detected = detectable_gain(n, changed, CONFIDENCE)
    assert detected is not None
    gain = 2 * detected
    for number in (1, 5, in_a_row):
        share = mcnemar_power(
            n, (max(changed, gain) + gain) / 2, (max(changed, gain) - gain) / 2, 1 - levels[number - 1]
        )
        against = f"a gain of {gain:.3f}; a single test detects {detected:.3f}"
        shown = f"gain twice what a single test detects, {n} cases, after {number - 1} rejections: accepted"
        yield Measure(shown, share, "share", against, goal=">= 0.8", met=share >= 0.8)


def same_as_decide(count: int) -> Iterator[Measure]:
    """The shortcuts above against `decide`, which is what a release meets."""
    random, n, tried = np.random.default_rng(8), 150, min(500, count)
    gained, lost = _tables(random, tried, n, 0.1, 0.05)
    yes_no = [_verdict(_cases(up, down, n)) for up, down in zip(gained, lost, strict=True)]
    short = mcnemar_p(gained, lost) <= 1 - CONFIDENCE
    differences = _differences(random, tried, n, 0.05)
    means = [_verdict(row) for row in differences]
    same = sum(a == bool(b) for a, b in zip(yes_no, short, strict=True))
    same += sum(a == bool(b > 0) for a, b in zip(means, _bounds(differences), strict=True))
    yield Measure(
        "simulated decisions that `decide` shares", same / (2 * tried), "share", goal="1", met=same == 2 * tried
    )


def on_models(count: int) -> Iterator[Measure]:
    """Errors on 300 rows of a test set: a candidate that is as good as its champion under `superior`, and one that is
    worse by exactly the margin of 0.05 under `non_inferior`. Nothing may be accepted.
    """
    for what, accepted in gate_models.accepted(count):
        yield _error(what, accepted, count)
    same = gate_models.agreement()
    yield Measure("bounds of models that the gate shares", same, "share", goal="1", met=same == 1)


def _tables(random: Random, count: int, n: int, gain_rate: float, loss_rate: float) -> tuple[Any, Any]:
    drawn = random.multinomial(n, [gain_rate, loss_rate, 1 - gain_rate - loss_rate], size=count)
    return drawn[:, 0], drawn[:, 1]


def _differences(random: Random, count: int, n: int, shift: float) -> Any:
    """Paired differences as token F1 has them: six in ten answers are the same, the others differ either way."""
    same = random.random((count, n)) < 0.6
    return np.where(same, 0.0, random.uniform(-1, 1, (count, n)) + shift / 0.4)


def _accepted_means(random: Random, count: int, n: int, shift: float, beyond: float) -> int:
    return int(np.sum(_lower_bounds(random, count, n, shift) > beyond))


def _lower_bounds(random: Random, count: int, n: int, shift: float) -> Any:
    """The gate's lower bound of each of `count` comparisons of n cases."""
    starts = range(0, count, AT_ONCE)
    return np.concatenate([_bounds(_differences(random, min(AT_ONCE, count - start), n, shift)) for start in starts])


def _bounds(differences: Any) -> Any:
    """`bootstrap_bounds(...)[0]` of each row, by counts."""
    n = differences.shape[-1]
    mean, error = differences.mean(axis=-1), differences.std(axis=-1, ddof=1) / np.sqrt(n)
    centred = differences - mean[:, None]
    counts = _counts(n)
    means = counts @ centred.T / n
    squares = counts @ (centred**2).T / n
    errors = np.sqrt(np.maximum(squares - means**2, 0) / (n - 1))
    high = np.quantile(means / np.maximum(errors, 1e-12), CONFIDENCE, axis=0)
    high = np.maximum(high, student.ppf(CONFIDENCE, n - 1))
    return np.clip(mean - high * error, differences.min(axis=-1), differences.max(axis=-1))


@lru_cache(maxsize=1)
def _counts(n: int) -> Any:
    """How often each case stands in each resample that the gate draws, one resample a row."""
    random = np.random.default_rng(SEED)
    return np.stack([np.bincount(random.integers(0, n, n), minlength=n) for _ in range(RESAMPLES)]).astype(float)


def _cases(gained: int, lost: int, n: int) -> Any:
    return np.concatenate([np.ones(gained), -np.ones(lost), np.zeros(n - gained - lost)])


def _verdict(differences: Any) -> bool:
    """Whether the rule `superior` accepts a candidate with these paired differences. No earlier verdict counts."""
    rule = {"direction": "higher", "floor": -9, "rule": "superior"}
    policy = policy_from({"metrics": {"m": rule}, "earlier_verdicts": "ignore"})
    yes_no = set(np.unique(differences)) <= {-1.0, 0.0, 1.0}
    champion = (differences < 0).astype(float) if yes_no else np.zeros(len(differences))
    ids = tuple(str(number) for number in range(len(differences)))

    def scores(label: str, values: Any) -> Scores:
        return Scores(label, label, "cases", ids, {"m": tuple(float(value) for value in values)})

    return decide(scores("candidate", champion + differences), scores("champion", champion), policy).accepted


def _error(what: str, accepted: int, count: int) -> Measure:
    low, upper = _interval(accepted, count)
    seen = f"{accepted / count:.4f} seen, from {low:.4f}"
    return Measure(f"{what}, upper bound", upper, "share", seen, goal="<= 0.06", met=upper <= LIMIT)


def _power(what: str, accepted: int, count: int, stated: float) -> Measure:
    seen, (low, high) = accepted / count, _interval(accepted, count)
    met = abs(seen - stated) <= 0.03
    against = f"{stated:.4f} stated; {low:.4f} to {high:.4f}"
    return Measure(f"{what}: accepted", seen, "share", against, seen / stated, "within 0.03 of stated", met)


def _price(kind: str, n: int, margin: float, passed: int, count: int) -> Measure:
    low, high = _interval(passed, count)
    what = f"harmless change passes, {kind}, {n} cases, margin {margin}"
    return Measure(what, passed / count, "share", f"{low:.4f} to {high:.4f}")


def _interval(hits: int, count: int) -> tuple[float, float]:
    """Clopper and Pearson (1934), 95 %."""
    low = float(beta.ppf(0.025, hits, count - hits + 1)) if hits else 0.0
    return low, float(beta.ppf(0.975, hits + 1, count - hits)) if hits < count else 1.0


if __name__ == "__main__":
    main()
