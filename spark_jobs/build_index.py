"""Builds the search index of exactly one Delta version of a chunk table and publishes it once to the object store.

    spark-submit spark_jobs/build_index.py <chunk_table> [--version N] [--vectors]

In: the chunk table. Out: an immutable index named by its digest. Builds nothing if the table version has such an index
already. Spark computes vectors, only for chunks that have none, and keeps them in `<chunk_table>_vectors`. Spark starts
only if vectors are missing, so plain `python` runs this job as well.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from mlflow_project.adapters.delta_tables import batches, open_table
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.retrieval import embeddings, index_builder, index_store
from mlflow_project.adapters.retrieval.analysis import ANALYSIS
from mlflow_project.settings import StoreSettings, load
from spark_jobs import tables, vectors
from spark_jobs.program import Arguments, run
from spark_jobs.session import spark_job
from spark_jobs.tables import Tables

USAGE = "build_index.py <chunk_table> [--version N] [--vectors]"
FILTERS = "metadata/1"
"""The version of `filters_of`. Increase it when the function's results change."""
MOST_CHARACTERS = 200
"""Longer values are not stored for filters."""


def specification(with_vectors: bool) -> dict[str, Any]:
    """How an index is built. Indexes of the same table version and specification give the same answers."""
    return {"words": ANALYSIS, "vectors": embeddings.MODEL if with_vectors else None, "filters": FILTERS}


def build(store: ObjectStore, table: str, version: int | None, with_vectors: bool) -> dict[str, Any]:
    """Build and publish an index, unless there is one already.

    Raises:
        NotFound: there is no such table, or no such version of it.
    """
    at = Tables(tables.address(table))
    number = open_table(at.chunks, version).version()
    asked = specification(with_vectors)
    result = {"table": at.chunks, "delta_version": number, "vectors": with_vectors}
    found = index_store.find(store, at.chunks, number, asked)
    if found:
        return {**result, "index": found, "built": False, **index_store.manifest_of(store, found)["counts"]}
    if with_vectors:
        complete_vectors(at, number)
    with tempfile.TemporaryDirectory(prefix="index-") as scratch:
        counts = _build(Path(scratch), at, number, with_vectors)
        manifest = {"table": at.chunks, "delta_version": number, "specification": asked, "counts": counts}
        name = index_store.publish(store, Path(scratch), manifest)
    return {**result, "index": name, "built": True, **counts}


def complete_vectors(at: Tables, version: int) -> None:
    """Compute the vectors of chunks that have none. Starts Spark only if there are such chunks."""
    if vectors.are_complete(at, version):
        return
    with spark_job("build_index", f"Computing vectors of {at.chunks}") as spark:
        vectors.complete(spark, at, tables.read(spark, at.chunks, version))


def _build(folder: Path, at: Tables, version: int, with_vectors: bool) -> dict[str, int]:
    documents: set[str] = set()

    def rows() -> Iterator[tuple[Mapping[str, Any], Any]]:
        for row in _chunk_rows(at, version, with_vectors):
            documents.add(row["source_document_id"])
            yield index_row(row), np.frombuffer(row["vector"], dtype="<f4") if with_vectors else None

    count = index_builder.build(folder, rows())
    return {"chunks": count, "documents": len(documents)}


def _chunk_rows(at: Tables, version: int, with_vectors: bool) -> Iterator[dict[str, Any]]:
    opened = {"chunks": open_table(at.chunks, version)}
    query = "SELECT chunks.* FROM chunks"
    if with_vectors:
        opened["vectors"] = open_table(at.vectors)
        query = (
            "SELECT chunks.*, vectors.vector FROM chunks JOIN vectors ON chunks.chunk_id = vectors.chunk_id "
            f"WHERE vectors.model = '{embeddings.MODEL}'"
        )
    before = None
    for batch in batches(f'{query} ORDER BY chunks.source_document_id, chunks."index", chunks.chunk_id', opened):
        for row in batch.to_pylist():
            if row["chunk_id"] != before:  # a vector may be stored twice if two builders ran at once on a local disk
                yield row
            before = row["chunk_id"]


def index_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A chunk as a row of the index."""
    metadata = orjson.loads(row["metadata"] or "{}")
    return {
        "chunk_id": row["chunk_id"],
        "document_id": row["source_document_id"],
        "title": " > ".join(part for part in (row["title"], row["heading_path"]) if part),
        "text": row["text_content"],
        "start": row["start"],
        "end": row["end"],
        "filters": filters_of(metadata, row["language"]),
        **_pages_of(metadata),
    }


def _pages_of(metadata: Mapping[str, Any]) -> dict[str, list[int]]:
    """The numbers of the pages or slides of a chunk, if the preparation found any. A metadata field of the same name
    that a row of JSON brought is something else."""
    pages = metadata.get("pages")
    if "format" not in metadata or not isinstance(pages, list):
        return {}
    return {"pages": [each for each in pages if type(each) is int]}


def filters_of(metadata: Mapping[str, Any], language: str | None) -> dict[str, str | list[str]]:
    """The values that a search may filter on: texts, numbers, true, false, lists of these, and the language.

    Numbers and booleans are spelt as in JSON. The table's own language wins over a metadata field of that name.
    """
    every = {**metadata, "language": language} if language else metadata
    found: dict[str, str | list[str]] = {}
    for key, value in every.items():
        if isinstance(value, list):
            found[key] = [text for each in value if (text := _filter_value(each))]
        elif text := _filter_value(value):
            found[key] = text
    return found


def _filter_value(value: Any) -> str:
    text = (
        value
        if isinstance(value, str)
        else ""
        if value is None or isinstance(value, dict | list)
        else json.dumps(value)
    )
    return text if len(text) <= MOST_CHARACTERS else ""


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line. Anything wrong ends with the usage line and exit code 2."""
    parser = Arguments(USAGE, __doc__ or "")
    parser.add_argument("chunk_table")
    parser.add_argument("--version", type=int, help="the Delta version (default: the newest)")
    parser.add_argument("--vectors", action="store_true", help="also vectors, for hybrid search")
    return parser.parse_args(argv)


def job(options: argparse.Namespace) -> dict[str, Any]:
    """Build; the result as JSON-ready data."""
    started = time.monotonic()
    made = build(ObjectStore(load(StoreSettings)), options.chunk_table, options.version, options.vectors)
    return {**made, "seconds": round(time.monotonic() - started, 3)}


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    options = arguments(argv)
    return run(job, options, f"Search index of {options.chunk_table}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
