"""Positive, neutral or negative, by a list of English words with weights.

In: a text. Out: a label, a confidence between 0 and 1, and the words that decided. Understood are negation ("not
good"), strength ("very good", "slightly slow") and "but" (what follows it counts more). Not understood: irony, other
languages, anything that takes knowledge of the world.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from mlflow_project.rules.sentiment_words import NEGATIONS, STRENGTHS, WEIGHTS

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|[!?]|[:;]-?[()DP]|[.,;:\n]")
_CLAUSE_END = frozenset(".,;:\n!?")
_REACH = 3
_NEGATED = -0.7
_BEFORE_BUT, _AFTER_BUT = 0.5, 1.5
_NEUTRAL = 0.75

Label = Literal["positive", "neutral", "negative"]


@dataclass(frozen=True)
class Sentiment:
    """`reason` is a sentence that names the words."""

    label: Label
    confidence: float
    reason: str


def sentiment_of(text: str) -> Sentiment:
    """Add up the words' weights; a sum near 0 is neutral."""
    found = _weighed([word.casefold().replace("’", "'") for word in _WORD.findall(text)])
    total = sum(weight for _, weight in found)
    label: Label = "neutral" if abs(total) < _NEUTRAL else "positive" if total > 0 else "negative"
    return Sentiment(label, _confidence(label, found), _reason(found))


def _weighed(words: list[str]) -> list[tuple[str, float]]:
    turn = max((place for place, word in enumerate(words) if word in {"but", "however"}), default=-1)
    found = []
    for place, word in enumerate(words):
        if (weight := _weight_of(word)) == 0:
            continue
        before = _before(words, place)
        for other in before:
            weight *= STRENGTHS.get(other, 1.0)
        if any(other in NEGATIONS or other.endswith("n't") for other in before):
            weight *= _NEGATED
        if turn >= 0:
            weight *= _AFTER_BUT if place > turn else _BEFORE_BUT
        said = " ".join([*(other for other in before if other in STRENGTHS or _negates(other)), word])
        found.append((said, weight))
    return found


def _before(words: list[str], place: int) -> list[str]:
    """Up to three words before this one, of the same clause."""
    reach: list[str] = []
    for other in reversed(words[max(0, place - _REACH) : place]):
        if other in _CLAUSE_END:
            break
        reach.insert(0, other)
    return reach


def _weight_of(word: str) -> float:
    if word in WEIGHTS:
        return WEIGHTS[word]
    for ending, instead in (
        ("s", ""),
        ("ed", ""),
        ("ed", "e"),
        ("ing", ""),
        ("ing", "e"),
        ("ly", ""),
        ("d", ""),
        ("es", ""),
    ):
        if len(word) > len(ending) + 3 and word.endswith(ending):
            stem = word[: -len(ending)] + instead
            if stem in WEIGHTS:
                return WEIGHTS[stem]
    return 0.0


def _negates(word: str) -> bool:
    return word in NEGATIONS or word.endswith("n't")


def _confidence(label: Label, found: list[tuple[str, float]]) -> float:
    """How one-sided and how strong the words are; for neutral, how little there is of either."""
    strength = sum(abs(weight) for _, weight in found)
    total = abs(sum(weight for _, weight in found))
    if label == "neutral":
        return round(max(0.34, 0.8 - 0.15 * strength), 2)
    return round(min(0.95, 0.5 + 0.45 * (total / strength) * math.tanh(total / 3)), 2)


def _reason(found: list[tuple[str, float]]) -> str:
    if not found:
        return "No word of the list stands in the text."
    sides = []
    for side, sign in (("positive", 1), ("negative", -1)):
        if said := list(dict.fromkeys(word for word, weight in found if weight * sign > 0))[:5]:
            sides.append(f"{side}: {', '.join(said)}")
    return f"Words that decided: {'; '.join(sides)}."
