"""Score every outcome by every scorer: `score_all(outcomes, scorers, schema, similarity) -> Scored`.

A scorer that raises makes its metric incomplete: the case is counted in `errors`, and the gate refuses on it. A case
without an answer is unscored on every metric, and counts on `failed`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_project.domain.verdict import Score
from mlflow_project.evaluation.asking import Outcome
from mlflow_project.rules.scorers import FAILED, Scorer, ScoringContext
from mlflow_project.rules.scorers.context import Similarity

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """Per metric a `Score` for each outcome, in their order; per metric how often its scorer raised."""

    scores: Mapping[str, tuple[Score, ...]]
    errors: Mapping[str, int]

    def joined(self, name: str, column: Sequence[Score | None]) -> Scored:
        """With one metric more; None in its column: whoever scored that case failed."""
        scores = tuple(score or Score(None, "the scorer failed") for score in column)
        raised = column.count(None)
        return Scored({**self.scores, name: scores}, {**self.errors, name: raised} if raised else self.errors)


def score_all(
    outcomes: Sequence[Outcome],
    scorers: Mapping[str, Scorer],
    schema: Mapping[str, Any] | None = None,
    similarity: Similarity | None = None,
) -> Scored:
    """Every metric of every outcome, `failed` among them."""
    failed = tuple(Score(float(outcome.answer is None), outcome.error) for outcome in outcomes)
    scored = Scored({FAILED: failed}, {})
    for name, scorer in scorers.items():
        scored = scored.joined(name, [_score(name, scorer, outcome, schema, similarity) for outcome in outcomes])
    return scored


def _score(
    name: str, scorer: Scorer, outcome: Outcome, schema: Mapping[str, Any] | None, similarity: Similarity | None
) -> Score | None:
    """One score; None if the scorer raised."""
    if outcome.answer is None:
        return Score(None, "no answer: " + outcome.error)
    try:
        return scorer(ScoringContext(outcome.case, outcome.answer, schema, similarity))
    except Exception:
        _log.exception("Scorer failed", extra={"scorer": name, "case": outcome.case.id})
        return None
