"""Searches a release's index without holding up other requests.

A quick search runs in the event loop, where it is cheapest. An index whose searches take longer, as hybrid ones over
many chunks do, is searched in threads: numpy, tantivy and onnxruntime release the interpreter's lock while they work.
If endpoints embed questions or order chunks, they are asked before and after, over the connections that providers use.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlflow_project.adapters.retrieval.index import Index
from mlflow_project.domain.answer import Context
from mlflow_project.domain.release import Retrieval
from mlflow_project.errors import ProviderError

if TYPE_CHECKING:
    from mlflow_project.adapters.providers.embedding import EmbeddingEndpoint
    from mlflow_project.adapters.providers.reranking import RerankingEndpoint

logger = logging.getLogger(__name__)

QUICK_SECONDS = 0.0015
"""Processor time of a search up to which it runs in the event loop."""
LONG_QUESTION = 2_000
"""Characters. Longer questions are searched in a thread, however quick the index is."""
_THREADS = 2
"""More would take the processor from the event loop."""
_SHARE_OF_NEWEST = 0.125

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Endpoints:
    """The endpoints that embed questions and order chunks; None where this machine does it, or nobody. With `may_fail`,
    questions are searched by words alone, or chunks keep their order, while the endpoint is down. Without, a search
    fails then, so that no evaluation measures another retrieval than the one it names."""

    embeddings: EmbeddingEndpoint | None = None
    reranking: RerankingEndpoint | None = None
    may_fail: bool = False


@dataclass(frozen=True)
class Found:
    """The chunks, best first. `words_only`: the endpoint did not embed the question, so words alone were searched.
    `not_reranked`: the endpoint did not order the chunks, so they are in the order of the search."""

    contexts: list[Context]
    words_only: bool = False
    not_reranked: bool = False


class Searcher:
    """Searches one index as one release pins it."""

    def __init__(
        self,
        index: Index,
        retrieval: Retrieval,
        endpoints: Endpoints = Endpoints(),
        quick_seconds: float = QUICK_SECONDS,
    ) -> None:
        """`endpoints` are needed if they embed questions, or order chunks, for this index."""
        self._index = index
        self._pinned = retrieval
        self._embeddings = endpoints.embeddings if retrieval.vectors_weight > 0 else None
        self._reranking = endpoints.reranking if retrieval.rerank else None
        self._may_fail = endpoints.may_fail
        looked_at = (retrieval.rerank or 0) if self._reranking is not None else 0
        self._retrieval = replace(retrieval, chunks=max(retrieval.chunks, looked_at))
        self._quick_seconds = quick_seconds
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="search")
        self._seconds = 0.0
        sample = np.full(index.dimensions, index.dimensions**-0.5, dtype=np.float32) if self._embeddings else None
        self._timed("the first search loads what later ones need", sample)
        self._timed("so the second one shows how long a search takes", sample, share=1.0)

    @property
    def is_quick(self) -> bool:
        """Whether the next search runs in the event loop."""
        return self._seconds <= self._quick_seconds

    async def search(self, question: str) -> Found:
        """Return the best chunks for a question.

        Raises:
            ProviderError: an endpoint failed, and it may not fail.
        """
        vector = await self._embedded(question)
        if self.is_quick and len(question) <= LONG_QUESTION:
            contexts = self._timed(question, vector)
        else:
            loop = asyncio.get_running_loop()
            contexts = await loop.run_in_executor(self._threads, self._timed, question, vector)
        ordered = await self._reranked(question, contexts)
        return Found(
            (contexts if ordered is None else ordered)[: self._pinned.chunks],
            words_only=self._embeddings is not None and vector is None,
            not_reranked=ordered is None,
        )

    def close(self) -> None:
        """End the threads. The index goes with the last search that uses it."""
        self._threads.shutdown(wait=False)

    async def _embedded(self, question: str) -> Vector | None:
        if self._embeddings is None:
            return None
        try:
            embedded = await self._embeddings.embed([question], "question")
            if embedded.vectors.shape[1] != self._index.dimensions and question.strip():
                raise ProviderError(
                    f"The question's vector has {embedded.vectors.shape[1]} dimensions, and those of the index have "
                    f"{self._index.dimensions}: the model behind the endpoint is another one now. Build the index "
                    "again, and register the prompt again.",
                    kind="invalid_json",
                )
        except ProviderError as error:
            if not self._may_fail:
                raise
            logger.warning("a question is searched by words alone", extra={"why": str(error)})
            return None
        return embedded.vectors[0] if question.strip() else None

    async def _reranked(self, question: str, contexts: list[Context]) -> list[Context] | None:
        """The chunks in the order of the endpoint; None if it failed."""
        if self._reranking is None:
            return contexts
        looked_at = self._pinned.rerank or 0
        try:
            return [*await self._reranking.order(question, contexts[:looked_at]), *contexts[looked_at:]]
        except ProviderError as error:
            if not self._may_fail:
                raise
            logger.warning("chunks keep the order of the search", extra={"why": str(error)})
            return None

    def _timed(self, question: str, vector: Vector | None, share: float = _SHARE_OF_NEWEST) -> list[Context]:
        """Search, and note the processor time, in which waiting for other threads does not count."""
        started = time.thread_time()
        found = self._index.search(question, self._retrieval, vector=vector)
        self._seconds += share * (time.thread_time() - started - self._seconds)
        return found
