"""Records of Kafka -> checked rows: the columns of a raw table, or why a record is a dead letter.

In: rows of Spark's Kafka source. Out: one row per record; `reason` is null if it is taken. Runs on executors.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as f

from mlflow_project.rules import ingestion as rules
from mlflow_project.rules.ingestion import Reason, Stream, Wrong
from spark_jobs.tables import TIMESTAMP, spark_schema

_HEADERS = {
    "event_id": rules.EVENT_ID,
    "schema_version": rules.SCHEMA_VERSION,
    "received_at": rules.RECEIVED_AT,
    "owner": rules.OWNER,
    "request_id": rules.REQUEST_ID,
    "trace": rules.TRACEPARENT,
    "tries": rules.TRIES,
}
_MOST_HEADER = 512
CHECKED = pa.schema(
    {
        "topic": pa.string(),
        "partition": pa.int32(),
        "offset": pa.int64(),
        "timestamp": TIMESTAMP,
        "raw_key": pa.binary(),
        "raw": pa.binary(),
        "event_id": pa.string(),
        "key": pa.string(),
        "schema_version": pa.int32(),
        "received_at": pa.string(),
        "owner": pa.string(),
        "request_id": pa.string(),
        "trace": pa.string(),
        "tries": pa.int32(),
        "reason": pa.string(),
        "sentence": pa.string(),
    }
)
_AS_THEY_CAME = ("topic", "partition", "offset", "timestamp", "raw_key", "raw")


def checked_rows(records: DataFrame, stream: Stream) -> DataFrame:
    """Check every record against its stream's schema."""
    columns = [
        *("topic", "partition", "offset", "timestamp"),
        f.col("key").alias("raw_key"),
        f.col("value").alias("raw"),
        *(_header(name).alias(f"h_{column}") for column, name in _HEADERS.items()),
    ]
    return records.select(*columns).mapInArrow(partial(_checked, stream=stream), spark_schema(CHECKED))


def _header(name: str) -> Column:
    """The first header of a name, as bytes. A record may have none, or several."""
    return f.get(f.filter("headers", lambda header: header["key"] == name), f.lit(0))["value"]


def _checked(batches: Iterator[pa.RecordBatch], stream: Stream) -> Iterator[pa.RecordBatch]:
    own = CHECKED.names[len(_AS_THEY_CAME) :]
    for batch in batches:
        found: dict[str, list[Any]] = {name: [] for name in own}
        columns = {name: batch.column(f"h_{name}").to_pylist() for name in _HEADERS}
        wanted = ("raw_key", "raw", "partition", "offset")
        places = zip(*(batch.column(name).to_pylist() for name in wanted), strict=True)
        for row, (key, raw, partition, offset) in enumerate(places):
            headers = {name: _text(values[row]) for name, values in columns.items()}
            for name, value in _examined(stream, key, raw, headers, f"{stream.topic}/{partition}/{offset}").items():
                found[name].append(value)
        arrays = [batch.column(name) for name in _AS_THEY_CAME]
        arrays += [pa.array(found[name], CHECKED.field(name).type) for name in own]
        yield pa.RecordBatch.from_arrays(
            [array.cast(field.type) for array, field in zip(arrays, CHECKED, strict=True)], schema=CHECKED
        )


def _examined(
    stream: Stream, raw_key: bytes | None, raw: bytes | None, headers: dict[str, str | None], place: str
) -> dict[str, Any]:
    version = headers["schema_version"] or None
    row: dict[str, Any] = {
        "event_id": headers["event_id"] or None,
        "key": _key(raw_key),
        "schema_version": _number(version),
        **{name: headers[name] for name in ("received_at", "owner", "request_id", "trace")},
        "tries": _number(headers["tries"]) or 0,
        "reason": None,
        "sentence": None,
    }
    if version and row["schema_version"] is None:
        wrong: Wrong | None = Wrong(Reason.UNKNOWN_VERSION, (("$", "has a schema version that is no number"),))
    elif raw is None:
        wrong = None if row["key"] else _wrong_key("a tombstone needs a key")
    else:
        wrong = _take(stream, raw, row)
    if wrong is None and not rules.is_usable_id(row["event_id"] or place):
        wrong = _wrong_key("the header event-id must be a printable text of at most 512 characters")
    row["event_id"] = row["event_id"] or place
    if wrong is not None:
        row |= {"reason": wrong.reason.value, "sentence": wrong.sentence}
    return row


def _take(stream: Stream, raw: bytes, row: dict[str, Any]) -> Wrong | None:
    """Check a value, and add to the row what the value says of itself."""
    value = stream.read(raw, row["schema_version"])
    if isinstance(value, Wrong):
        return value
    row["schema_version"] = row["schema_version"] or stream.newest
    key = stream.key_of(value)
    if key is None or not rules.is_usable_id(key):
        return _wrong_key(f"$.{stream.key_field} must be a printable text of at most 512 characters")
    if row["key"] is not None and row["key"] != key:
        return _wrong_key(f"the key of the record is not its $.{stream.key_field}")
    row["key"] = key
    if row["event_id"] is None and stream.topic.startswith(rules.EVENTS) and isinstance(value.get("id"), str):
        row["event_id"] = value["id"]
    return None


def _wrong_key(what: str) -> Wrong:
    return Wrong(Reason.WRONG_KEY, (("$", what),))


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 6 else None


def _key(raw_key: bytes | None) -> str | None:
    return None if raw_key is None else raw_key.decode("utf-8", "replace")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value[:_MOST_HEADER].decode("utf-8", "replace").replace("\0", "")
