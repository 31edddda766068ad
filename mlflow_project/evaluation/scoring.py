"""Score outcomes: `score_functions(scorers) -> {metric: (Outcome) -> Score}`, and `scored(columns) -> Scored`.

A scorer that raises makes its metric incomplete: the case is counted in `errors`, and the gate refuses on it. A case
without an answer is unscored on every metric, and counts in the metric `failed`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mlflow_project.domain.verdict import Score
from mlflow_project.evaluation.asking import Outcome
from mlflow_project.rules.scorers import FAILED, Scorer, ScoringContext
from mlflow_project.rules.scorers.context import Similarity

_log = logging.getLogger(__name__)

ScoreFunction = Callable[[Outcome], Score | None]
"""The score of one outcome; None if the scorer raised."""


@dataclass(frozen=True)
class Scored:
    """Per metric one `Score` for each case, in the order of the cases, and how often the metric's scorer raised."""

    scores: Mapping[str, tuple[Score, ...]]
    errors: Mapping[str, int]


def score_functions(
    scorers: Mapping[str, Scorer],
    schema: Mapping[str, Any] | None = None,
    similarity: Similarity | None = None,
) -> dict[str, ScoreFunction]:
    """The scorers as functions of an outcome, and `failed` after them. `schema` is the release's response schema.

    MLflow's pages show metrics in this order, and its comparison of two runs opens on the first one.
    """
    functions: dict[str, ScoreFunction] = {
        name: partial(_score, name, scorer, schema, similarity) for name, scorer in scorers.items()
    }
    return functions | {FAILED: _failed}


def scored(columns: Mapping[str, Sequence[Score | None]]) -> Scored:
    """The scores by metric; where a scorer raised, the case is unscored and counted."""
    unscored = Score(None, "the scorer failed")
    return Scored(
        {name: tuple(score or unscored for score in column) for name, column in columns.items()},
        {name: column.count(None) for name, column in columns.items() if None in column},
    )


def _failed(outcome: Outcome) -> Score:
    return Score(float(outcome.answer is None), outcome.error)


def _score(
    name: str, scorer: Scorer, schema: Mapping[str, Any] | None, similarity: Similarity | None, outcome: Outcome
) -> Score | None:
    if outcome.answer is None:
        return Score(None, "no answer: " + outcome.error)
    try:
        return scorer(ScoringContext(outcome.case, outcome.answer, schema, similarity))
    except Exception:
        _log.exception("Scorer failed", extra={"scorer": name, "case": outcome.case.id})
        return None
