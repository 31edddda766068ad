"""Measures one setting of retrieval on cases, without asking any provider for an answer.

In: an open index, a setting, cases and, where an endpoint embeds questions, their vectors. Out: each scorer's score of
each case, with the mean and its interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlflow_project.adapters.retrieval.index import Index
from mlflow_project.domain.answer import Answer, Case
from mlflow_project.evaluation.tuning.settings import Setting
from mlflow_project.rules.gate.means import bootstrap_bounds
from mlflow_project.rules.scorers import SCORERS, ScoringContext

FOUND = "strict_hit_among_chunks"
"""1 if one of the chunks that the setting gives to the provider is strictly relevant. Settings are chosen by it."""
TIE = "strict_reciprocal_rank"
"""Decides between settings that find equally often."""
RANKED = tuple(
    f"{prefix}{name}"
    for prefix in ("strict_", "")
    for name in ("hit_at_1", "hit_at_5", "hit_at_10", "reciprocal_rank", "ndcg")
)
"""Scorers that look at the first 10 chunks, whatever number the setting gives to the provider."""
DEPTH = 10
CONFIDENCE = 0.95
Vectors = Mapping[str, NDArray[np.float32]]
"""By the id of a case, the vector of its question."""


@dataclass(frozen=True)
class Interval:
    """A mean, and its bounds, each one-sided at 95 %."""

    mean: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
        """The interval of a mean by the gate's own bootstrap; of fewer than two values it is everything."""
        if len(values) < 2:
            return cls(values[0] if values else 0.0, -1.0, 1.0)
        lower, upper = bootstrap_bounds(values, confidence)
        return cls(float(np.mean(values)), float(lower), float(upper))


@dataclass(frozen=True)
class Measured:
    """A setting and its scores: by scorer, one score a case. `characters` is the mean text that a provider gets."""

    setting: Setting
    scores: Mapping[str, tuple[float, ...]]
    characters: float

    def mean(self, metric: str) -> float:
        """The mean of a scorer."""
        return float(np.mean(self.scores[metric]))

    def intervals(self) -> dict[str, Interval]:
        """The mean of each scorer, with its bounds."""
        lower, upper = bootstrap_bounds(list(self.scores.values()), CONFIDENCE)
        bounds = zip(self.scores, lower, upper, strict=True)
        return {name: Interval(self.mean(name), float(low), float(high)) for name, low, high in bounds}


def measure(index: Index, setting: Setting, cases: Sequence[Case], vectors: Vectors) -> Measured:
    """Search for each case's question and score what was found. A case for which nothing was found scores 0."""
    columns: dict[str, list[float]] = {name: [] for name in (FOUND, *RANKED)}
    characters, given = 0, setting.retrieval.chunks
    retrieval = replace(setting.retrieval, chunks=max(DEPTH, given))
    for case in cases:
        contexts = index.search(case.question, retrieval, vector=vectors.get(case.id))
        characters += sum(len(chunk.text) for chunk in contexts[:given])
        columns[FOUND].append(_score("strict_reciprocal_rank", case, contexts[:given]) > 0)
        for name in RANKED:
            columns[name].append(_score(name, case, contexts[:DEPTH]))
    scores = {name: tuple(map(float, column)) for name, column in columns.items()}
    return Measured(setting, scores, characters / max(1, len(cases)))


def difference(one: Measured, other: Measured, confidence: float = CONFIDENCE) -> Interval:
    """How much more often one setting finds the passage than another, case by case."""
    return Interval.of([a - b for a, b in zip(one.scores[FOUND], other.scores[FOUND], strict=True)], confidence)


def _score(name: str, case: Case, contexts: Sequence[Any]) -> float:
    return SCORERS[name](ScoringContext(case, Answer("", contexts=tuple(contexts)))).value or 0.0
