"""Which sentences answer a question, and how sure that is.

A sentence's confidence is a weighted mean of what speaks for it, each between 0 and 1: the question's words that it
holds, rare ones counting more (BM25's idf, over the sentences at hand); its nearness in meaning; pairs of words in the
question's order; and whether it holds the kind of thing that is asked for. A word that stands only in the heading above
or in the sentence before counts in part.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from mlflow_project.rules.quoting.cues import wanted
from mlflow_project.rules.quoting.passages import Sentence

Words = Callable[[str], list[str]]
"""A text's words as they are compared: lower case, endings cut."""

_STOP_WORDS = """
a about all also am an and any are as at be because been but by can could did do does doing for from had has have he her
his how i if in into is it its may me more most my no not of on one only or our she should so some than that the their
them then there these they this to up us was we were what when where which while who whom whose why will with would you
your much many
"""


@dataclass(frozen=True)
class Weights:
    """What counts how much; `headings` and `previous` are the parts of a word that stands only there."""

    words: float = 1.0
    vectors: float = 0.8
    order: float = 0.3
    cues: float = 0.25
    headings: float = 0.8
    previous: float = 0.5


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
    asked, held = words(question), [words(sentence.text) for sentence in sentences]
    fits = wanted(question)
    signs = (
        (weights.words, _shares(asked, sentences, held, words, weights)),
        (weights.vectors, [max(0.0, value) for value in similarities] if similarities is not None else None),
        (weights.order, _orders(asked, held)),
        (weights.cues, [1.0 if fits is None or fits(sentence.text) else 0.0 for sentence in sentences]),
    )
    used = [(weight, values) for weight, values in signs if values is not None]
    total = sum(weight for weight, _ in used) or 1.0
    quotes = [
        Quote(sentence, sum(weight * values[place] for weight, values in used) / total)
        for place, sentence in enumerate(sentences)
    ]
    return sorted(quotes, key=lambda quote: (-quote.confidence, quote.sentence.rank, quote.sentence.start))


def _shares(
    asked: list[str], sentences: Sequence[Sentence], held: list[list[str]], words: Words, weights: Weights
) -> list[float]:
    """Per sentence the share of the question's words that it holds, each counted by its idf."""
    sets = [frozenset(found) for found in held]
    counts = Counter(word for found in sets for word in found)
    wanted_words = set(asked) - _stop_words(words) or set(asked)
    idf = {word: _idf(counts[word], len(sentences)) for word in sorted(wanted_words)}
    total = sum(idf.values()) or 1.0
    follows = _follows(sentences)
    above = {text: frozenset(words(text)) for text in {sentence.above for sentence in sentences}}

    def part(word: str, place: int) -> float:
        if word in sets[place]:
            return 1.0
        if word in above[sentences[place].above]:
            return weights.headings
        return weights.previous if follows[place] and word in sets[place - 1] else 0.0

    return [sum(value * part(word, place) for word, value in idf.items()) / total for place in range(len(sentences))]


def _follows(sentences: Sequence[Sentence]) -> list[bool]:
    """Per sentence whether the one before it is of the same document: what "it" may stand for."""
    documents = [None, *(sentence.document_id for sentence in sentences)]
    return [before == after for before, after in pairwise(documents)]


def _orders(asked: list[str], held: list[list[str]]) -> list[float]:
    """Per sentence the share of the question's pairs of words that it holds as pairs."""
    pairs = set(pairwise(asked))
    return [len(pairs & set(pairwise(found))) / max(1, len(pairs)) for found in held]


def _idf(count: int, of: int) -> float:
    return math.log(1 + (of - count + 0.5) / (count + 0.5))


@cache
def _stop_words(words: Words) -> frozenset[str]:
    """The stop words as `words` writes them."""
    return frozenset(words(_STOP_WORDS))
