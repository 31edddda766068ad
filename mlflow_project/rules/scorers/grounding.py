"""Scores whether the retrieved text supports the answer, and whether its citations support its sentences.

These are lexical proxies: cheap enough for live traffic, and blind to paraphrase.
"""

from __future__ import annotations

import re

from mlflow_project.domain.answer import Citation, Context
from mlflow_project.domain.verdict import Score
from mlflow_project.rules.scorers.context import ScoringContext, unscored
from mlflow_project.rules.scorers.words import content_words, sentences

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SUPPORT = 0.5
"""The share of a sentence's content words that the cited text must contain to support the sentence."""


def groundedness(context: ScoringContext) -> Score:
    """Mean over the answer's sentences of the share of content words found in the one context that holds most of them.

    A sentence with a number that no context contains counts as 0, whatever else it says.
    """
    grounds = _grounds(context)
    if not context.said or not grounds:
        return unscored("nothing was answered" if grounds else "there was no text to rest on")
    shares = {sentence: _grounded(sentence, grounds) for sentence in sentences(context.said)}
    worst = min(shares, key=lambda sentence: shares[sentence])
    value = sum(shares.values()) / len(shares)
    return Score(value, "" if value == 1 else f"least grounded ({shares[worst]:.2f}): {worst[:120]}")


def hallucination(context: ScoringContext) -> Score:
    """1 - groundedness: a proxy, lower is better."""
    score = groundedness(context)
    return score if score.value is None else Score(1 - score.value, score.reason)


def citations_right(context: ScoringContext) -> Score:
    """The share of citations that point into a given chunk, at text that supports a sentence of the answer."""
    answer = context.answer
    if not context.said or not answer.contexts:
        return unscored("nothing was answered" if answer.contexts else "there were no chunks to cite")
    if not answer.citations:
        return Score(0.0, "cites nothing")
    chunks = {chunk.chunk_id: chunk for chunk in answer.contexts}
    wrong = [cited.chunk_id for cited in answer.citations if not _supports(cited, chunks, context.said)]
    reason = f"cited without support: {', '.join(wrong[:3])}" if wrong else ""
    return Score(1 - len(wrong) / len(answer.citations), reason)


def _grounds(context: ScoringContext) -> list[str]:
    given = [context.case.context] if context.case.context else []
    return given + [chunk.text for chunk in context.answer.contexts]


def _grounded(sentence: str, grounds: list[str]) -> float:
    numbers = {number for text in grounds for number in _NUMBER.findall(text)}
    if set(_NUMBER.findall(sentence)) - numbers:
        return 0.0
    wanted = content_words(sentence)
    return max((len(wanted & content_words(text)) / len(wanted) for text in grounds), default=0.0) if wanted else 1.0


def _supports(cited: Citation, chunks: dict[str, Context], said: str) -> bool:
    chunk = chunks.get(cited.chunk_id)
    if chunk is None or not chunk.start <= cited.start < cited.end <= chunk.end:
        return False
    cited_words = content_words(chunk.text[cited.start - chunk.start : cited.end - chunk.start])
    wanted = [content_words(sentence) for sentence in sentences(said)]
    return any(words and len(words & cited_words) >= _SUPPORT * len(words) for words in wanted)
