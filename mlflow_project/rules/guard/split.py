"""Tests whether requests were divided between canary and baseline as the split says: a broken split compares unlike
callers, so its verdict means nothing.

Canary and baseline are equally large shares of the units. Units send different numbers of requests, so the test does
not ask whether the canary has exactly half of the requests: it bets against "the canary's share of both arms' requests
lies between 40 % and 60 %".
"""

from __future__ import annotations

import numpy as np

from mlflow_project.rules.guard.betting import Numbers, Tally, log_capital, worse_than

USUAL = 0.6
"""The larger arm's share of both arms' requests that chance and busy units explain."""
ALPHA = 0.001


def split_capitals(canary: float, baseline: float) -> Numbers:
    """What a block of requests adds to the two tests: whether the canary has too many, or the baseline."""
    both = canary + baseline
    return worse_than(USUAL, Tally(np.array([both, both]), np.array([canary, baseline])))


def is_broken(capitals: Numbers) -> bool:
    """Whether one arm has more requests than chance explains."""
    return bool((log_capital(capitals) >= np.log(2 / ALPHA)).any())
