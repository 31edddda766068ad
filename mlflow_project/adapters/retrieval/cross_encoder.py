"""Orders chunks by an ONNX cross-encoder, which reads the question and a chunk together, on the CPU and offline.

In: a folder with `model.onnx` and `tokenizer.json`, whose graph returns one number for each pair (with two, the second
one counts). Out: the `Reranker` that describes it, and the chunks of a search in their new order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlflow_project.adapters.retrieval.sentence_model import AT_ONCE, Graph, digests
from mlflow_project.adapters.retrieval.specification import Reranker
from mlflow_project.domain.answer import Context
from mlflow_project.errors import InvalidData

MOST_TOKENS = 512


def describe(folder: Path) -> Reranker:
    """The reranker that a folder holds, with the digests of its files.

    Raises:
        InvalidData: the folder lacks a file.
    """
    return Reranker("onnx", folder.resolve().name, max_tokens=MOST_TOKENS, files=digests(folder))


class CrossEncoder:
    """A loaded cross-encoder. Many threads may use it at once."""

    def __init__(self, folder: Path, reranker: Reranker) -> None:
        """Load the files. Raises ConfigError or InvalidData as `Graph` does."""
        self._reranker = reranker
        self._graph = Graph(folder, reranker.name, reranker.files, reranker.max_tokens or MOST_TOKENS, threads=1)
        self._scores([("a", "b")])

    def order(self, question: str, contexts: Sequence[Context]) -> list[Context]:
        """The chunks, best first, each with the model's score. Equal scores keep the order of the search."""
        pairs = [(question, chunk.text) for chunk in contexts]
        scores = [score for at in range(0, len(pairs), AT_ONCE) for score in self._scores(pairs[at : at + AT_ONCE])]
        return in_order(contexts, scores)

    def _scores(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        run = self._graph.run(pairs)
        if run is None:
            return [0.0] * len(pairs)
        found = run[0].reshape(len(pairs), -1)
        if found.shape[1] > 2 or not np.isfinite(found).all():
            raise InvalidData(f"The graph of {self._reranker.name} does not return one finite number for each pair.")
        return [float(row[-1]) for row in found]


def in_order(contexts: Sequence[Context], scores: Sequence[float]) -> list[Context]:
    """Chunks by their scores, best first; equal ones keep their order."""
    scored = [replace(chunk, score=score) for chunk, score in zip(contexts, scores, strict=True)]
    return sorted(scored, key=lambda chunk: -chunk.score)
