"""Builds the search index of exactly one Delta version of a chunk table and publishes it once to the object store.

    spark-submit spark_jobs/build_index.py <chunk_table> [--version N] [--vectors] [--embedder EMBEDDER]
                                           [--endpoint NAME] [--dimensions N] [--max-length N] [--per-minute N]
                                           [--reranker RERANKER] [--reranker-endpoint NAME]

In: the chunk table. Out: an immutable index named by its digest. Builds nothing if the table version has such an index
already. Vectors are computed only for chunks that have none of this embedder, and kept in `<chunk_table>_vectors`.
WordLlama's are computed by Spark, which starts only if some are missing, so plain `python` runs this job as well.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from mlflow_project.adapters import run_flows
from mlflow_project.adapters.delta_tables import batches, open_table
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.retrieval import index_builder, index_store, sentence_model
from mlflow_project.adapters.retrieval.analysis import ANALYSIS
from mlflow_project.adapters.retrieval.specification import Embedder, Reranker
from mlflow_project.errors import InvalidData
from mlflow_project.settings import StoreSettings, load
from spark_jobs import embedding, tables, vectors
from spark_jobs.embedding import Chosen, ChosenReranker, Spent
from spark_jobs.program import Arguments, Lineage, run
from spark_jobs.session import spark_job
from spark_jobs.tables import Tables

USAGE = (
    "build_index.py <chunk_table> [--version N] [--vectors] [--embedder EMBEDDER] [--endpoint NAME] [--dimensions N] "
    "[--max-length N] [--per-minute N] [--reranker RERANKER] [--reranker-endpoint NAME]"
)
FILTERS = "metadata/1"
"""The version of `filters_of`. Increase it when the function's results change."""
MOST_CHARACTERS = 200
"""Longer values are not stored for filters."""


def specification(embedder: Embedder | None, reranker: Reranker | None = None) -> dict[str, Any]:
    """How an index is built. Indexes of the same table version and specification give the same answers."""
    made = {"words": ANALYSIS, "vectors": embedder.to_data() if embedder else None, "filters": FILTERS}
    return {**made, "reranker": reranker.to_data()} if reranker else made


def build(
    store: ObjectStore,
    table: str,
    version: int | None,
    embedder: bool | Chosen,
    per_minute: float | None = None,
    reranker: ChosenReranker | None = None,
) -> dict[str, Any]:
    """Build and publish an index, unless there is one already.

    Args:
        embedder: where vectors come from; True: WordLlama; False: the index finds words only.
        per_minute: the most requests to an endpoint in a minute; None: no limit of ours.
        reranker: what orders the chunks of a search whose template asks for it.

    Raises:
        NotFound: there is no such table, or no such version of it.
        ProviderError: the endpoint failed. The vectors that it gave are kept, and the next build asks for the rest.
    """
    chosen = (Chosen(Embedder()) if embedder else None) if isinstance(embedder, bool) else embedder
    at = Tables(tables.address(table))
    number = open_table(at.chunks, version).version()
    asked = specification(chosen.embedder if chosen else None, reranker.reranker if reranker else None)
    result = {
        "table": at.chunks,
        "delta_version": number,
        "vectors": chosen is not None,
        "embedder": chosen.embedder.name if chosen else None,
    }
    found = index_store.find(store, at.chunks, number, asked)
    if found:
        return {**result, "index": found, "built": False, **index_store.manifest_of(store, found)["counts"]}
    spent = complete_vectors(at, number, chosen, per_minute) if chosen else None
    with tempfile.TemporaryDirectory(prefix="index-") as scratch:
        counts, dimensions = _build(Path(scratch), at, number, chosen)
        if reranker and reranker.folder is not None:
            sentence_model.copy_files(reranker.folder, Path(scratch) / index_builder.RERANKER)
        manifest = {"table": at.chunks, "delta_version": number, "specification": asked, "counts": counts}
        if dimensions is not None:
            manifest["dimensions"] = dimensions
        name = index_store.publish(store, Path(scratch), manifest)
    return {**result, "index": name, "built": True, **counts, **({"embedded": asdict(spent)} if spent else {})}


def complete_vectors(at: Tables, version: int, chosen: Chosen, per_minute: float | None = None) -> Spent | None:
    """Compute the vectors of chunks that have none. Returns what that cost, None for WordLlama.

    Starts Spark for WordLlama alone, and only if there are such chunks.
    """
    if chosen.embedder.kind != "wordllama":
        return embedding.complete(at, version, chosen, per_minute)
    if not vectors.are_complete(at, version):
        with spark_job("build_index", f"Computing vectors of {at.chunks}") as spark:
            vectors.complete(spark, at, tables.read(spark, at.chunks, version))
    return None


def _build(folder: Path, at: Tables, version: int, chosen: Chosen | None) -> tuple[dict[str, int], int | None]:
    """Write the index. Returns how many chunks and documents it has, and the dimensions of its vectors."""
    documents: set[str] = set()
    dimensions: set[int] = set()

    def rows() -> Iterator[tuple[Mapping[str, Any], Any]]:
        for row in _chunk_rows(at, version, chosen):
            documents.add(row["source_document_id"])
            vector = np.frombuffer(row["vector"], dtype="<f4") if chosen else None
            if vector is not None:
                dimensions.add(len(vector))
            yield index_row(row), vector

    is_wordllama = chosen is None or chosen.embedder.kind == "wordllama"
    count = index_builder.build(folder, rows(), index_builder.READ_WHOLE if is_wordllama else None)
    if chosen and chosen.folder is not None:
        sentence_model.copy_files(chosen.folder, folder / index_builder.EMBEDDER)
    return {"chunks": count, "documents": len(documents)}, max(dimensions, default=None)


def _chunk_rows(at: Tables, version: int, chosen: Chosen | None) -> Iterator[dict[str, Any]]:
    opened = {"chunks": open_table(at.chunks, version)}
    query = "SELECT chunks.* FROM chunks"
    if chosen:
        opened["vectors"] = open_table(at.vectors)
        query = (
            "SELECT chunks.*, vectors.vector FROM chunks JOIN vectors ON chunks.chunk_id = vectors.chunk_id "
            f"WHERE vectors.model = '{chosen.embedder.key}'"
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
    parser.add_argument("--embedder", help="wordllama, openai:MODEL, gemini:MODEL or onnx:FOLDER; implies --vectors")
    parser.add_argument("--endpoint", help="an endpoint of providers.yaml (default: LLM_API_URL)")
    parser.add_argument("--dimensions", type=at_least_1, help="cut vectors to so many numbers")
    parser.add_argument("--max-length", type=at_least_1, help="cut texts after so many characters, or tokens (onnx)")
    parser.add_argument("--reranker", help="onnx:FOLDER or endpoint:MODEL")
    parser.add_argument("--reranker-endpoint", help="an endpoint of providers.yaml (default: LLM_API_URL)")
    parser.add_argument("--per-minute", type=at_least_1, help="the most requests to an endpoint in a minute")
    return parser.parse_args(argv)


def at_least_1(text: str) -> int:
    """Read an option that is a whole number from 1.

    Raises:
        ArgumentTypeError: it is not.
    """
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def job(options: argparse.Namespace) -> dict[str, Any]:
    """Build; the result as JSON-ready data."""
    started = time.monotonic()
    store, embedder = ObjectStore(load(StoreSettings)), options.embedder or "wordllama"
    with tempfile.TemporaryDirectory(prefix="sentence-model-") as scratch:
        asked = (embedder, options.endpoint, options.dimensions, options.max_length)
        chosen = embedding.choose(*asked, store, Path(scratch))
        with_vectors = options.vectors or options.embedder is not None
        reranker = _reranker(options, store, Path(scratch) / "reranker")
        built = (options.chunk_table, options.version, chosen if with_vectors else False, options.per_minute)
        made = build(store, *built, reranker)
    return {**made, "seconds": round(time.monotonic() - started, 3)}


def _reranker(options: argparse.Namespace, store: ObjectStore, scratch: Path) -> ChosenReranker | None:
    if options.reranker is None:
        if options.reranker_endpoint:
            raise InvalidData("--reranker-endpoint is for the reranker endpoint:MODEL: name one with --reranker.")
        return None
    return embedding.choose_reranker(options.reranker, options.reranker_endpoint, store, scratch)


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    options = arguments(argv)
    flow = partial(run_flows.indexed, tables.address(options.chunk_table))
    return run(job, options, f"Search index of {options.chunk_table}", lineage=Lineage("index", flow))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
