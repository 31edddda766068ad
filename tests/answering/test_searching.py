"""A search holds up no other request: slow indexes are searched in threads."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlflow_project.adapters.retrieval import index_builder
from mlflow_project.adapters.retrieval.index import Index, open_index
from mlflow_project.adapters.retrieval.index_files import write_manifest
from mlflow_project.answering.searcher import QUICK_SECONDS, Searcher
from mlflow_project.domain.release import Retrieval

HYBRID = Retrieval(5, 1.0, 0.2)
VOCABULARY = [f"word{number}" for number in range(5_000)]
STREAMS, CALLERS, SECONDS = 16, 4, 4.0


def rows(chunks: int) -> Iterator[tuple[dict[str, Any], Any]]:
    """Chunks of random words with random vectors."""
    words, numbers = random.Random(7), np.random.default_rng(7)
    for number in range(chunks):
        text = " ".join(words.choices(VOCABULARY, k=30))
        vector = numbers.standard_normal(256, dtype=np.float32)
        named = {"chunk_id": f"c{number}", "document_id": f"d{number}", "title": "", "text": text}
        yield {**named, "start": 0, "end": len(text)}, vector / np.linalg.norm(vector)


def opened(folder: Path, chunks: int) -> Index:
    index_builder.build(folder / "built", rows(chunks))
    return open_index(folder / "built", folder / "open", write_manifest(folder / "built", {}))


def test_a_quick_index_is_searched_in_the_event_loop_and_a_slow_one_finds_the_same(tmp_path: Path) -> None:
    index = opened(tmp_path, 50)
    question = "word1 word2 word3"
    in_loop, in_threads = Searcher(index, HYBRID), Searcher(index, HYBRID, quick_seconds=-1.0)
    assert (in_loop.is_quick, in_threads.is_quick) == (True, False)
    assert asyncio.run(in_loop.search(question)) == asyncio.run(in_threads.search(question))
    in_threads.close()
    in_loop.close()


async def pauses(searcher: Searcher) -> list[float]:
    """Seconds that 16 streams waited beyond the 10 ms between their pieces, while others searched all the time."""
    late: list[float] = []
    end = time.monotonic() + SECONDS

    async def stream() -> None:
        while time.monotonic() < end:
            started = time.monotonic()
            await asyncio.sleep(0.01)
            late.append(time.monotonic() - started - 0.01)

    async def caller() -> None:
        words = random.Random(8)
        while time.monotonic() < end:
            assert (await searcher.search(" ".join(words.choices(VOCABULARY, k=12)))).contexts
            await asyncio.sleep(0)

    await asyncio.gather(*(stream() for _ in range(STREAMS)), *(caller() for _ in range(CALLERS)))
    return late


@pytest.mark.long
def test_searches_over_a_hundred_thousand_chunks_do_not_hold_up_sixteen_streams(tmp_path: Path) -> None:
    index = opened(tmp_path, 100_000)
    always_in_loop, as_served = Searcher(index, HYBRID, quick_seconds=60.0), Searcher(index, HYBRID)
    assert not as_served.is_quick, f"a search takes less than {QUICK_SECONDS} s here"
    held_up, served = (statistics.median(asyncio.run(pauses(each))) for each in (always_in_loop, as_served))
    assert served < held_up / 4, f"pieces come {1e3 * held_up:.1f} ms late in the loop, {1e3 * served:.1f} with threads"
