"""Retrieval measured: how often answers are found by words, by vectors and by both, and speed over 100,000 chunks.

    python -m bench.retrieval

Also part of `bench.text_preparation`. All ways run over the same index, in process. What bounds the speed: of words,
tantivy's posting lists of common words; of both, one reading of the first quarter of all vectors.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.corpus import texts_of_this_machine
from bench.public_data import data_set
from bench.question_sets import QuestionSet, question_sets
from bench.report import Measure, report
from mlflow_project.adapters.retrieval import embeddings, index_builder
from mlflow_project.adapters.retrieval.index import Index, open_index
from mlflow_project.adapters.retrieval.index_files import write_manifest
from mlflow_project.domain.answer import Context
from mlflow_project.domain.release import Retrieval
from mlflow_project.rules.chunking.chunks import chunks_of
from mlflow_project.rules.chunking.splitter import Splitter

DEPTH = 10
WAYS = {
    "words": Retrieval(DEPTH, 1.0, 0.0),
    "vectors": Retrieval(DEPTH, 0.0, 1.0),
    "ranks 1 : 1": Retrieval(DEPTH, 1.0, 1.0, fusion="ranks"),
    "scores 1 : 0.5": Retrieval(DEPTH, 1.0, 0.5, fusion="scores"),
    "default": Retrieval(DEPTH, fusion="scores"),
}
LEAST = {("XQuAD", 5): 0.975}
TIMED = 300
AT_ONCE = 512
RESAMPLES = 2_000


def main() -> None:
    """Measure, and report."""
    xquad = data_set("xquad", "XQuAD's documents and questions", "how often its answers are found")
    report("retrieval", measures(xquad, texts_of_this_machine(xquad), 100_000), "Retrieval")


def measures(xquad: Path | None, texts: Sequence[str], chunks: int) -> list[Measure]:
    """Measure quality over each question set, then speed over their documents and enough of the machine's texts."""
    sets = list(question_sets(xquad))
    others = [{"id": str(number), "title": f"Text {number}", "text": text} for number, text in enumerate(texts)]
    documents = [document for each in sets for document in each.documents]
    with tempfile.TemporaryDirectory() as scratch:
        found = [row for at, each in enumerate(sets) for row in _quality(each, Path(scratch) / f"set-{at}")]
        large = _built(Path(scratch) / "large", islice(_rows([*documents, *others]), chunks))
        return [*found, *_speed(large, sets[0].questions[:TIMED])]


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


def _quality(given: QuestionSet, folder: Path) -> Iterator[Measure]:
    index = _built(folder, _rows(given.documents))
    hits = {name: _ranks(index, given.questions, retrieval) for name, retrieval in WAYS.items()}
    for at in (1, 5, 10):
        shares = {name: float((ranks <= at).mean()) for name, ranks in hits.items()}
        better = max(("words", "vectors"), key=lambda name: shares[name])
        is_below = _is_below((hits["default"] <= at).astype(float) - (hits[better] <= at))
        least = LEAST.get((given.name, at), 0.0)
        yield Measure(
            f"{given.name} ({len(given.questions):,} questions), hit@{at}, default",
            shares["default"],
            "share",
            ", ".join(f"{name} {share:.3f}" for name, share in shares.items() if name != "default"),
            shares["default"] / shares[better],
            f"not significantly below {better}" + (f", and >= {least}" if least else ""),
            not is_below and shares["default"] >= least,
        )


def _ranks(index: Index, questions: Sequence[dict[str, Any]], retrieval: Retrieval) -> NDArray[np.float64]:
    """For each question, the place of the first chunk of its own document that holds an answer; infinity for none."""
    return np.array([_rank(index.search(each["question"], retrieval), each) for each in questions])


def _rank(contexts: Sequence[Context], question: dict[str, Any]) -> float:
    for place, context in enumerate(contexts, start=1):
        if context.document_id == question["document_id"] and any(each in context.text for each in question["answers"]):
            return place
    return math.inf


def _is_below(difference: NDArray[np.float64]) -> bool:
    """Return whether the mean of paired differences is below 0: the bootstrap's 95 % interval lies below it."""
    drawn = np.random.default_rng(7).integers(0, len(difference), (RESAMPLES, len(difference)))
    return bool(np.quantile(difference[drawn].mean(axis=1), 0.975) < 0)


def _speed(index: Index, questions: Sequence[dict[str, Any]]) -> Iterator[Measure]:
    for name, retrieval, most in (("words", WAYS["words"], 1), ("hybrid", WAYS["default"], 8)):
        index.search(questions[0]["question"], retrieval)
        times = []
        for each in questions:
            started = time.perf_counter()
            index.search(each["question"], retrieval)
            times.append((time.perf_counter() - started) * 1e3)
        p50 = statistics.median(times)
        yield Measure(f"{name} over {len(index):,} chunks, p50", p50, "ms", goal=f"<= {most}", met=p50 <= most)


if __name__ == "__main__":
    main()
