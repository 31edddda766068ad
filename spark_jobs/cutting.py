"""Turns documents into rows of the document table and of the chunk table. Runs on executors.

In: documents. Out: Arrow tables; those of chunks have some thousand rows each, so a large document takes no more memory
than many small ones. Values that all chunks of a document share (its id, title, hash) are Arrow dictionaries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from mlflow_project.rules.chunking.chunks import Chunk, chunks_of
from mlflow_project.rules.chunking.records import Document, metadata_by_page, metadata_of_chunks
from mlflow_project.rules.chunking.splitter import Splitter
from spark_jobs.rows import SourceLocation
from spark_jobs.tables import DOCUMENTS, TIMESTAMP

_MOST_ROWS = 4096


@dataclass(frozen=True)
class Cutter:
    """Cuts documents with one splitter."""

    splitter: Splitter

    def chunks(self, document: Document) -> list[Chunk]:
        """The chunks of a document. The metadata of a chunk say which turns of a conversation it holds, or on which
        pages it is."""
        found = chunks_of(document.document_id, document.text, self.splitter, document.blocks)
        if not document.blocks and not document.has_pages:
            return found
        of_chunks = metadata_of_chunks if document.blocks else metadata_by_page
        metadata = of_chunks(document.metadata, [(chunk.start, chunk.end) for chunk in found])
        return [chunk._replace(metadata=own) for chunk, own in zip(found, metadata, strict=True)]


def document_rows(
    documents: Sequence[Document], splitter: str, started_at: datetime, locations: Sequence[SourceLocation] = ()
) -> pa.Table:
    """Rows of `tables.DOCUMENTS`. `locations` has the location of each document's raw row; empty: not known."""
    own = [name for name in DOCUMENTS.names if name in Document._fields]
    columns = {name: pa.array([getattr(each, name) for each in documents], pa.string()) for name in own}
    nowhere = [None] * len(documents)
    files, blocks, lines = zip(*locations, strict=True) if locations else (nowhere, nowhere, nowhere)
    places = {"source_file": files, "source_block": blocks, "source_line": lines}
    columns |= {name: pa.array(values, DOCUMENTS.field(name).type) for name, values in places.items()}
    return pa.table({**columns, **_same_in_each_row(len(documents), splitter, started_at)})


def chunk_rows(documents: Sequence[Document], cutter: Cutter, started_at: datetime) -> Iterator[pa.Table]:
    """Rows of `tables.CHUNKS`, in the order of the documents."""
    waiting: list[tuple[Document, list[Chunk]]] = []
    count = 0
    for document in documents:
        chunks = cutter.chunks(document)
        for begin in range(0, len(chunks), _MOST_ROWS):
            waiting.append((document, chunks[begin : begin + _MOST_ROWS]))
            count += len(waiting[-1][1])
            if count >= _MOST_ROWS:
                yield _table(waiting, cutter, started_at)
                waiting, count = [], 0
    if waiting:
        yield _table(waiting, cutter, started_at)


def _table(cut: list[tuple[Document, list[Chunk]]], cutter: Cutter, started_at: datetime) -> pa.Table:
    every = [chunk for _, chunks in cut for chunk in chunks]
    ids, numbers, starts, ends, paths, texts, own_metadata = zip(*every, strict=True)
    owners = pa.array([owner for owner, (_, chunks) in enumerate(cut) for _ in chunks], pa.int32())

    def shared(name: str) -> pa.Array:
        values = pa.array([getattr(document, name) for document, _ in cut], pa.string())
        if values.null_count:
            return values.take(owners).dictionary_encode()  # Parquet accepts no null as an entry of a dictionary
        return pa.DictionaryArray.from_arrays(owners, values)

    return pa.table(
        {
            "chunk_id": pa.array(ids, pa.string()),
            "source_document_id": shared("document_id"),
            "text_content": pa.array(texts, pa.string()),
            "start": pa.array(starts, pa.int32()),
            "end": pa.array(ends, pa.int32()),
            "index": pa.array(numbers, pa.int32()),
            "title": shared("title"),
            "heading_path": pa.array(paths, pa.string()),
            "language": shared("language"),
            "document_hash": shared("document_hash"),
            "metadata": _metadata(cut) if any(own_metadata) else shared("metadata"),
            **_same_in_each_row(len(every), cutter.splitter.name, started_at),
        }
    )


def _metadata(cut: list[tuple[Document, list[Chunk]]]) -> pa.Array:
    own = [
        document.metadata if chunk.metadata is None else chunk.metadata for document, chunks in cut for chunk in chunks
    ]
    return pa.array(own, pa.string()).dictionary_encode()


def _same_in_each_row(rows: int, splitter: str, started_at: datetime) -> dict[str, Any]:
    named = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array([splitter]))
    return {"splitter": named, "processed_at": pa.repeat(pa.scalar(started_at, TIMESTAMP), rows)}
