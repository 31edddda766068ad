"""Which sentences answer a question, and how sure that is.

A sentence's confidence is a weighted mean of what speaks for it, each between 0 and 1: the question's words that it
holds, rare ones counting more (BM25's idf, over the sentences at hand); its nearness in meaning; and whether it holds
the kind of thing that is asked for.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlflow_project.rules.quoting.cues import wanted
from mlflow_project.rules.quoting.passages import Sentence

Words = Callable[[str], list[str]]
"""A text's words as they are compared: lower case, endings cut."""


@dataclass(frozen=True)
class Weights:
    """What counts how much."""

    words: float = 1.0
    vectors: float = 1.0
    cues: float = 0.2
    headings: float = 0.3


@dataclass(frozen=True)
class Quote:
    """A sentence and the confidence, 0 to 1, that it answers."""

    sentence: Sentence
    confidence: float


def rank(
    question: str, sentences: Sequence[Sentence], similarities: Sequence[float] | None, words: Words, weights: Weights
) -> list[Quote]:
    """The sentences with their confidence, best first. `similarities[i]`: how near sentence i is to the question, by
    the cosine of their vectors; None: no vectors are used."""
    shares = _shares(question, sentences, words, weights.headings)
    nears = [max(0.0, value) for value in similarities] if similarities is not None else [0.0] * len(sentences)
    fits = wanted(question)
    cues = [1.0 if fits is None or fits(sentence.text) else 0.0 for sentence in sentences]
    vectors = weights.vectors if similarities is not None else 0.0
    total = weights.words + vectors + weights.cues or 1.0
    quotes = [
        Quote(sentence, (weights.words * share + vectors * near + weights.cues * cue) / total)
        for sentence, share, near, cue in zip(sentences, shares, nears, cues, strict=True)
    ]
    return sorted(quotes, key=lambda quote: (-quote.confidence, quote.sentence.rank, quote.sentence.start))


def _shares(question: str, sentences: Sequence[Sentence], words: Words, headings: float) -> list[float]:
    """Per sentence the share of the question's words that it holds, each counted by its idf."""
    held = [frozenset(words(sentence.text)) for sentence in sentences]
    above = [frozenset(words(sentence.above)) for sentence in sentences]
    counts = Counter(word for found in held for word in found)
    asked = {word: _idf(counts[word], len(sentences)) for word in words(question)}
    total = sum(asked.values()) or 1.0
    return [
        sum(idf * (1.0 if word in text else headings * (word in title)) for word, idf in asked.items()) / total
        for text, title in zip(held, above, strict=True)
    ]


def _idf(count: int, of: int) -> float:
    return math.log(1 + (of - count + 0.5) / (count + 0.5))
