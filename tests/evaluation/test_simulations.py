"""The gate errs as rarely as it promises: the simulations of `bench/gate.py`, whose goals must all be met."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bench.gate import drop_of_the_margin, gain, many_candidates, no_difference, same_as_decide
from bench.report import Measure


@pytest.mark.long
@pytest.mark.parametrize("simulation", [no_difference, drop_of_the_margin, gain, many_candidates, same_as_decide])
def test_the_gate_errs_no_more_often_than_it_says(simulation: Callable[[int], Iterator[Measure]]) -> None:
    missed = [row for row in simulation(40_000) if row.met is False]
    assert not missed
