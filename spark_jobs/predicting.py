"""Predictions of one sealed release for the rows of a DataFrame.

In: rows with a column `row_key` and the model's inputs. Out: a row for each with `prediction`, or `error` where the
model refuses it. The release travels to the executors as a broadcast variable, and each Python process of an executor
loads it once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from pyspark import Broadcast
from pyspark.sql import DataFrame

from mlflow_project.domain.model import Loading
from mlflow_project.domain.release import Release
from mlflow_project.errors import InvalidData
from mlflow_project.models.loading import MOST_BYTES, Model, load_model
from mlflow_project.models.rows import InputReader, Rows
from mlflow_project.models.trial import try_model
from spark_jobs import tables
from spark_jobs.sealed_releases import SealedModel

ROW_KEY, RECORD = "row_key", "record"
_SECONDS_TO_LOAD = 120.0
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
RowsOf = Callable[[int, int], Rows]
"""Gives the rows from one position to another, and raises `InvalidData` where one of them is wrong."""
_loaded: dict[tuple[str, Loading], Model] = {}
"""The model of this Python process. Spark runs the tasks of an executor in a few processes, one after the other, and a
task has no other place for what the next task needs, too."""


def predicted(rows: DataFrame, sealed: Broadcast[SealedModel], as_records: bool = False) -> DataFrame:
    """The columns of `outcome_schema` for rows with a key and the model's inputs. Other columns are ignored.

    `as_records`: the inputs are not columns but members of a JSON object, whose bytes the column `record` holds.
    """
    return rows.mapInArrow(
        partial(_predicted, sealed=sealed, as_records=as_records),
        tables.spark_schema(outcome_schema(sealed.value.release)),
    )


def input_columns(release: Release, there: Sequence[str], source: str) -> list[str]:
    """The columns that the model takes, among those that are there.

    Raises:
        InvalidData: a column is missing that the model needs.
    """
    description = release.manifest.model
    assert description is not None
    needed = [column.name for column in description.signature.inputs if column.required]
    if missing := sorted(set(needed) - set(there)):
        raise InvalidData(f"{source} lacks columns that {release.label} takes: {', '.join(missing)}.")
    return [column.name for column in description.signature.inputs if column.name in there]


def outcome_schema(release: Release) -> pa.Schema:
    """The columns that this release's predictions have.

    Raises:
        InvalidData: the model has no signature of one output.
    """
    return pa.schema({ROW_KEY: pa.string(), "prediction": _prediction_type(release), "error": pa.string()})


def check_loads(sealed: SealedModel) -> None:
    """Load the model here, and before that in a process of its own, which a damaged file may end.

    Raises:
        SealBroken: a file is not the sealed one. Refused: loading needs more than the seal allows.
        InvalidData: the files cannot be read, or end the process that reads them.
    """
    with _folder(sealed) as folder:
        try_model(folder, sealed.release.manifest, sealed.loading, MOST_BYTES, _SECONDS_TO_LOAD)
        load_model(folder, sealed.release.manifest, sealed.loading)


@contextmanager
def _folder(sealed: SealedModel) -> Iterator[Path]:
    """A folder with the model's files, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="switchyard-model-") as folder:
        for path, data in sealed.files.items():
            file = Path(folder, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        yield Path(folder)


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


def _predicted(
    batches: Iterator[pa.RecordBatch], sealed: Broadcast[SealedModel], as_records: bool
) -> Iterator[pa.RecordBatch]:
    """One task: predict batch by batch."""
    release, columns = sealed.value.release, outcome_schema(sealed.value.release)
    description = release.manifest.model
    assert description is not None
    model = _model_of_this_process(sealed.value)
    for batch in batches:
        reader = InputReader(description.signature, batch.num_rows)
        rows_of = _from_records(batch, reader) if as_records else _from_columns(batch, reader)
        found = _answers(model, rows_of, 0, batch.num_rows)
        keys = batch.column(ROW_KEY).to_pylist()
        rows = [
            {ROW_KEY: key, "prediction": answer, "error": error}
            for key, (answer, error) in zip(keys, found, strict=True)
        ]
        yield pa.RecordBatch.from_pylist(rows, columns)


def _model_of_this_process(sealed: SealedModel) -> Model:
    key = (sealed.release.digest, sealed.loading)
    if key not in _loaded:
        _loaded.clear()
        with _folder(sealed) as folder:
            _loaded[key] = load_model(folder, sealed.release.manifest, sealed.loading)
    return _loaded[key]


def _from_columns(batch: pa.RecordBatch, reader: InputReader) -> RowsOf:
    values = {name: batch.column(name).to_pylist() for name in batch.schema.names if name != ROW_KEY}
    return lambda begin, end: reader.columns({name: column[begin:end] for name, column in values.items()})


def _from_records(batch: pa.RecordBatch, reader: InputReader) -> RowsOf:
    texts = batch.column(RECORD).to_pylist()
    return lambda begin, end: reader.records([_parsed(text) for text in texts[begin:end]])


def _parsed(text: bytes | None) -> Any:
    try:
        return orjson.loads(text or b"")
    except orjson.JSONDecodeError as error:
        raise InvalidData(f"The record's value is not JSON: {error}.") from error


def _answers(model: Model, rows_of: RowsOf, begin: int, end: int) -> list[tuple[Any, str | None]]:
    """Predict these rows at once; where the model refuses them, halves of them, down to the row at fault."""
    if begin == end:
        return []
    try:
        return [(answer, None) for answer in model.predict(rows_of(begin, end)).tolist()]
    except InvalidData as error:
        if end - begin == 1:
            return [(None, str(error))]
        middle = (begin + end) // 2
        return _answers(model, rows_of, begin, middle) + _answers(model, rows_of, middle, end)
