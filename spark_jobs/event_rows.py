"""Raw events -> typed rows, each either accepted or rejected with a reason. Runs on executors.

In: JSON lines, or a Delta table. Out: one row per line with `reason` null (accepted: the declared fields) or not
(rejected: `sentence` and the bytes of the line).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from mlflow_project.errors import NotFound
from mlflow_project.rules.features.lines import Rejected, read_event
from mlflow_project.training.expectations import failures, schema_of
from mlflow_project.training.feature_file import Column, Source
from spark_jobs import spark_internals, tables
from spark_jobs.ingested_source import is_ingested
from spark_jobs.table_log import newest_version

_TYPES = {
    "number": pa.float64(),
    "integer": pa.float64(),
    "text": pa.string(),
    "boolean": pa.bool_(),
    "time": pa.int64(),
}
_ISO = {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"}


def raw_lines(spark: SparkSession, path: str) -> tuple[DataFrame, int | None]:
    """Every line of a source as bytes (`value`), and the Delta version that was read; None for JSON lines.

    Raises:
        NotFound: there is nothing at the path.
    """
    if not spark_internals.exists(spark, path):
        raise NotFound(f"There are no events at {path}: check `path` in features.yaml.")
    version = newest_version(spark, path)
    if version is None:
        return spark.read.text(path).select(f.col("value").cast("binary").alias("value")), None
    rows = tables.read(spark, path, version)
    if is_ingested(rows):
        return rows.where("NOT deleted").select(f.col("value").cast("binary").alias("value")), version
    return rows.select(f.to_json(f.struct("*"), _ISO).cast("binary").alias("value")), version


def event_rows(lines: DataFrame, source: Source, now: int) -> DataFrame:
    """Read and check every line. `now`: microseconds since 1970 in UTC; nothing can be known later."""
    return lines.mapInArrow(partial(_checked, source=source, now=now), tables.spark_schema(_passed(source)))


def accepted(rows: DataFrame, source: Source) -> DataFrame:
    """The accepted rows, as they stand in the table of events, one row per content."""
    return (
        rows.where("reason IS NULL")
        .select(
            "id",
            "entity",
            f.timestamp_micros("event_time").alias("event_time"),
            f.timestamp_micros("known_at").alias("known_at"),
            "row_digest",
            *(_column(name, one) for name, one in source.columns.items()),
        )
        .dropDuplicates(["row_digest"])
    )


def rejected(rows: DataFrame) -> DataFrame:
    """The rejected rows, one row per line."""
    wanted = rows.where("reason IS NOT NULL").select("row_digest", "reason", "sentence", "raw")
    return wanted.dropDuplicates(["row_digest"])


def _column(name: str, one: Column) -> Any:
    return f.timestamp_micros(name).alias(name) if one.type == "time" else f.col(name)


def _passed(source: Source) -> pa.Schema:
    keys = {"id": pa.string(), "entity": pa.string(), "event_time": pa.int64(), "known_at": pa.int64()}
    columns = {name: _TYPES[one.type] for name, one in source.columns.items()}
    why = {"reason": pa.string(), "sentence": pa.string(), "raw": pa.binary()}
    return pa.schema({**keys, "row_digest": pa.string(), **columns, **why})


def _checked(batches: Iterator[pa.RecordBatch], source: Source, now: int) -> Iterator[pa.RecordBatch]:
    schema, fields, columns = schema_of(source, now), source.fields(), _passed(source)
    for batch in batches:
        values: list[dict[str, Any]] = []
        read_from: list[bytes] = []
        wrong: list[dict[str, Any]] = []
        for line in batch.column("value").to_pylist():
            try:
                if line and line.strip():
                    values.append(read_event(line, fields))
                    read_from.append(line)
            except Rejected as error:
                wrong.append(_rejection(line, error.reason, error.sentence))
        failed = failures(_typed(values, source), schema) if values else {}
        wrong += [_rejection(read_from[row], "expectation", sentence) for row, sentence in sorted(failed.items())]
        good = [_kept(one, source) for row, one in enumerate(values) if row not in failed]
        yield pa.RecordBatch.from_pylist([*good, *wrong], columns)


def _typed(values: list[dict[str, Any]], source: Source) -> pd.DataFrame:
    kinds = source.fields()
    types = {"number": "float64", "integer": "float64", "time": "Int64", "text": "object", "boolean": "object"}
    return pd.DataFrame(values, columns=list(kinds), dtype="object").astype(
        {name: types[kind] for name, kind in kinds.items()}
    )


def _kept(values: dict[str, Any], source: Source) -> dict[str, Any]:
    return {
        "id": values[source.id],
        "entity": values[source.entity] if source.entity else None,
        "event_time": values[source.event_time],
        "known_at": values[source.known_at],
        "row_digest": hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS)).hexdigest(),
        **{name: values[name] for name in source.columns},
    }


def _rejection(line: bytes, reason: str, sentence: str) -> dict[str, Any]:
    return {"row_digest": hashlib.sha256(line).hexdigest(), "reason": reason, "sentence": sentence, "raw": line}
