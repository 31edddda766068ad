"""Scores the time, tokens and money that an answer took. What the provider does not report is unscored."""

from __future__ import annotations

from mlflow_project.domain.verdict import Score
from mlflow_project.rules.scorers.context import ScoringContext, unscored


def latency_ms(context: ScoringContext) -> Score:
    """Milliseconds from question to answer."""
    return Score(context.answer.latency_ms)


def tokens(context: ScoringContext) -> Score:
    """Tokens in and out, as the provider counted them."""
    total = context.answer.usage.total_tokens
    return unscored("the provider counts no tokens") if total is None else Score(float(total))


def cost_usd(context: ScoringContext) -> Score:
    """USD, by the price table that the release pins."""
    cost = context.answer.cost_usd
    return unscored("the release pins no prices, or no tokens were counted") if cost is None else Score(cost)
