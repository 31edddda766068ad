"""The one pass over raw rows: each becomes a document, a known document, or a rejection; new documents are cut, and
they and their chunks are written to files that no commit names yet.

Runs on executors. In: raw rows, some at a time. Out: batches of `STAGED`: a light row for each raw row, a row for each
file that was written (`written`), and one with the counts of the task (`tally`, as JSON: a map would cost each row)
and, where nothing is known yet, its documents' ids in short (`ids`); all other columns are None there.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import Broadcast, TaskContext
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_schema

from mlflow_project.rules.chunking.records import Document
from spark_jobs.cutting import Cutter, chunk_rows, document_rows
from spark_jobs.examination import EXAMINED, Examiner, examined, new_among
from spark_jobs.folders import Folder
from spark_jobs.raw import Raw
from spark_jobs.rows import Row
from spark_jobs.table_files import WRITTEN, TableFile
from spark_jobs.tally import Tally, short_ids, tally

_TOLD = [("written", pa.struct(list(WRITTEN))), ("tally", pa.string()), ("ids", pa.binary())]
_SCHEMA = pa.schema([*EXAMINED, ("part", pa.string()), *_TOLD])
STAGED = from_arrow_schema(_SCHEMA)
MOST_FILE_BYTES = 64 << 20
"""A file is closed above this: input that cannot be split, gzip for one, still makes files of a good size."""


@dataclass(frozen=True)
class Stager:
    """What the pass must know: how to examine and to cut, where files go, the run's name, and its moment.

    `documents`: None where chunks alone are wanted.
    """

    examiner: Examiner
    cutter: Cutter
    chunks: Folder
    documents: Folder | None
    run: str
    moment: datetime


def stage(raw: Raw, stager: Stager, known: Broadcast[NDArray[np.uint64]]) -> DataFrame:
    """Examine all rows and write the documents whose hash is not in `known`."""
    return raw.through(partial(_stage, stager=stager, known=known), STAGED)


def _stage(rows: Iterator[list[Row]], stager: Stager, known: Broadcast[NDArray[np.uint64]]) -> Iterator[pa.RecordBatch]:
    _spare_the_collector()
    parts, counts, ids = _Parts(stager), Tally(), bytearray()
    for some in rows:
        found = [stager.examiner.find(place, value) for place, value in some]
        documents = [each for _, _, each in found if isinstance(each, Document)]
        new = new_among([each.document_hash for each in documents], known.value)
        if not len(known.value):
            ids += short_ids(each.document_id for each in documents)
        fresh = {each.document_hash for each, is_new in zip(documents, new, strict=True) if is_new}
        parts.write([each for each in documents if each.document_hash in fresh])
        columns = examined(found, fresh, stager.examiner)
        counts += tally(pa.RecordBatch.from_arrays(columns, schema=EXAMINED))
        names = pa.array([parts.name if is_new else None for is_new in columns[-1].to_pylist()], pa.string())
        nothing = [pa.nulls(len(found), kind) for _, kind in _TOLD]
        yield pa.RecordBatch.from_arrays([*columns, names, *nothing], schema=_SCHEMA)
        yield from parts.full()
    yield from parts.close()
    yield _told([{"tally": json.dumps(asdict(counts)), "ids": bytes(ids)}])


def _spare_the_collector() -> None:
    """Nothing here makes cycles, and looking for them among all chunks takes a fifth of the time; what is loaded stays,
    and Spark looks through all of it after each task."""
    gc.disable()
    gc.freeze()


class _Parts:
    """The files of one task, one after another: of a document table and of a chunk table, under one name.

    Names follow from run and task, so that a task that is done again writes the same files again.
    """

    def __init__(self, stager: Stager) -> None:
        self._stager = stager
        context = TaskContext.get()
        self._task = context.partitionId() if context else 0
        self._number = -1
        self._begin()

    def write(self, documents: list[Document]) -> None:
        """Cut and write documents; one that stands in this file already is not written twice."""
        own = list({each.document_hash: each for each in documents if each.document_hash not in self._held}.values())
        self._held.update(each.document_hash for each in own)
        if not own:
            return
        if self._documents:
            self._documents.write(document_rows(own, self._stager.cutter.splitter.name, self._stager.moment))
        for rows in chunk_rows(own, self._stager.cutter, self._stager.moment):
            self._chunks.write(rows)

    def full(self) -> Iterator[pa.RecordBatch]:
        """Go on with new files if these are large enough."""
        if max(self._chunks.size, self._documents.size if self._documents else 0) > MOST_FILE_BYTES:
            yield from self.close()
            self._begin()

    def close(self) -> Iterator[pa.RecordBatch]:
        """Finish the files; yields the rows that tell of them."""
        closed = [file.close() for file in (self._chunks, self._documents) if file]
        written = [each for each in closed if each]
        if written:
            yield _told([{"written": each._asdict()} for each in written])

    def _begin(self) -> None:
        self._number += 1
        self.name = f"part-{self._task:05d}-{self._number}-{self._stager.run}.zstd.parquet"
        self._held: set[str] = set()
        self._chunks = TableFile(self._stager.chunks, self.name, "source_document_id")
        own = self._stager.documents
        self._documents = TableFile(own, self.name, "document_id") if own else None


def _told(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema=_SCHEMA)
