"""Predictions of one sealed release for the rows of a table, each row exactly once.

In: a Delta table at one version, and a release whose files were checked. Out: new rows in `<output>`, each with the
digest of the release that made it, and in `<output>_errors` for rows that the model refuses. A row is known by its key:
a column that the caller names, or the SHA-256 of the whole row. Rows go in parts, each one commit; what a commit holds
is not computed again, so the next run completes one that was cut short.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from mlflow_project.domain.model import Loading
from mlflow_project.domain.release import Release
from mlflow_project.errors import InvalidData, Refused
from mlflow_project.models.loading import Model, load_model
from mlflow_project.models.rows import InputReader
from spark_jobs import tables
from spark_jobs.lease import one_writer
from spark_jobs.table_log import newest_version

_KEY = "row_key"
_TYPES = {
    "double": pa.float64(),
    "float": pa.float64(),
    "long": pa.int64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "string": pa.string(),
}
_TENSOR_TYPES = {
    "f": pa.float64(),
    "i": pa.int64(),
    "u": pa.int64(),
    "b": pa.bool_(),
    "U": pa.string(),
    "O": pa.string(),
}


@dataclass(frozen=True)
class Sealed:
    """A release with its files, as every executor gets them. `loading` is what its seal allows beyond safe formats."""

    release: Release
    files: Mapping[str, bytes]
    loading: Loading


@dataclass(frozen=True)
class Batch:
    """What is predicted, where it goes, and the largest share of the rows that the model may refuse."""

    table: str
    version: int
    output: str
    key: str | None = None
    rows_at_once: int = 100_000
    max_failed: float = 0.01


def predict_new(spark: SparkSession, asked: Batch, sealed: Sealed) -> dict[str, Any]:
    """Predict the rows that the output does not hold for this release. Returns how many.

    Raises:
        InvalidData: the rows do not fit the model, or two have one key. Refused: the model refuses too many rows.
    """
    done = {"predicted": 0, "failed": 0}
    release = sealed.release
    with one_writer(asked.output) as still_ours:
        new = _new(spark, asked, release).persist()
        try:
            count = int(new.count())
            parts = max(1, -(-count // asked.rows_at_once))
            for part in range(parts if count else 0):
                some = new.where(f.pmod(f.xxhash64(_KEY), f.lit(parts)) == part)
                outcome = some.mapInArrow(partial(_predicted, sealed=sealed), tables.spark_schema(_outcome(release)))
                outcome = outcome.persist()
                try:
                    failed = int(outcome.where("error IS NOT NULL").count())
                    done["failed"] += failed
                    if done["failed"] > asked.max_failed * count:
                        _append(outcome, asked, release, still_ours, errors_only=True)
                        raise _too_many(done["failed"], count, asked, spark)
                    done["predicted"] += int(outcome.count()) - failed
                    _append(outcome, asked, release, still_ours)
                finally:
                    outcome.unpersist()
        finally:
            new.unpersist()
    return {"release": release.label, "digest": release.digest, "new_rows": count, **done}


def _new(spark: SparkSession, asked: Batch, release: Release) -> DataFrame:
    """The rows, with their keys, that neither table holds for this release."""
    rows = tables.read(spark, asked.table, asked.version)
    description = release.manifest.model
    assert description is not None
    needed = [column.name for column in description.signature.inputs if column.required]
    if missing := sorted(set(needed) - set(rows.columns)):
        raise InvalidData(
            f"{asked.table}@{asked.version} lacks columns that {release.label} takes: {', '.join(missing)}."
        )
    if asked.key is None:
        whole = f.to_json(f.struct(*sorted(rows.columns)), {"ignoreNullFields": "false"})
        keyed = rows.withColumn(_KEY, f.sha2(whole, 256)).dropDuplicates([_KEY])
    else:
        if asked.key not in rows.columns:
            raise InvalidData(f"{asked.table} has no column {asked.key!r}. Its columns: {', '.join(rows.columns)}.")
        keyed = rows.withColumn(_KEY, f.col(asked.key).cast("string"))
        wrong = keyed.groupBy(_KEY).count().where(f"count > 1 OR {_KEY} IS NULL").first()
        if wrong is not None:
            raise InvalidData(
                f"{wrong['count']} rows of {asked.table} have the {asked.key} {wrong[_KEY]!r}: it is no key."
            )
    for table in (asked.output, f"{asked.output}_errors"):
        if newest_version(spark, table) is not None:
            known = tables.read(spark, table).where(f.col("release_digest") == release.digest).select(_KEY)
            keyed = keyed.join(known, _KEY, "left_anti")
    names = [column.name for column in description.signature.inputs if column.name in rows.columns]
    return keyed.select(_KEY, *names)


def _outcome(release: Release) -> pa.Schema:
    return pa.schema({_KEY: pa.string(), "prediction": _prediction_type(release), "error": pa.string()})


def _prediction_type(release: Release) -> pa.DataType:
    description = release.manifest.model
    outputs = description.signature.outputs if description else ()
    if len(outputs) != 1:
        raise InvalidData(f"{release.label} does not say what it returns: log it with a signature of its output.")
    if outputs[0].shape is None:
        return _TYPES.get(outputs[0].type, pa.string())
    import numpy

    kind = _TENSOR_TYPES[numpy.dtype("O" if outputs[0].type in ("str", "object") else outputs[0].type).kind]
    return kind if len(outputs[0].shape) == 1 else pa.list_(kind)


def _append(outcome: DataFrame, asked: Batch, release: Release, still_ours: Any, errors_only: bool = False) -> None:
    """Errors first: a row stands in one of the tables only, whichever commit is the last before a crash."""
    origin = {
        "release": release.label,
        "release_digest": release.digest,
        "input_table": asked.table,
        "input_version": asked.version,
    }
    stamped = outcome.select("*", *(f.lit(value).alias(name) for name, value in origin.items())).withColumn(
        "predicted_at", f.current_timestamp()
    )
    errors = stamped.where("error IS NOT NULL").drop("prediction")
    if not errors.isEmpty():
        still_ours()
        tables.writer(errors).mode("append").save(f"{asked.output}_errors")
    if not errors_only:
        still_ours()
        tables.writer(stamped.where("error IS NULL").drop("error")).mode("append").save(asked.output)


def _too_many(failed: int, count: int, asked: Batch, spark: SparkSession) -> Refused:
    example = tables.read(spark, f"{asked.output}_errors").select("error").first()
    return Refused(
        f"The model refuses {failed} of {count} rows, and at most {asked.max_failed:.2%} may be refused; the job "
        f"stopped. The reasons are in {asked.output}_errors, for example: {example[0] if example else ''}"
    )


def _predicted(batches: Iterator[pa.RecordBatch], sealed: Sealed) -> Iterator[pa.RecordBatch]:
    """Load the model once a task, and predict batch by batch."""
    release, columns = sealed.release, _outcome(sealed.release)
    description = release.manifest.model
    assert description is not None
    with tempfile.TemporaryDirectory(prefix="switchyard-model-") as folder:
        for path, data in sealed.files.items():
            file = Path(folder, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        model = load_model(Path(folder), release.manifest, sealed.loading)
        for batch in batches:
            values = {name: batch.column(name).to_pylist() for name in batch.schema.names if name != _KEY}
            reader = InputReader(description.signature, batch.num_rows)
            found = _answers(model, reader, values, 0, batch.num_rows)
            keys = batch.column(_KEY).to_pylist()
            rows = [
                {_KEY: key, "prediction": answer, "error": error}
                for key, (answer, error) in zip(keys, found, strict=True)
            ]
            yield pa.RecordBatch.from_pylist(rows, columns)


def _answers(
    model: Model, reader: InputReader, values: Mapping[str, Sequence[Any]], begin: int, end: int
) -> list[tuple[Any, str | None]]:
    """Predict these rows at once; where the model refuses them, halves of them, down to the row at fault."""
    if begin == end:
        return []
    try:
        rows = reader.columns({name: column[begin:end] for name, column in values.items()})
        return [(answer, None) for answer in model.predict(rows).tolist()]
    except InvalidData as error:
        if end - begin == 1:
            return [(None, str(error))]
        middle = (begin + end) // 2
        return _answers(model, reader, values, begin, middle) + _answers(model, reader, values, middle, end)
