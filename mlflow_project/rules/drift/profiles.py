"""Compares two profiles of a corpus, as `profile_documents` writes them: do they differ by more than chance explains?

In: profiles as mappings. Out: the result of each check. A profile contains no rows, so the variation within the
reference comes from a parametric bootstrap: corpora of the newer one's size are drawn from the older profile. The words
of one text depend on each other, so each text counts as one draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon

from mlflow_project.rules.drift.calibration import Calibrated, Found, threshold_of

DRAWS = 1_000
ALPHA = 0.01
_GRID = 200

Profile = Mapping[str, Any]
Shares = NDArray[np.float64]


def compare(reference: Profile, newer: Profile, seed: int = 7) -> tuple[Found, ...]:
    """Check length, words, new terms, language and topics of the newer profile. The highest score comes first."""
    random = np.random.default_rng(seed)
    rows = max(int(newer["rows"]) - int(newer["blank"]), 1)
    distances: dict[str, float] = {}
    drawn: dict[str, Shares] = {}
    for check, (before, now) in _shares(reference, newer).items():
        distances[check] = float(jensenshannon(before, now, base=2))
        samples = random.multinomial(rows, before, size=DRAWS) / rows
        drawn[check] = np.nan_to_num(jensenshannon(np.broadcast_to(before, samples.shape), samples, base=2, axis=1))
    distances["corpus new terms"], drawn["corpus new terms"] = _new_terms(reference, newer, rows, random)
    means = {check: float(values.mean()) for check, values in drawn.items()}
    deviations = {check: max(float(values.std()), 0.1 / np.sqrt(rows)) for check, values in drawn.items()}
    largest = np.max([(values - means[check]) / deviations[check] for check, values in drawn.items()], axis=0)
    threshold = threshold_of(largest, ALPHA)
    return Calibrated(rows, rows, means, deviations, largest, threshold).judge(distances)


def _shares(reference: Profile, newer: Profile) -> dict[str, tuple[Shares, Shares]]:
    """For each check, both profiles as shares of the same categories."""
    return {
        "corpus length": _lengths(reference["length_quantiles"], newer["length_quantiles"]),
        "corpus words": _aligned(_counts(reference["top_terms"], "term"), _counts(newer["top_terms"], "term")),
        "corpus language": _aligned(_languages(reference), _languages(newer)),
        "corpus topics": _aligned(_topics(reference), _topics(newer)),
    }


def _lengths(before: Any, now: Any) -> tuple[Shares, Shares]:
    """The shares of both profiles between the deciles of the older one. Quantiles are interpolated linearly."""
    levels = np.linspace(0, 1, _GRID)
    steps = np.linspace(0, 1, len(before))
    edges = np.unique(np.quantile(np.interp(levels, steps, before), np.linspace(0, 1, 11)))[1:-1]
    sides = [np.searchsorted(edges, np.interp(levels, np.linspace(0, 1, len(side)), side)) for side in (before, now)]
    first, second = (np.bincount(side, minlength=len(edges) + 1) / _GRID for side in sides)
    return first, second


def _new_terms(reference: Profile, newer: Profile, rows: int, random: np.random.Generator) -> tuple[float, Shares]:
    """The share of the newer profile's frequent words that are not among the older one's frequent ones."""
    known, now = _counts(reference["top_terms"], "term"), _counts(newer["top_terms"], "term")
    share = sum(count for term, count in now.items() if term not in known) / max(sum(now.values()), 1)
    usual = max(1 / rows, 0.02)  # the rarest of the frequent words change by chance
    return share, random.binomial(rows, usual, size=DRAWS) / rows


def _aligned(before: Mapping[str, float], now: Mapping[str, float]) -> tuple[Shares, Shares]:
    names = sorted({*before, *now})
    first, second = (np.array([side.get(name, 0.0) for name in names], dtype=np.float64) for side in (before, now))
    return first / max(first.sum(), 1e-12), second / max(second.sum(), 1e-12)


def _counts(rows: Any, key: str) -> dict[str, float]:
    return {row[key]: float(row["count"]) for row in rows}


def _languages(profile: Profile) -> dict[str, float]:
    return {row["language"]: float(row["rows"]) for row in profile["languages"]}


def _topics(profile: Profile) -> dict[str, float]:
    return {str(row["topic"]): float(row["share"]) for row in profile["topics"]}
