"""Scores similarity in meaning: between answer and question, and between neighbouring sentences.

The context's `similarity` compares two texts by vectors. Without it, cases are unscored.
"""

from __future__ import annotations

from itertools import pairwise

from mlflow_project.domain.verdict import Score
from mlflow_project.rules.scorers.context import ScoringContext, unscored
from mlflow_project.rules.scorers.words import sentences


def relevance(context: ScoringContext) -> Score:
    """How similar the answer is to the question."""
    if context.similarity is None or not context.said:
        return unscored("there are no vectors" if context.said else "nothing was answered")
    return Score(_bounded(context.similarity(context.case.question, context.said)))


def coherence(context: ScoringContext) -> Score:
    """Mean similarity of neighbouring sentences (as in Foltz et al. 1998); a single sentence is unscored."""
    parts = sentences(context.said)
    if context.similarity is None or len(parts) < 2:
        return unscored("there are no vectors" if len(parts) > 1 else "fewer than two sentences")
    near = [_bounded(context.similarity(first, second)) for first, second in pairwise(parts)]
    return Score(sum(near) / len(near))


def _bounded(value: float) -> float:
    return min(1.0, max(0.0, value))
