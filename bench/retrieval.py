"""Retrieval measured: speed over 100,000 chunks in process, and how often XQuAD's answers are found.

Part of `bench.text_preparation`. Words alone and hybrid run in one go over the same index. What bounds them: words,
tantivy's posting lists of common words; hybrid, one reading of the first quarter of all vectors.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from bench.report import Measure
from mlflow_project.adapters.retrieval import embeddings, index_builder
from mlflow_project.adapters.retrieval.index import Index, open_index
from mlflow_project.adapters.retrieval.index_files import write_manifest
from mlflow_project.domain.release import Retrieval
from mlflow_project.rules.chunking.chunks import chunks_of
from mlflow_project.rules.chunking.splitter import Splitter

WORDS, HYBRID = Retrieval(5, 1.0, 0.0), Retrieval(5, 1.0, 0.2)
TIMED = 300
CASES = Path(__file__).parents[1] / "prompts" / "qa" / "cases.jsonl"
AT_ONCE = 512


def measures(xquad: Path | None, texts: Sequence[str], chunks: int) -> list[Measure]:
    """Measure quality over XQuAD's own chunks, then speed over those and enough of the machine's texts. Without XQuAD,
    speed alone, on the questions of this repository's cases."""
    documents = _read(xquad / "documents.jsonl") if xquad else []
    questions = _read(xquad / "questions.jsonl") if xquad else _read(CASES)
    others = [{"id": str(number), "title": f"Text {number}", "text": text} for number, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as scratch:
        small = _built(Path(scratch) / "small", _rows(documents)) if xquad else None
        large = _built(Path(scratch) / "large", islice(_rows([*documents, *others]), chunks))
        return [*(_quality(small, questions) if small else ()), *_speed(large, questions[:TIMED])]


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _rows(documents: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Any]]:
    found = ((each, chunk) for each in documents for chunk in chunks_of(each["id"], each["text"], Splitter()))
    while batch := list(islice(found, AT_ONCE)):
        vectors = embeddings.embed([chunk.text for _, chunk in batch])
        for (each, chunk), vector in zip(batch, vectors, strict=True):
            name = {"chunk_id": chunk.chunk_id, "document_id": each["id"], "title": each["title"]}
            yield {**name, "text": chunk.text, "start": chunk.start, "end": chunk.end}, vector


def _built(folder: Path, rows: Iterator[tuple[dict[str, Any], Any]]) -> Index:
    index_builder.build(folder / "built", rows)
    return open_index(folder / "built", folder / "open", write_manifest(folder / "built", {}))


def _quality(index: Index, questions: Sequence[dict[str, Any]]) -> Iterator[Measure]:
    for at, least in ((1, 0.0), (5, 0.975)):
        words, hybrid = (_hits(index, questions, way, at) for way in (WORDS, HYBRID))
        won = sum(one > other for one, other in zip(hybrid, words, strict=True))
        lost = sum(one < other for one, other in zip(hybrid, words, strict=True))
        share, alone = statistics.mean(hybrid), statistics.mean(words)
        yield Measure(
            f"XQuAD hit@{at}, hybrid",
            share,
            "share",
            f"words alone, {alone:.4f}; of the same questions {won} won, {lost} lost",
            share / alone,
            f">= {least}" if least else "not below words",
            share >= (least or alone),
        )


def _hits(index: Index, questions: Sequence[dict[str, Any]], retrieval: Retrieval, at: int) -> list[bool]:
    """For each question: is an answer of its own, in its own document, among the first `at` chunks?"""
    return [
        any(
            context.document_id == each["document_id"] and any(answer in context.text for answer in each["answers"])
            for context in index.search(each["question"], retrieval)[:at]
        )
        for each in questions
    ]


def _speed(index: Index, questions: Sequence[dict[str, Any]]) -> Iterator[Measure]:
    for name, retrieval, most in (("words", WORDS, 1), ("hybrid", HYBRID, 8)):
        index.search(questions[0]["question"], retrieval)
        times = []
        for each in questions:
            started = time.perf_counter()
            index.search(each["question"], retrieval)
            times.append((time.perf_counter() - started) * 1e3)
        p50 = statistics.median(times)
        yield Measure(f"{name} over {len(index):,} chunks, p50", p50, "ms", goal=f"<= {most}", met=p50 <= most)
