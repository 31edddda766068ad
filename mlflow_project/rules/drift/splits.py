"""A/A splits: choose rows of a reference as a simulated window. Out: boolean arrays (splits, rows); True: window.

Neighbours in time move together in blocks (Künsch 1989, "The jackknife and the bootstrap for general stationary
observations"), so that one caller's burst of similar questions raises the threshold instead of an alarm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 10


def block_splits(rows: int, window: int, splits: int, seed: int, block: int = BLOCK) -> NDArray[np.bool_]:
    """Random splits with exactly `window` of the `rows` in each window."""
    random = np.random.default_rng(seed)
    blocks = -(-rows // block)
    keys = random.random((splits, blocks)).repeat(block, axis=1)[:, :rows]
    order = np.argsort(keys, axis=1, kind="stable")
    chosen = np.zeros((splits, rows), dtype=np.bool_)
    np.put_along_axis(chosen, order[:, :window], True, axis=1)
    return chosen
