"""Documents -> rows of the document table and of the chunk table, as Arrow tables. Runs on executors, on the documents
that are new or changed only.

Chunks come some thousands at a time, so that a large document takes no more memory than small ones do. What all chunks
of a document share (its id, title, hash) is a dictionary, written as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from mlflow_project.rules.chunking.chunks import Chunk, chunks_of
from mlflow_project.rules.chunking.records import Document, metadata_of_chunks
from mlflow_project.rules.chunking.splitter import Splitter

_MOST_ROWS = 4096
_MOMENT = pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class Cutter:
    """Cuts documents with one splitter."""

    splitter: Splitter

    def chunks(self, document: Document) -> list[Chunk]:
        """The chunks of a document; those of a conversation, whose turns are blocks, say which turns they hold."""
        found = chunks_of(document.document_id, document.text, self.splitter, document.blocks)
        if not document.blocks:
            return found
        told = metadata_of_chunks(document.metadata, [(chunk.start, chunk.end) for chunk in found])
        return [chunk._replace(metadata=own) for chunk, own in zip(found, told, strict=True)]


def document_rows(documents: Sequence[Document], splitter: str, moment: datetime) -> pa.Table:
    """Rows of `tables.DOCUMENTS`."""
    ids, titles, texts, languages, metadata, hashes, _ = zip(*documents, strict=True)
    own = {"document_id": ids, "title": titles, "text": texts, "language": languages, "metadata": metadata}
    columns = {name: pa.array(values, pa.string()) for name, values in {**own, "document_hash": hashes}.items()}
    return pa.table({**columns, **_of_the_run(len(documents), splitter, moment)})


def chunk_rows(documents: Sequence[Document], cutter: Cutter, moment: datetime) -> Iterator[pa.Table]:
    """Rows of `tables.CHUNKS`, in the order of the documents."""
    waiting: list[tuple[Document, list[Chunk]]] = []
    count = 0
    for document in documents:
        chunks = cutter.chunks(document)
        for begin in range(0, len(chunks), _MOST_ROWS):
            waiting.append((document, chunks[begin : begin + _MOST_ROWS]))
            count += len(waiting[-1][1])
            if count >= _MOST_ROWS:
                yield _table(waiting, cutter, moment)
                waiting, count = [], 0
    if waiting:
        yield _table(waiting, cutter, moment)


def _table(cut: list[tuple[Document, list[Chunk]]], cutter: Cutter, moment: datetime) -> pa.Table:
    every = [chunk for _, chunks in cut for chunk in chunks]
    ids, numbers, starts, ends, paths, texts, told = zip(*every, strict=True)
    owners = pa.array([place for place, (_, chunks) in enumerate(cut) for _ in chunks], pa.int32())

    def shared(name: str) -> pa.Array:
        values = pa.array([getattr(document, name) for document, _ in cut], pa.string())
        if values.null_count:
            return values.take(owners).dictionary_encode()  # Parquet takes no null that stands in a dictionary
        return pa.DictionaryArray.from_arrays(owners, values)

    metadata = shared("metadata") if not any(told) else _own_metadata(cut)
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
            "metadata": metadata,
            **_of_the_run(len(every), cutter.splitter.name, moment),
        }
    )


def _own_metadata(cut: list[tuple[Document, list[Chunk]]]) -> pa.Array:
    own = [
        document.metadata if chunk.metadata is None else chunk.metadata for document, chunks in cut for chunk in chunks
    ]
    return pa.array(own, pa.string()).dictionary_encode()


def _of_the_run(rows: int, splitter: str, moment: datetime) -> dict[str, Any]:
    named = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array([splitter]))
    return {"splitter": named, "processed_at": pa.repeat(pa.scalar(moment, _MOMENT), rows)}
