"""Searches an index for a person, and says how each chunk was found.

In: an open index, a question and how to search. Out: hits, best first, each with its place in the ranking by words and
in the one by vectors, and the words of the question that it holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlflow_project.adapters.retrieval.analysis import words
from mlflow_project.adapters.retrieval.index import DEPTH, Index
from mlflow_project.domain.answer import Context
from mlflow_project.domain.release import Retrieval
from mlflow_project.errors import InvalidData

Way = Literal["words", "vectors", "hybrid"]
_WEIGHTS: Mapping[Way, tuple[float, float]] = {"words": (1.0, 0.0), "vectors": (0.0, 1.0)}


@dataclass(frozen=True)
class Place:
    """Where a chunk stands in one ranking, from 1, and its score there."""

    rank: int
    score: float


@dataclass(frozen=True)
class Hit:
    """A chunk that was found. `by_words` or `by_vectors` is None if it is not among the first 100 of that ranking."""

    context: Context
    by_words: Place | None
    by_vectors: Place | None
    words: tuple[str, ...]


def search_index(
    index: Index, question: str, way: Way | None, chunks: int, vector: NDArray[np.float32] | None = None
) -> tuple[Way, list[Hit]]:
    """Search an index, by words and vectors together unless there is another way or no vectors. `vector` is the
    question's, for an index whose questions an endpoint embeds.

    Raises:
        InvalidData: the index has no vectors, and they are asked for.
    """
    if way in ("vectors", "hybrid") and not index.has_vectors:
        raise InvalidData(
            "The newest index of this table has no vectors. Build one that has, with `switchyard index TABLE "
            "--vectors`, or search with --words."
        )
    chosen: Way = way or ("hybrid" if index.has_vectors else "words")
    has_vector = index.has_vectors and (vector is not None or not index.asks_an_endpoint)
    found = _found(index, question, chosen, chunks, vector)
    by_words = _places(_found(index, question, "words", DEPTH))
    by_vectors = _places(_found(index, question, "vectors", DEPTH, vector)) if has_vector else {}
    asked = dict.fromkeys(words(question))
    return chosen, [
        Hit(
            each,
            by_words.get(each.chunk_id),
            by_vectors.get(each.chunk_id),
            tuple(word for word in asked if word in {*words(each.text), *words(each.title)}),
        )
        for each in found
    ]


def _found(
    index: Index, question: str, way: Way, chunks: int, vector: NDArray[np.float32] | None = None
) -> list[Context]:
    """Hybrid: joined as a release joins both rankings if its template sets no weights."""
    chosen = Retrieval(chunks, fusion="scores") if way == "hybrid" else Retrieval(chunks, *_WEIGHTS[way])
    return index.search(question, chosen, vector=vector)


def _places(found: Sequence[Context]) -> dict[str, Place]:
    return {each.chunk_id: Place(rank, each.score) for rank, each in enumerate(found, start=1)}
