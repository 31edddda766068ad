"""Finds the raw row that a document was read from, and checks that it still says the same.

In: a row of the documents table. Its columns `source_…` say in which file and line, or at which topic, partition and
offset (`topic/partition/offset` in `source_file`), its preparation read it. Out: a sentence, or what does not fit.
Objects of the store are looked up in their older versions too, because raw files are often replaced.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mlflow_project.adapters.delta_tables import open_table, read
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import NotFound
from mlflow_project.lineage.steps import Broken, Unrecorded
from mlflow_project.rules.chunking.records import Document, Fields, read_line

_RECORD = re.compile(r"([A-Za-z0-9._-]+)/([0-9]+)/([0-9]+)")
_MOST_BYTES = 1 << 30
_MOST_VERSIONS = 50
_PACKED = (".bz2", ".deflate", ".snappy", ".lz4", ".zst")

Place = Mapping[str, Any]
"""Where a raw row is: `file`, `block` (byte offset) and `line` (from 0, in the block), or `topic`, `partition` and
`offset`. Without what is not known."""


def place_of(document: Mapping[str, Any]) -> Place | None:
    """Where a document was read; None if its preparation did not record it."""
    file = document.get("source_file")
    if file is None:
        return None
    record = _RECORD.fullmatch(file)
    if record is not None:
        return {"topic": record[1], "partition": int(record[2]), "offset": int(record[3])}
    return {"file": file, "block": document["source_block"], "line": document["source_line"]}


def is_record(source_file: str) -> bool:
    """Whether a source is a record of Kafka, as `topic/partition/offset`, and no file."""
    return _RECORD.fullmatch(source_file) is not None


def check_raw(store: ObjectStore, document: Mapping[str, Any], raw_tables: Sequence[str] = ()) -> str:
    """Find a document in the raw file that it was read from, or in one of these raw tables of ingestion.

    Raises:
        Broken: the file is gone, or holds no row that gives this document. Unrecorded: the place was not recorded, or
            the file has a format that only a preparation reads.
    """
    place = place_of(document)
    if place is None:
        raise Unrecorded("its preparation did not record where it was read; the next one does")
    if "topic" in place:
        return _in_raw_tables(place, document, raw_tables)
    address = str(place["file"])
    number = 0
    for number, (version, content) in enumerate(_contents(store, address), start=1):
        line = _row_of_parquet(content, document) if content[:4] == b"PAR1" else _line_with(content, document, place)
        if line is not None:
            since = "" if number == 1 else f" in version {version} of the object; the file was replaced since"
            return f"{address}{line}{since}"
        if _has_own_format(document):
            raise Unrecorded(f"{address} is there; only a preparation reads the text of its format again")
    if not number:
        raise Broken(f"{address}, from which it was read, is gone")
    raise Broken(f"no row of {address}, from which it was read, gives this document, in any version of the file")


def _in_raw_tables(place: Place, document: Mapping[str, Any], raw_tables: Sequence[str]) -> str:
    record = f"topic {place['topic']}, partition {place['partition']}, offset {place['offset']}"
    where = f"topic = '{place['topic']}' AND partition = {place['partition']} AND \"offset\" = {place['offset']}"
    for address in raw_tables:
        rows = read(f"SELECT value FROM here WHERE {where}", {"here": open_table(address)}).to_pylist()
        if any(_gives((row["value"] or "").encode(), document) for row in rows):
            return f"{record}, in the raw table {address}"
    if not raw_tables:
        raise Unrecorded(f"it came as {record}; no commit of the documents names the raw table that keeps it")
    raise Broken(f"it came as {record}, and {', '.join(raw_tables)} has no such record that gives this document")


def _contents(store: ObjectStore, address: str) -> Iterator[tuple[str, bytes]]:
    """The versions of a file with their content, the newest first. A local file has one."""
    if address.endswith(_PACKED):
        raise Unrecorded(f"{address} is packed in a way that this command does not read")
    parts = urlsplit(address)
    if parts.scheme in ("", "file"):
        path = Path(unquote(parts.path))
        if path.is_file():
            yield "", _unpacked(path.read_bytes())
        return
    if parts.scheme not in ("s3a", "s3"):
        raise Unrecorded(f"{address} lies on a file system that this command does not read")
    key = unquote(address.partition("://")[2].partition("/")[2])
    try:
        found = [each for each in store.versions(parts.netloc, key) if each.key == key and not each.deleted]
    except NotFound:
        return
    for each in found[:_MOST_VERSIONS]:
        if each.size > _MOST_BYTES:
            raise Unrecorded(f"{address} has {each.size:,} bytes, and this command reads files up to {_MOST_BYTES:,}")
        yield each.version_id or "", _unpacked(store.get(parts.netloc, key, each.version_id))


def _unpacked(content: bytes) -> bytes:
    try:
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error):
        return content


def _has_own_format(document: Mapping[str, Any]) -> bool:
    """Whether the document came from a PDF or another format that is no text."""
    return "format" in orjson.loads(document["metadata"] or "{}")


def _row_of_parquet(content: bytes, document: Mapping[str, Any]) -> str | None:
    """Which row of a Parquet file has this id and this text, whatever its columns are called. Its other columns are not
    compared, because Spark writes them as JSON in its own way."""
    for number, row in enumerate(pq.read_table(pa.BufferReader(content)).to_pylist(), start=1):
        values = [str(value) for value in row.values()]
        if document["document_id"] in values and document["text"] in values:
            return f", row {number}"
    return None


def _line_with(content: bytes, document: Mapping[str, Any], place: Place) -> str | None:
    """Where the content gives exactly this document: `, line 7`, or nothing for a file that is the document."""
    if content.decode("utf-8-sig", "replace") == document["text"]:
        return ""
    lines = content.split(b"\n")
    first = content.count(b"\n", 0, place.get("block") or 0) + (1 if place.get("block") else 0)
    likely = first + int(place.get("line") or 0)
    for number in (likely, *range(len(lines))):
        if number < len(lines) and _gives(lines[number], document):
            return f", line {number + 1}"
    return None


def _gives(line: bytes, document: Mapping[str, Any]) -> bool:
    """Whether a line, read as a preparation reads it, is this document. Any names of fields are taken, because a
    preparation may be told others."""
    if orjson.dumps(document["document_id"])[1:-1] not in line and b"\\" not in line:
        return False  # most lines; parsing each takes long
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    if type(row) is not dict:
        return False
    found = read_line(line, _fields(row, document))
    return isinstance(found, Document) and found.document_hash == document["document_hash"]


def _fields(row: Mapping[str, Any], document: Mapping[str, Any]) -> Fields:
    """The names under which this row has the values of the document. Ours come first, where several fit."""
    usual = Fields()

    def name_of(value: Any, ours: str) -> str:
        if row.get(ours) == value or value in (None, ""):
            return ours
        return next((name for name, held in row.items() if held == value), ours)

    turns = (
        usual.messages if usual.messages in row else next((name for name, it in row.items() if type(it) is list), "")
    )
    return Fields(
        name_of(document["document_id"], usual.id),
        name_of(document["text"], usual.text),
        name_of(document["title"], usual.title),
        name_of(document["language"], usual.language),
        turns or usual.messages,
    )
