"""Topics of a corpus: fixed centres among the vectors of its texts, so that shares of later versions can be compared.

In: texts. Out: `Topics`, and the topic of each text. The first profile of a column finds the centres, by k-means over a
sample, and keeps them. Each text belongs to the centre that is nearest to its vector (cosine). Equal runs find equal
topics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from mlflow_project.adapters.retrieval.analysis import words
from mlflow_project.adapters.retrieval.embeddings import embed

TOPICS = 8
SAMPLE = 1000
_LOOKED_AT = 2000
_TERMS = 5


@dataclass(frozen=True)
class Topics:
    """The centre of each topic, a row of 256 numbers, and the words that name the topic."""

    centres: NDArray[np.float32]
    terms: tuple[tuple[str, ...], ...]


def vectors(texts: Sequence[str]) -> NDArray[np.float32]:
    """One vector for each text, from its first 2,000 characters."""
    return embed([text[:_LOOKED_AT] for text in texts])


def nearest(found: NDArray[np.float32], topics: Topics) -> list[int]:
    """The topic of each vector."""
    return [int(topic) for topic in np.argmax(found @ topics.centres.T, axis=1)]


def find_topics(texts: Sequence[str]) -> Topics:
    """Topics of a sample, the largest first. Few texts have few topics, and an empty sample has none."""
    if not texts:
        return Topics(np.zeros((0, 0), np.float32), ())
    found = vectors(texts)
    number = max(1, min(TOPICS, len(texts) // 8))
    model = KMeans(number, n_init=1, random_state=0).fit(found)
    order = [
        topic for topic, _ in sorted(Counter(model.labels_.tolist()).items(), key=lambda each: (-each[1], each[0]))
    ]
    lengths = np.linalg.norm(model.cluster_centers_, axis=1, keepdims=True)
    centres = (model.cluster_centers_ / np.maximum(lengths, 1e-9))[order].astype(np.float32).round(5)
    parts = [[text for text, label in zip(texts, model.labels_, strict=True) if label == topic] for topic in order]
    return Topics(centres, _named(parts))


def _named(parts: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """The words that distinguish each part: class-based TF-IDF of M. Grootendorst, "BERTopic" (2022)."""
    counts = [Counter(word for text in part for word in words(text[:_LOOKED_AT])) for part in parts]
    whole: Counter[str] = sum(counts, Counter())
    average = sum(whole.values()) / max(1, len(parts))
    named = []
    for count in counts:
        weights = {word: number * np.log(1 + average / whole[word]) for word, number in count.items() if len(word) > 2}
        named.append(tuple(sorted(weights, key=lambda word: (-weights[word], word))[:_TERMS]))
    return tuple(named)
