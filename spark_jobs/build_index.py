"""A search index of exactly one Delta version of a chunk table, published once to the object store.

    spark-submit spark_jobs/build_index.py <chunk_table> [--version N] [--vectors]

In: the chunk table. Out: an immutable index named by its digest. Where the table version has such an index already,
nothing is built. Vectors are computed in Spark, only for chunks that have none, and kept in `<chunk_table>_vectors`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from pyspark.sql import DataFrame, Row, SparkSession

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.retrieval import embeddings, index_builder, index_store
from mlflow_project.adapters.retrieval.analysis import ANALYSIS
from mlflow_project.errors import NotFound
from mlflow_project.settings import StoreSettings, load
from spark_jobs import tables, vectors
from spark_jobs.program import Arguments, run
from spark_jobs.session import spark_session, translated
from spark_jobs.tables import Tables

USAGE = "build_index.py <chunk_table> [--version N] [--vectors]"


def specification(with_vectors: bool) -> dict[str, Any]:
    """What an index is made with: indexes of equal specifications answer alike."""
    return {"words": ANALYSIS, "vectors": embeddings.MODEL if with_vectors else None}


def build(
    spark: SparkSession, store: ObjectStore, table: str, version: int | None, with_vectors: bool
) -> dict[str, Any]:
    """Build and publish, unless it was done before.

    Raises:
        NotFound: no such table.
    """
    at = Tables(tables.address(table))
    if not tables.exists(spark, at.chunks):
        raise NotFound(f"There is no chunk table at {table}: make one with `switchyard prepare <input> {table}`.")
    number = tables.version(spark, at.chunks) if version is None else version
    asked = specification(with_vectors)
    found = index_store.find(store, at.chunks, number, asked)
    said = {"table": at.chunks, "delta_version": number, "vectors": with_vectors}
    if found:
        counts = index_store.manifest_of(store, found)["counts"]
        return {**said, "index": found, "built": False, "counts": counts}
    chunks = tables.read(spark, at.chunks, number)
    made = vectors.complete(spark, at, chunks) if with_vectors else None
    with tempfile.TemporaryDirectory(prefix="index-") as scratch:
        counts = _build(Path(scratch), chunks, made)
        manifest = {"table": at.chunks, "delta_version": number, "specification": asked, "counts": counts}
        name = index_store.publish(store, Path(scratch), manifest)
    return {**said, "index": name, "built": True, "counts": counts}


def _build(folder: Path, chunks: DataFrame, made: DataFrame | None) -> dict[str, int]:
    whole = chunks if made is None else chunks.join(made, "chunk_id")
    documents: set[str] = set()

    def rows() -> Iterator[tuple[Mapping[str, Any], Any]]:
        for row in whole.orderBy("source_document_id", "index", "chunk_id").toLocalIterator(prefetchPartitions=True):
            documents.add(row["source_document_id"])
            yield index_row(row), None if made is None else np.frombuffer(row["vector"], dtype=np.float32)

    count = index_builder.build(folder, rows())
    return {"chunks": count, "documents": len(documents)}


def index_row(row: Row) -> dict[str, Any]:
    """A chunk as the index keeps it; metadata that is text, and the language, may be filtered on."""
    metadata = orjson.loads(row["metadata"] or "{}")
    filters = {key: value for key, value in metadata.items() if type(value) is str and len(value) <= 200}
    if row["language"]:
        filters["language"] = row["language"]
    return {
        "chunk_id": row["chunk_id"],
        "document_id": row["source_document_id"],
        "title": " > ".join(part for part in (row["title"], row["heading_path"]) if part),
        "text": row["text_content"],
        "start": row["start"],
        "end": row["end"],
        "filters": filters,
    }


def arguments(argv: list[str]) -> argparse.Namespace:
    """The command line; anything wrong ends with the usage line and exit code 2."""
    parser = Arguments(USAGE, __doc__ or "")
    parser.add_argument("chunk_table")
    parser.add_argument("--version", type=int, help="the Delta version (default: the newest)")
    parser.add_argument("--vectors", action="store_true", help="also vectors, for hybrid search")
    return parser.parse_args(argv)


def job(options: argparse.Namespace) -> dict[str, Any]:
    """Build; what was built as JSON-ready data."""
    started = time.monotonic()
    store = ObjectStore(load(StoreSettings))
    spark = spark_session("build_index")
    try:
        with translated(f"Building an index of {options.chunk_table}"):
            made = build(spark, store, options.chunk_table, options.version, options.vectors)
    finally:
        spark.stop()
    return {**made, "seconds": round(time.monotonic() - started, 3)}


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    options = arguments(argv)
    return run(job, options, f"Search index of {options.chunk_table}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
