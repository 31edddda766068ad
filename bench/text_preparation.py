"""Text preparation and retrieval measured, each beside what it is held against, in one run.

    python -m bench.text_preparation [--megabytes 700] [--part speed|change|public|retrieval] [--xquad FOLDER]

In: the texts of this machine (`bench.corpus`), and XQuAD where it lies beside the repository. Out: a table, and
`bench/results/text_preparation.json`; a part leaves the rows of other parts as they were. Data lies below the state
folder (about six times the corpus) and is removed at the end. What bounds the figures stands in
`docs/operations/text-preparation.md`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bench import retrieval
from bench.corpus import (
    LARGE_BYTES,
    link,
    texts_of_this_machine,
    write_changed,
    write_corpus,
    write_large_document,
)
from bench.preparation_runs import LangChain, Runs, watched_workers
from bench.public_data import data_set
from bench.report import Measure, report
from mlflow_project.settings import state_folder

SHARES = (0.01, 0.05, 0.2)
MOST_WORKER_BYTES = 0.5e9
PARTS = ("speed", "change", "public", "retrieval")


def main() -> None:
    """Measure what is asked for, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=700, help="size of the corpus (default 700)")
    parser.add_argument("--chunks", type=int, default=100_000, help="chunks to search in (default 100,000)")
    parser.add_argument("--part", choices=PARTS, help="one part only; each stays below ten minutes")
    parser.add_argument("--xquad", type=Path, help="XQuAD's folder (default ../shared/data/xquad)")
    given = parser.parse_args()
    xquad = data_set("xquad", "XQuAD's documents and questions", "how often its answers are found", given.xquad)
    texts = texts_of_this_machine(xquad)
    folder = state_folder() / "bench"
    shutil.rmtree(folder, ignore_errors=True)
    measured: dict[str, Callable[[], list[Measure]]] = {
        "speed": lambda: _with_spark(folder, texts, given.megabytes, speed),
        "change": lambda: _with_spark(folder, texts, given.megabytes, change),
        "public": lambda: _with_spark(folder, texts, given.megabytes, public),
        "retrieval": lambda: retrieval.measures(xquad, texts, given.chunks),
    }
    rows = [row for part in PARTS if given.part in (None, part) for row in measured[part]()]
    report("text_preparation", rows, f"Text preparation, {given.megabytes} MB", part=given.part is not None)


def _with_spark(
    folder: Path, texts: list[str], megabytes: int, part: Callable[[Runs, Path, list[Path]], Iterator[Measure]]
) -> list[Measure]:
    try:
        write_large_document(folder / "large" / "large.jsonl", texts)
        files = write_corpus(folder / "corpus", texts, megabytes - LARGE_BYTES // 1_000_000)
        runs = Runs(folder / "spark")
        try:
            return [_told(row) for row in part(runs, folder, files)]
        finally:
            runs.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _told(row: Measure) -> Measure:
    """Said at once: a run that is cut short has told what it found."""
    sys.stderr.write(f"{row.measure}: {row.value:.4g} {row.unit} ({row.against}; {row.ratio})\n")
    return row


def speed(runs: Runs, folder: Path, files: list[Path]) -> Iterator[Measure]:
    """How fast, against a copy and another splitter; how it grows; how much memory a worker takes."""
    large = folder / "large" / "large.jsonl"
    small = link(files[:1], folder / "small")
    with_large = link([*files[:1], large], folder / "small-and-large")
    whole = link([*files, large], folder / "whole")
    for warm_up in (runs.copy, runs.chunking, runs.preparation):
        warm_up(small)
    copied, chunked, other = runs.copy(whole), runs.chunking(whole), runs.chunking(whole, LangChain)
    with watched_workers() as largest:
        prepared, counts = runs.preparation(whole)
    size = _megabytes(whole)
    rate = "MB/s"
    yield _against("chunks to Delta", size / chunked, rate, "copy by Spark", size / copied, 0.65)
    yield _against("chunks and documents to Delta", size / prepared, rate, "copy by Spark", size / copied, 0.65)
    yield _against("chunks to Delta, our splitter", size / chunked, rate, "with LangChain's", size / other, 1.4)
    yield Measure("documents; chunks", counts.documents, "", f"{counts.chunks:,} chunks")
    yield Measure(
        "memory of the largest Python worker",
        largest() / 1e9,
        "GB",
        goal=f"<= {MOST_WORKER_BYTES / 1e9}",
        met=largest() <= MOST_WORKER_BYTES,
    )
    alone, both = (min(runs.preparation(each)[0] for _ in range(2)) for each in (small, with_large))
    growth = (prepared / size) / (alone / _megabytes(small))
    name = f"seconds a MB, {_megabytes(small):.0f} -> {size:.0f} MB"
    yield Measure(name, prepared / size, "s/MB", f"{alone / _megabytes(small):.3g}", growth, "<= 1.1", growth <= 1.1)
    share = alone * _megabytes(large.parent) / _megabytes(small)
    times = (both - alone) / share
    yield Measure("the 20 MB document", both - alone, "s", f"its share, {share:.3g} s", times, "<= 2", times <= 2)


def change(runs: Runs, folder: Path, files: list[Path]) -> Iterator[Measure]:
    """What it costs to run again: nothing changed, then 1, 5 and 20 % of the documents."""
    corpus, table = folder / "corpus", folder / "table"
    small, warm = link(files[:1], folder / "small"), folder / "warm"
    for warm_up in (runs.preparation, runs.preparation, runs.hashing):
        warm_up(small, warm)
    runs.preparation(_changed(files[:1], folder, SHARES[0]), warm)
    full, counts = runs.preparation(corpus, table)
    hashed = runs.hashing(corpus, table)
    unchanged, _ = runs.preparation(corpus, table)
    yield _against("unchanged corpus", 1 / unchanged, "runs/s", "reading and hashing", 1 / hashed, 0.7)
    changed, seconds = [], []
    for share in SHARES:
        took, found = runs.preparation(_changed(files, folder, share), table)
        changed.append(found.changed)
        seconds.append(took)
        yield Measure(f"{share:.0%} changed", took, "s", f"{found.changed:,} documents")
    slope, fixed = np.polyfit(changed, seconds, 1)
    each = full / counts.documents
    yield Measure("fixed cost of a change", float(fixed), "s", f"full run, {full:.3g} s", float(fixed) / full)
    ratio = float(slope) / each
    yield Measure(
        "each changed document",
        float(slope) * 1e3,
        "ms",
        f"full run, {each * 1e3:.3g} ms",
        ratio,
        "<= 1.5",
        ratio <= 1.5,
    )


def public(runs: Runs, folder: Path, files: list[Path]) -> Iterator[Measure]:
    """What the same preparation costs with Spark's public interfaces alone: a first run, then 1 % changed."""
    corpus, ours, theirs = folder / "corpus", folder / "ours", folder / "theirs"
    small = link(files[:1], folder / "small")
    for warm_up in (runs.copy, runs.preparation, runs.three_passes, runs.one_pass):
        warm_up(small)
    size, copied = _megabytes(corpus), runs.copy(corpus)
    for name, seconds in (
        ("ours", runs.preparation(corpus, ours)[0]),
        ("public interfaces, three passes", runs.three_passes(corpus)),
        ("public interfaces, one pass kept on the disk", runs.one_pass(corpus, theirs)),
    ):
        yield _against(f"preparation, {name}", size / seconds, "MB/s", "copy by Spark", size / copied, 0.5)
    changed = _changed(files, folder, SHARES[0])
    took, public_way = runs.preparation(changed, ours)[0], runs.one_pass(changed, theirs)
    yield Measure("1% changed, ours", took, "s", f"public interfaces, one pass, {public_way:.3g} s", took / public_way)


def _changed(files: list[Path], folder: Path, share: float) -> Path:
    """The corpus with a share of its documents changed, in place of the last one."""
    changed = folder / "changed"
    shutil.rmtree(changed, ignore_errors=True)
    write_changed(files, changed, share)
    return changed


def _against(name: str, ours: float, unit: str, other: str, theirs: float, goal: float) -> Measure:
    ratio = ours / theirs
    return Measure(name, ours, unit, f"{other}, {theirs:.4g} {unit}", ratio, f">= {goal}", ratio >= goal)


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


if __name__ == "__main__":
    main()
