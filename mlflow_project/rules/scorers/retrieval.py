"""Scores whether the retrieved chunks contain the supporting passage, and how high it ranks.

By overlap, a chunk is relevant if it contains the case's quote, or the first or last half of it, in case the quote was
cut in two; for a case without a quote, if it comes from the case's document. The strict scorers want the right document
and the whole passage in one chunk: the quote or, without one, an expected answer. One passage is enough, so the ideal
ranking has it first.
"""

from __future__ import annotations

import math

from mlflow_project.domain.answer import Case, Context
from mlflow_project.domain.verdict import Score
from mlflow_project.rules.scorers.context import ScoringContext, unscored, yes_no
from mlflow_project.rules.scorers.words import holds, words


def hit_at_1(context: ScoringContext) -> Score:
    """1 if the first chunk is relevant."""
    return _hit(context, 1)


def hit_at_5(context: ScoringContext) -> Score:
    """1 if one of the first five chunks is relevant."""
    return _hit(context, 5)


def hit_at_10(context: ScoringContext) -> Score:
    """1 if one of the first ten chunks is relevant."""
    return _hit(context, 10)


def reciprocal_rank(context: ScoringContext) -> Score:
    """1 / rank of the first relevant chunk, 0 without one; its mean is the MRR."""
    return _reciprocal_rank(_ranks(context))


def ndcg(context: ScoringContext) -> Score:
    """Normalised discounted cumulative gain of yes/no relevance (Järvelin and Kekäläinen 2002)."""
    return _ndcg(_ranks(context))


def strict_hit_at_1(context: ScoringContext) -> Score:
    """1 if the first chunk is strictly relevant."""
    return _hit(context, 1, strict=True)


def strict_hit_at_5(context: ScoringContext) -> Score:
    """1 if one of the first five chunks is strictly relevant."""
    return _hit(context, 5, strict=True)


def strict_hit_at_10(context: ScoringContext) -> Score:
    """1 if one of the first ten chunks is strictly relevant."""
    return _hit(context, 10, strict=True)


def strict_reciprocal_rank(context: ScoringContext) -> Score:
    """1 / rank of the first strictly relevant chunk, 0 without one."""
    return _reciprocal_rank(_ranks(context, strict=True))


def strict_ndcg(context: ScoringContext) -> Score:
    """Normalised discounted cumulative gain of strict relevance."""
    return _ndcg(_ranks(context, strict=True))


def _reciprocal_rank(ranks: list[int] | None) -> Score:
    if ranks is None:
        return _no_passage()
    return Score(1 / ranks[0]) if ranks else Score(0.0, "no retrieved chunk holds the passage")


def _ndcg(ranks: list[int] | None) -> Score:
    if ranks is None:
        return _no_passage()
    gain = sum(1 / math.log2(rank + 1) for rank in ranks)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, len(ranks) + 1))
    return Score(gain / ideal) if ranks else Score(0.0, "no retrieved chunk holds the passage")


def _hit(context: ScoringContext, k: int, strict: bool = False) -> Score:
    ranks = _ranks(context, strict)
    if ranks is None:
        return _no_passage()
    return yes_no(bool(ranks) and ranks[0] <= k, f"none of the first {k} chunks holds the passage")


def _ranks(context: ScoringContext, strict: bool = False) -> list[int] | None:
    case, chunks = context.case, context.answer.contexts
    if not chunks or not (case.quote or case.document_id) or not context.answerable:
        return None
    relevant = _strictly_relevant if strict else _relevant
    return [rank for rank, chunk in enumerate(chunks, start=1) if relevant(case, chunk)]


def _relevant(case: Case, chunk: Context) -> bool:
    if case.document_id and chunk.document_id != case.document_id:
        return False
    return not case.quote or any(holds(chunk.text, part) for part in _parts(case.quote))


def _strictly_relevant(case: Case, chunk: Context) -> bool:
    if case.document_id and chunk.document_id != case.document_id:
        return False
    wanted = [case.quote] if case.quote else case.expected
    return any(holds(chunk.text, passage) for passage in wanted)


def _parts(quote: str) -> tuple[str, str, str]:
    said = words(quote)
    middle = len(said) // 2
    return quote, " ".join(said[:middle]), " ".join(said[middle:])


def _no_passage() -> Score:
    return unscored("nothing was retrieved, or the case names no passage")
