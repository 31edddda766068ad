"""The checks of live traffic: of questions, of answers, and of the meaning of both.

In: the rows of one pool, reference and window together. Out: the checks by name, without those that have no values.
Topics are those of the reference (k-means of scikit-learn), so that they keep their numbers over time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer

from mlflow_project.rules.drift.statistics import (
    Statistic,
    classifier_two_sample,
    difference_of_shares,
    jensen_shannon,
    kolmogorov_smirnov,
    mean_discrepancy,
    new_terms,
    one_hot,
)
from mlflow_project.rules.quality.languages import UNKNOWN, language_of
from mlflow_project.rules.scorers.words import content_words

TOPICS = 32


@dataclass(frozen=True)
class Traffic:
    """Rows in order of time. A missing number is NaN, a missing vector zero. `words` are the content words of a
    question, each once. `lengths` are in characters.
    """

    words: tuple[tuple[str, ...], ...]
    languages: tuple[str, ...]
    lengths: NDArray[np.float64]
    question_vectors: NDArray[np.float32]
    numbers: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    shares: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    answer_vectors: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, questions: Sequence[str], vectors: NDArray[np.float32]) -> Traffic:
        """Traffic that consists of questions only."""
        words = tuple(tuple(sorted(content_words(text))) for text in questions)
        languages = tuple(language_of(text) or UNKNOWN for text in questions)
        return cls(words, languages, np.array([len(text) for text in questions], dtype=np.float64), vectors)

    def __len__(self) -> int:
        return len(self.words)

    def rows(self, chosen: NDArray[np.intp] | slice) -> Traffic:
        """Some of the rows."""
        numbered = np.arange(len(self))[chosen]
        return Traffic(
            tuple(self.words[number] for number in numbered),
            tuple(self.languages[number] for number in numbered),
            self.lengths[numbered],
            self.question_vectors[numbered],
            {name: values[numbered] for name, values in self.numbers.items()},
            {name: holds[numbered] for name, holds in self.shares.items()},
            None if self.answer_vectors is None else self.answer_vectors[numbered],
        )

    def followed_by(self, other: Traffic) -> Traffic:
        """These rows, then the other's."""
        answers = [one.answer_vectors for one in (self, other) if one.answer_vectors is not None]
        return Traffic(
            self.words + other.words,
            self.languages + other.languages,
            np.concatenate([self.lengths, other.lengths]),
            np.concatenate([self.question_vectors, other.question_vectors]),
            {name: np.concatenate([values, other.numbers[name]]) for name, values in self.numbers.items()},
            {name: np.concatenate([holds, other.shares[name]]) for name, holds in self.shares.items()},
            np.concatenate(answers) if len(answers) == 2 else None,
        )

    def fitted(self, seed: int) -> Topics:
        """The checks for windows beside this reference."""
        return Topics.found_in(self.question_vectors, seed)


@dataclass(frozen=True)
class Topics:
    """A reference's topics, the checks that use them, and the plane in which its questions are drawn."""

    clusters: KMeans
    plane: PCA

    @classmethod
    def found_in(cls, vectors: NDArray[np.float32], seed: int) -> Topics:
        """Find the topics in the vectors of a reference's questions."""
        clusters = KMeans(min(TOPICS, len(np.unique(vectors, axis=0))), n_init=4, random_state=seed).fit(vectors)
        with np.errstate(invalid="ignore"):  # identical questions have no variance to share
            return cls(clusters, PCA(2, random_state=seed).fit(vectors))

    def of(self, pool: Traffic) -> dict[str, Statistic]:
        """All checks by name. A check without values in the pool is left out."""
        counts = term_counts(pool.words)
        found = {
            "question length": kolmogorov_smirnov(pool.lengths),
            "question new terms": new_terms(counts),
            "question words": jensen_shannon(counts),
            "question language": jensen_shannon(one_hot(pool.languages)),
            "question topics": jensen_shannon(one_hot(self.numbers(pool.question_vectors))),
            "question meaning": mean_discrepancy(pool.question_vectors),
            "question classifier": classifier_two_sample(pool.question_vectors),
        }
        found |= {n: kolmogorov_smirnov(values) for n, values in pool.numbers.items() if not np.isnan(values).all()}
        found |= {name: difference_of_shares(holds) for name, holds in pool.shares.items()}
        if pool.answer_vectors is not None:
            found["answer meaning"] = mean_discrepancy(pool.answer_vectors)
            found["answer classifier"] = classifier_two_sample(pool.answer_vectors)
        return found

    def numbers(self, vectors: NDArray[np.float32]) -> list[int]:
        """The topic of each row."""
        return [int(number) for number in self.clusters.predict(vectors)]

    def shares(self, vectors: NDArray[np.float32]) -> list[float]:
        """Each topic's share of the rows."""
        counts = np.bincount(self.numbers(vectors), minlength=len(self.clusters.cluster_centers_))
        return [float(count) / max(len(vectors), 1) for count in counts]

    def points(self, vectors: NDArray[np.float32]) -> list[tuple[float, float]]:
        """The point of each row in the plane."""
        return [(float(x), float(y)) for x, y in self.plane.transform(vectors)]


def term_counts(words: Sequence[Sequence[str]]) -> csr_array:
    """Counts with a row per row and a column per word. If no row has a word, one empty column."""
    if not any(words):
        return csr_array((len(words), 1), dtype=np.float64)
    return csr_array(CountVectorizer(analyzer=lambda row: row).fit_transform(words), dtype=np.float64)
