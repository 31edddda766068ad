"""Retrieval measured: speed over 100,000 chunks in process, and how often XQuAD's answers are found.

    python -m bench.text_preparation [--xquad FOLDER]

In: XQuAD's documents and questions. Out: a table, and `bench/results/text_preparation.json`. Words alone and hybrid run
in one go over the same index. What bounds them: words, tantivy's posting lists; hybrid, reading all vectors once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.report import Measure, report
from mlflow_project.adapters.retrieval import embeddings, index_builder
from mlflow_project.adapters.retrieval.index import Index, open_index
from mlflow_project.domain.release import Retrieval
from mlflow_project.rules.chunking.chunks import chunks_of
from mlflow_project.rules.chunking.splitter import Splitter

CHUNKS = 100_000
WORDS, HYBRID = Retrieval(5, 1.0, 0.0), Retrieval(5, 1.0, 0.2)


def read(path: Path) -> list[dict[str, Any]]:
    """JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rows(documents: list[dict[str, Any]], copies: int) -> Iterator[tuple[dict[str, Any], Any]]:
    """Chunks with vectors; copies have ids of their own, and the vectors are computed once."""
    found = [(each, chunk) for each in documents for chunk in chunks_of(each["id"], each["text"], Splitter())]
    vectors = embeddings.embed([chunk.text for _, chunk in found])
    for copy in range(copies):
        for (each, chunk), vector in zip(found, vectors, strict=True):
            name = {"chunk_id": f"{chunk.chunk_id}/{copy}", "document_id": each["id"], "title": each["title"]}
            yield {**name, "text": chunk.text, "start": chunk.start, "end": chunk.end}, vector


def p50(index: Index, questions: list[dict[str, Any]], retrieval: Retrieval) -> float:
    """Median milliseconds a question."""
    index.search(questions[0]["question"], retrieval)
    times = []
    for each in questions:
        started = time.perf_counter()
        index.search(each["question"], retrieval)
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)


def hits(index: Index, questions: list[dict[str, Any]], retrieval: Retrieval, at: int) -> float:
    """Share of questions with an answer of theirs, in its own document, among the first `at` chunks."""
    found = 0
    for each in questions:
        contexts = index.search(each["question"], retrieval)[:at]
        found += any(
            context.document_id == each["document_id"] and any(answer in context.text for answer in each["answers"])
            for context in contexts
        )
    return found / len(questions)


def measure(xquad: Path) -> list[Measure]:
    """Quality over XQuAD's own chunks, then speed over copies of them."""
    documents, questions = read(xquad / "documents.jsonl"), read(xquad / "questions.jsonl")
    with tempfile.TemporaryDirectory() as scratch:
        small = built(Path(scratch) / "small", documents, 1)
        large = built(Path(scratch) / "large", documents, -(-CHUNKS // len(small)))
        return [*_quality(small, questions), *_speed(large, questions[:200])]


def built(folder: Path, documents: list[dict[str, Any]], copies: int) -> Index:
    """An open index of the documents' chunks."""
    index_builder.build(folder / "built", rows(documents, copies))
    return open_index(folder / "built", folder / "open")


def _quality(index: Index, questions: list[dict[str, Any]]) -> list[Measure]:
    found = []
    for at, goal in ((1, 0.0), (5, 0.975)):
        words, hybrid = hits(index, questions, WORDS, at), hits(index, questions, HYBRID, at)
        asked = f"not below words, >= {goal}" if goal else "not below words"
        met = hybrid >= max(words, goal)
        against = f"words alone, {words:.4f}"
        found.append(Measure(f"XQuAD hit@{at}, hybrid", hybrid, "share", against, hybrid / words, asked, met))
    return found


def _speed(index: Index, questions: list[dict[str, Any]]) -> list[Measure]:
    words, hybrid = p50(index, questions, WORDS), p50(index, questions, HYBRID)
    return [
        Measure(f"words over {len(index):,} chunks, p50", words, "ms", goal="<= 1", met=words <= 1),
        Measure(f"hybrid over {len(index):,} chunks, p50", hybrid, "ms", goal="<= 8", met=hybrid <= 8),
    ]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--xquad", type=Path, default=Path("../shared/data/xquad"))
    report("text_preparation", measure(parser.parse_args().xquad), "Retrieval")


if __name__ == "__main__":
    main()
