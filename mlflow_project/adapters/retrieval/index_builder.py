"""Chunks -> a folder that `index.open_index` can search: tantivy for words, the texts, and vectors where asked.

In: chunk rows `{chunk_id, document_id, title, text, start, end, filters}`; `filters` are the metadata that a search may
filter on, a field with one value or several. A chunk of a document with pages also has their numbers, as `pages`.
The folder is not yet named or described: `index_files.write_manifest` does that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import tantivy
from numpy.typing import NDArray

from mlflow_project.adapters.retrieval.analysis import TOKENIZER, analyzer
from mlflow_project.adapters.retrieval.chunk_file import ChunkWriter
from mlflow_project.errors import InvalidData

WORDS = "words"
VECTORS = "vectors.npy"
HEADS = "vector_heads.npy"
EMBEDDER = "embedder"
"""The folder of an ONNX sentence model, which embeds the questions for its index."""
RERANKER = "reranker"
"""The folder of an ONNX cross-encoder, which orders what a search in its index found."""
HEAD = 64
"""How many of a vector's first numbers choose candidates in a large index."""
READ_WHOLE = 20_000
"""Chunks. Up to here, reading all vectors whole costs about a millisecond."""


def build(
    folder: Path, rows: Iterable[tuple[Mapping[str, Any], Sequence[float] | None]], read_whole: int | None = READ_WHOLE
) -> int:
    """Write an index into an empty folder, of rows each with its vector (all have one, or none has).

    With more than `read_whole` chunks, searches read the heads of vectors first; None: never, because only WordLlama's
    vectors are known to bear that. Returns the number of chunks.

    Raises:
        InvalidData: the vectors do not all have the same number of dimensions.
    """
    words = folder / WORDS
    words.mkdir(parents=True)
    index = tantivy.Index(_schema(), path=str(words))
    index.register_tokenizer(TOKENIZER, analyzer())
    writer = index.writer(heap_size=64_000_000, num_threads=1)  # one thread: one order, one segment layout
    vectors: list[NDArray[np.float32]] = []
    with ChunkWriter(folder) as chunks:
        for ordinal, (row, vector) in enumerate(rows):
            chunks.write(row)
            writer.add_document(_document(ordinal, row))
            if vector is not None:
                vectors.append(np.asarray(vector, dtype=np.float32))
    writer.commit()
    writer.wait_merging_threads()
    for lock in words.glob("*.lock"):
        lock.unlink()
    if len(sizes := sorted({len(vector) for vector in vectors})) > 1:
        raise InvalidData(
            f"Chunks have vectors of {' and '.join(map(str, sizes))} dimensions: the model behind the endpoint has "
            "changed. Name the dimensions with --dimensions, which embeds all chunks anew."
        )
    if vectors:
        np.save(folder / VECTORS, np.stack(vectors))
    if read_whole is not None and len(vectors) > read_whole:
        np.save(folder / HEADS, np.stack([vector[:HEAD] for vector in vectors]))
    return chunks.count


def filter_term(key: str, value: str) -> str:
    """How a filter is spelt inside the index: two pairs never look alike."""
    return orjson.dumps([key, value]).decode()


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text", tokenizer_name=TOKENIZER, index_option="freq")
    builder.add_text_field("title", tokenizer_name=TOKENIZER, index_option="freq")
    builder.add_text_field("filters", tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("ordinal", fast=True)
    return builder.build()


def _document(ordinal: int, row: Mapping[str, Any]) -> tantivy.Document:
    document = tantivy.Document()
    document.add_unsigned("ordinal", ordinal)
    document.add_text("text", row["text"])
    document.add_text("title", row["title"])
    filters = {**row.get("filters", {}), "document_id": row["document_id"]}
    for key, values in filters.items():
        for value in [values] if isinstance(values, str) else values:
            document.add_text("filters", filter_term(key, value))
    return document
