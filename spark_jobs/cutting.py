"""Documents -> the rows of the chunk table. Runs on executors, on the documents that are new or changed only.

In: rows with `document_id`, `title`, `text`, `language`, `metadata`, `document_hash`, `blocks`. Out: rows of
`tables.CHUNKS`, a thousand at a time, so that a large document takes no more memory than small ones do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as f

from mlflow_project.rules.chunking.chunks import Chunk, chunks_of
from mlflow_project.rules.chunking.records import metadata_of_chunks
from mlflow_project.rules.chunking.splitter import Splitter
from spark_jobs import tables

_DOCUMENT = ["document_id", "text", "metadata", "blocks", "title", "language", "document_hash"]
_CUT = pa.schema(
    [
        ("chunk_id", pa.string()),
        ("source_document_id", pa.string()),
        ("text_content", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("index", pa.int32()),
        ("heading_path", pa.string()),
        ("metadata", pa.string()),
        ("title", pa.string()),
        ("language", pa.string()),
        ("document_hash", pa.string()),
    ]
)
_MOST_ROWS = 1024


@dataclass(frozen=True)
class Cutter:
    """Cuts documents with one splitter."""

    splitter: Splitter

    def chunks(self, document_id: str, text: str, metadata: str, blocks: Sequence[int] | None) -> list[Chunk]:
        """The chunks of a document; those of a conversation, whose turns are `blocks`, say which turns they hold."""
        if not blocks:
            return chunks_of(document_id, text, self.splitter)
        turns = list(zip(blocks[::2], blocks[1::2], strict=True))
        found = chunks_of(document_id, text, self.splitter, turns)
        told = metadata_of_chunks(metadata, [(chunk.start, chunk.end) for chunk in found])
        return [chunk._replace(metadata=own) for chunk, own in zip(found, told, strict=True)]


def cut(documents: DataFrame, cutter: Cutter) -> DataFrame:
    """All chunks of these documents, as rows of the chunk table."""
    kinds = ", ".join(f"{each.name} {'int' if pa.types.is_integer(each.type) else 'string'}" for each in _CUT)
    chunks = documents.select(*_DOCUMENT).mapInArrow(partial(_cut, cutter=cutter), kinds)
    stamped = chunks.withColumns({"processed_at": f.current_timestamp(), "splitter": f.lit(cutter.splitter.name)})
    return stamped.select(*tables.CHUNKS.names)


def _cut(batches: Iterator[pa.RecordBatch], cutter: Cutter) -> Iterator[pa.RecordBatch]:
    rows = (row for batch in batches for row in _rows(batch, cutter))
    while taken := list(islice(rows, _MOST_ROWS)):
        columns = zip(*taken, strict=True)
        arrays = [pa.array(column, each.type) for column, each in zip(columns, _CUT, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=_CUT)


def _rows(batch: pa.RecordBatch, cutter: Cutter) -> Iterator[tuple[Any, ...]]:
    for name, text, metadata, blocks, *kept in zip(*(column.to_pylist() for column in batch.columns), strict=True):
        for chunk in cutter.chunks(name, text, metadata, blocks):
            identity = chunk.chunk_id, name, chunk.text, chunk.start, chunk.end, chunk.number, chunk.heading_path
            yield (*identity, metadata if chunk.metadata is None else chunk.metadata, *kept)
