"""Reads the texts that answers rest on: chunks of an index, chunks and documents of Delta tables at a version.

In: ids, and the index or table version that must have them. Out: rows by id. What is missing is left out, and whoever
asked says so.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from deltalake import DeltaTable

from mlflow_project.adapters.delta_tables import open_table, read
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.retrieval import index_store
from mlflow_project.adapters.retrieval.chunk_file import LINES
from mlflow_project.adapters.text_quality import documents_commit, text_quality
from mlflow_project.domain.text_quality import TextQuality
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.lineage.steps import Broken, Unrecorded
from mlflow_project.settings import state_folder

Rows = dict[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Documents:
    """A table of documents at a version, and the addresses of the raw tables of ingestion that it was made from."""

    table: DeltaTable
    raw_tables: tuple[str, ...]


@dataclass(frozen=True)
class Restored:
    """A commit that put a table back to an earlier version."""

    version: int
    to_version: int


def index_chunks(store: ObjectStore, index: str, ids: Iterable[str]) -> Rows:
    """Chunks of an index, by id. All files of the index are checked against its digest first.

    Raises:
        NotFound: there is no such index. InvalidData: it was changed or damaged.
    """
    lines = _fetched(store, index)
    if not lines.stat().st_size:
        return {}
    with lines.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = {chunk_id: _line_of(content, chunk_id) for chunk_id in ids}
    return {chunk_id: row for chunk_id, row in found.items() if row is not None}


def all_of_index(store: ObjectStore, index: str) -> Iterator[Mapping[str, Any]]:
    """Every chunk of an index, after all its files were checked. Raises as `index_chunks` does."""
    with _fetched(store, index).open("rb") as lines:
        for line in lines:
            yield orjson.loads(line)


def _fetched(store: ObjectStore, index: str) -> Path:
    """The file with the chunks of an index, on this machine's disk."""
    kept = state_folder() / "evaluation" / "indexes"
    kept.mkdir(parents=True, exist_ok=True)
    return index_store.fetch(store, index, kept) / LINES


def _line_of(content: mmap.mmap, chunk_id: str) -> Mapping[str, Any] | None:
    wanted = b'"chunk_id":' + orjson.dumps(chunk_id)
    at = content.find(wanted)
    while at >= 0:
        start, end = content.rfind(b"\n", 0, at) + 1, content.find(b"\n", at)
        row: Mapping[str, Any] = orjson.loads(content[start:end])
        if row["chunk_id"] == chunk_id:  # a document may have a metadata field of this name
            return row
        at = content.find(wanted, end)
    return None


def table_chunks(table: DeltaTable, rows: Iterable[Mapping[str, Any]]) -> Rows:
    """The table's rows of these chunks of an index, by chunk id."""
    some = list(rows)
    where = f"{_among('source_document_id', [row['document_id'] for row in some])} AND "
    where += _among("chunk_id", [row["chunk_id"] for row in some])
    return _by(table, "chunk_id", where) if some else {}


def documents(table: DeltaTable, ids: Iterable[str]) -> Rows:
    """The table's documents of these ids."""
    wanted = sorted(set(ids))
    return _by(table, "document_id", _among("document_id", wanted)) if wanted else {}


def sources_of(table: DeltaTable) -> dict[str, str]:
    """By document, the raw file or record of Kafka that it was read from. Documents that do not say it are left out."""
    if "source_file" not in {field.name for field in table.schema().fields}:
        return {}  # written before documents said where they were read
    query = "SELECT document_id, source_file FROM here WHERE source_file IS NOT NULL"
    return {row["document_id"]: row["source_file"] for row in read(query, {"here": table}).to_pylist()}


def table_at(address: str, version: int) -> DeltaTable:
    """A table at a version, for reading.

    Raises:
        Broken: the table has no such version any more.
    """
    try:
        return open_table(address, version)
    except (InvalidData, NotFound) as error:
        newest = _newest(address)
        there = "there is no table" if newest is None else f"its newest version is {newest}"
        raise Broken(f"{address} cannot be read at version {version}, and {there}: {error}") from error


def documents_at(chunk_table: str, chunks_version: int) -> Documents:
    """The table of documents, at the version that belongs to a version of the chunk table. A preparation notes with its
    commit of the documents which version of the chunks it left.

    Raises:
        Unrecorded: no preparation has noted this version. Broken: the table cannot be read.
    """
    address = f"{chunk_table}_documents"
    try:
        found = documents_commit(chunk_table, chunks_version)
    except (InvalidData, NotFound) as error:
        raise Broken(f"the documents of {chunk_table} cannot be read: {error}") from error
    if found is None:
        raise Unrecorded(f"no commit of {address} says that it belongs to version {chunks_version} of {chunk_table}")
    version, note = found
    return Documents(table_at(address, version), tuple(note.get("seen") or ()))


def quality_at(chunk_table: str, chunks_version: int) -> TextQuality:
    """The counts of documents, chunks and rows in quarantine that belong to a version of the chunk table.

    Raises:
        Unrecorded: no preparation noted this version, or a table that it noted cannot be read.
    """
    try:
        return text_quality(chunk_table, chunks_version)
    except (InvalidData, NotFound) as error:
        raise Unrecorded(f"the quality of the texts cannot be read: {error}") from error


def restored_since(address: str, version: int) -> list[Restored]:
    """The commits after a version that put the table back to an earlier one, the newest first."""
    table = open_table(address)
    found = []
    for back, commit in enumerate(table.history()):
        at = int(table.version()) - back
        if at > version and commit.get("operation") == "RESTORE":
            parameters = commit.get("operationParameters") or {}
            found.append(Restored(at, int(parameters.get("version", -1))))
    return found


def _newest(address: str) -> int | None:
    try:
        return int(open_table(address).version())
    except (InvalidData, NotFound):
        return None


def _by(table: DeltaTable, key: str, where: str) -> Rows:
    return {row[key]: row for row in read(f"SELECT * FROM here WHERE {where}", {"here": table}).to_pylist()}


def _among(column: str, values: Iterable[str]) -> str:
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} IN ({quoted})"
