"""The statistics behind the gate agree with published examples, with exhaustive counting, and with each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import xlogy

from mlflow_project.rules.gate.means import bootstrap_bounds, cases_needed, detectable_difference, normal_power
from mlflow_project.rules.gate.paired import detectable_gain, mcnemar_p, mcnemar_power, tango_bounds, tango_z


def test_mcnemar_is_the_exact_sign_test_on_discordant_pairs() -> None:
    for gained, lost in ((8, 1), (5, 5), (0, 3), (12, 4)):
        n = gained + lost
        expected = sum(math.comb(n, k) for k in range(gained, n + 1)) / 2**n
        assert mcnemar_p(gained, lost) == pytest.approx(expected)
    assert mcnemar_p(0, 0) == 1


TABLES = [(12, 2, 14), (9, 1, 10), (10, 0, 50), (0, 0, 54), (3, 21, 400)]


@pytest.mark.parametrize(("gained", "lost", "n"), TABLES)
@pytest.mark.parametrize("difference", [-0.3, -0.02, 0.1, 0.6])
def test_tangos_statistic_rests_on_the_restricted_likelihoods_maximum(
    gained: int, lost: int, n: int, difference: float
) -> None:
    def minus_log_likelihood(lost_share: float) -> float:
        rest = 1 - 2 * lost_share - difference
        return -(xlogy(gained, lost_share + difference) + xlogy(lost, lost_share) + xlogy(n - gained - lost, rest))

    edges = (max(0.0, -difference), (1 - difference) / 2)
    share = minimize_scalar(minus_log_likelihood, bounds=edges, method="bounded", options={"xatol": 1e-12}).x
    error = math.sqrt(n * (2 * share + difference - difference**2))
    assert tango_z(gained, lost, n, difference) == pytest.approx((gained - lost - n * difference) / error, rel=1e-4)


@pytest.mark.parametrize(("gained", "lost", "n"), TABLES)
def test_tango_bounds_solve_the_score_equation(gained: int, lost: int, n: int) -> None:
    lower, upper = tango_bounds(gained, lost, n, 0.975)
    assert tango_z(gained, lost, n, lower) == pytest.approx(1.959964, abs=1e-5)
    assert tango_z(gained, lost, n, upper) == pytest.approx(-1.959964, abs=1e-5)


def test_tango_without_discordant_pairs_is_as_wide_as_wilsons_interval_of_none() -> None:
    lower, upper = tango_bounds(0, 0, 100, 0.975)
    z2 = 1.959964**2
    assert upper == pytest.approx(z2 / (100 + z2), abs=1e-6)
    assert lower == pytest.approx(-upper)


@pytest.mark.parametrize(
    ("gained", "lost", "n", "confidence", "published"),
    [
        # Airway hyper-responsiveness of 21 children (Bentur et al. 2009), by Tango's score interval, as in Fagerland,
        # Lydersen and Laake (2014), Statistics in Medicine 33, 2850-2875.
        (1, 7, 21, 0.975, (-0.517, -0.026)),
        # What R's PropCIs 0.3-0 answers: scoreci.mp(25, 28, 618, 0.9), and 41 against 48 of 549.
        (28, 25, 618, 0.95, (-0.0148, 0.0247)),
        (48, 41, 549, 0.95, (-0.0157, 0.0414)),
    ],
)
def test_tango_bounds_are_the_published_ones(
    gained: int, lost: int, n: int, confidence: float, published: tuple[float, float]
) -> None:
    digits = 5e-4 if confidence > 0.95 else 5e-5
    assert tango_bounds(gained, lost, n, confidence) == pytest.approx(published, abs=digits)


def test_mcnemars_exact_test_is_the_published_one() -> None:
    assert 2 * mcnemar_p(7, 1) == pytest.approx(0.0703, abs=5e-5), "Bentur et al. 2009, two-sided"


def test_tango_at_the_margin_errs_about_as_often_as_it_says() -> None:
    """By counting all tables of 60 cases with a true drop of 0.1: a score interval is near its level, not below it."""
    n, gain, loss, accepted = 60, 0.05, 0.15, 0.0
    for gained in range(n + 1):
        for lost in range(n + 1 - gained):
            if (gained - lost) / n > -0.1 and tango_z(gained, lost, n, -0.1) > 1.6448536:
                ways = math.comb(n, gained) * math.comb(n - gained, lost)
                accepted += ways * gain**gained * loss**lost * (1 - gain - loss) ** (n - gained - lost)
    assert 0.03 < accepted < 0.06


def test_tango_works_on_arrays_as_on_numbers() -> None:
    lower, upper = tango_bounds(np.array([10, 0]), np.array([0, 5]), 50, 0.95)
    for index, (gained, lost) in enumerate(((10, 0), (0, 5))):
        assert (lower[index], upper[index]) == pytest.approx(tango_bounds(gained, lost, 50, 0.95))


def test_mcnemar_power_agrees_with_counting_all_tables() -> None:
    n, gain, loss = 12, 0.4, 0.1
    counted = 0.0
    for gained in range(n + 1):
        for lost in range(n + 1 - gained):
            ways = math.comb(n, gained) * math.comb(n - gained, lost)
            chance = ways * gain**gained * loss**lost * (1 - gain - loss) ** (n - gained - lost)
            counted += chance * bool(mcnemar_p(gained, lost) <= 0.05)
    assert mcnemar_power(n, gain, loss, 0.95) == pytest.approx(counted)


def test_the_detectable_gain_has_the_power_that_it_claims() -> None:
    gain = detectable_gain(300, 0.2, 0.95)
    assert gain is not None
    assert mcnemar_power(300, 0.1 + gain / 2, 0.1 - gain / 2, 0.95) == pytest.approx(0.8, abs=0.02)
    assert detectable_gain(3, 0.2, 0.95) is None


def test_bootstrap_bounds_of_a_normal_sample_are_those_of_the_mean() -> None:
    sample = np.random.default_rng(3).normal(0.1, 1.0, 400)
    lower, upper = bootstrap_bounds(sample, 0.95)
    error = 1.645 * sample.std(ddof=1) / 20
    assert (lower, upper) == pytest.approx((sample.mean() - error, sample.mean() + error), abs=0.01)


def test_bootstrap_bounds_of_equal_differences_are_that_difference() -> None:
    assert bootstrap_bounds([0.25] * 50, 0.95) == pytest.approx((0.25, 0.25))
    lower, upper = bootstrap_bounds([[0.5] * 20, list(range(20))], 0.95, resamples=999)
    assert (lower[0], upper[0]) == pytest.approx((0.5, 0.5))
    assert lower[1] < 9.5 < upper[1]


def test_power_detectable_difference_and_cases_needed_agree() -> None:
    difference = detectable_difference(0.3, 250, 0.95)
    assert normal_power(difference, 0.3, 250, 0.95) == pytest.approx(0.8)
    assert cases_needed(difference, 0.3, 0.95) == pytest.approx(250, abs=1)
    assert cases_needed(0, 0.3, 0.95) is None
    assert normal_power(0.1, 0.0, 10, 0.95) == 1.0
