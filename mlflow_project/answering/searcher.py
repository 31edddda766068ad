"""Searches a release's index without holding up other requests.

A quick search runs in the event loop, where it is cheapest. An index whose searches take longer, as hybrid ones over
many chunks do, is searched in threads: numpy and tantivy release the interpreter's lock while they work.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from mlflow_project.adapters.retrieval.index import Index
from mlflow_project.domain.answer import Context
from mlflow_project.domain.release import Retrieval

QUICK_SECONDS = 0.0015
"""Processor time of a search up to which it runs in the event loop."""
LONG_QUESTION = 2_000
"""Characters. Longer questions are searched in a thread, however quick the index is."""
_THREADS = 2
"""More would take the processor from the event loop."""
_SHARE_OF_NEWEST = 0.125


class Searcher:
    """Searches one index as one release pins it."""

    def __init__(self, index: Index, retrieval: Retrieval, quick_seconds: float = QUICK_SECONDS) -> None:
        self._index = index
        self._retrieval = retrieval
        self._quick_seconds = quick_seconds
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="search")
        self._seconds = 0.0
        self._timed("the first search loads what later ones need")
        self._timed("so the second one shows how long a search takes", share=1.0)

    @property
    def is_quick(self) -> bool:
        """Whether the next search runs in the event loop."""
        return self._seconds <= self._quick_seconds

    async def search(self, question: str) -> list[Context]:
        """Return the best chunks for a question, best first."""
        if self.is_quick and len(question) <= LONG_QUESTION:
            return self._timed(question)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._timed, question)

    def close(self) -> None:
        """End the threads. The index goes with the last search that uses it."""
        self._threads.shutdown(wait=False)

    def _timed(self, question: str, share: float = _SHARE_OF_NEWEST) -> list[Context]:
        """Search, and note the processor time, in which waiting for other threads does not count."""
        started = time.thread_time()
        found = self._index.search(question, self._retrieval)
        self._seconds += share * (time.thread_time() - started - self._seconds)
        return found
