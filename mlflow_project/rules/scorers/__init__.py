"""The scorers by name. Each is a small pure function, `(ScoringContext) -> Score`.

To add one, write the function in the module of its subject, add it to `_NEED_A_CASE` if it reads what a case expects,
or else to `_NEED_NO_CASE`, and name it in a `policy.yaml`.
"""

from __future__ import annotations

from mlflow_project.rules.scorers.agreement import refused
from mlflow_project.rules.scorers.context import Scorer, ScoringContext
from mlflow_project.rules.scorers.correctness import (
    agreement,
    contains,
    correct,
    exact_match,
    refuses_rightly,
    token_f1,
)
from mlflow_project.rules.scorers.form import keywords, length, toxicity, valid
from mlflow_project.rules.scorers.grounding import citations_right, groundedness, hallucination
from mlflow_project.rules.scorers.meaning import coherence, relevance
from mlflow_project.rules.scorers.retrieval import (
    hit_at_1,
    hit_at_5,
    hit_at_10,
    ndcg,
    reciprocal_rank,
    strict_hit_at_1,
    strict_hit_at_5,
    strict_hit_at_10,
    strict_ndcg,
    strict_reciprocal_rank,
)
from mlflow_project.rules.scorers.spending import cost_usd, latency_ms, tokens

_NEED_A_CASE: tuple[Scorer, ...] = (
    correct, contains, exact_match, token_f1, refuses_rightly, agreement,
    hit_at_1, hit_at_5, hit_at_10, reciprocal_rank, ndcg,
    strict_hit_at_1, strict_hit_at_5, strict_hit_at_10, strict_reciprocal_rank, strict_ndcg,
)  # fmt: skip
_NEED_NO_CASE: tuple[Scorer, ...] = (
    groundedness, hallucination, citations_right, relevance, coherence,
    valid, length, keywords, toxicity,
    latency_ms, tokens, cost_usd,
)  # fmt: skip

# The first one is what MLflow's comparison of two runs opens on.
SCORERS: dict[str, Scorer] = {scorer.__name__: scorer for scorer in (*_NEED_A_CASE, *_NEED_NO_CASE)}

LIVE_SCORERS: dict[str, Scorer] = {scorer.__name__: scorer for scorer in (*_NEED_NO_CASE, refused)}
"""The scorers for live questions, whose right answers nobody has written down."""

FAILED = "failed"
"""The metric that is 1 for a case without an answer. It has no scorer; the evaluation fills it in."""

LOWER_IS_BETTER = frozenset({"hallucination", "toxicity", "latency_ms", "tokens", "cost_usd", "refused", FAILED})

__all__ = ["FAILED", "LIVE_SCORERS", "LOWER_IS_BETTER", "SCORERS", "Scorer", "ScoringContext"]
