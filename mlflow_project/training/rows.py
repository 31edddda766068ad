"""Splits a table into training rows and a held-out test set, and turns both into frames.

In: a declaration and the rows of its data. Out: `Split`. The test set is a Delta table at a version of its own, so that
an evaluation reads exactly the rows that no candidate saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlflow_project.errors import InvalidData
from mlflow_project.training.data import Rows, read_rows, write_rows
from mlflow_project.training.model_file import ModelFile


@dataclass(frozen=True)
class Part:
    """Rows to learn from or to test on."""

    rows: pd.DataFrame
    labels: NDArray[Any]


@dataclass(frozen=True)
class Split:
    """Both parts; `test_set` is the table of the held-out rows."""

    training: Part
    test: Part
    test_set: Rows


def split(declared: ModelFile, data: Rows) -> Split:
    """Split the rows as the declaration says, and write the held-out ones to `<table>_test`.

    Raises:
        InvalidData: a column is missing or no number, a label is missing, or a part is empty.
    """
    columns = declared.columns(data.data.column_names)
    if declared.label not in data.data.column_names:
        raise InvalidData(f"{data} has no column {declared.label!r}, the label.")
    if declared.test.table is not None:
        test_set = read_rows(declared.test.table)
        training, test = data.data, test_set.data
    else:
        training, test = _divided(declared, data)
        held = {"data": str(data), "digest": data.digest, "test": declared.test.model_dump(mode="json")}
        recipe = {"held_out_from": {**held, "seed": declared.seed, "label": declared.label, "columns": columns}}
        test_set = write_rows(f"{data.table}_test", test.select([*columns, declared.label]), recipe)
    return Split(
        part_of(training, columns, declared.label, str(data)),
        part_of(test, columns, declared.label, str(test_set)),
        test_set,
    )


def _divided(declared: ModelFile, data: Rows) -> tuple[pa.Table, pa.Table]:
    table, share = data.data, declared.test.share or 0.0
    count = len(table)
    if declared.test.by == "time":
        if "event_time" not in table.column_names:
            raise InvalidData(f"{data} has no column event_time: give `test: {{share: {share}, by: random}}`.")
        keys = [("event_time", "ascending"), *([("id", "ascending")] if "id" in table.column_names else [])]
        table = table.sort_by(keys)
        first = table["event_time"][min(count - 1, int(count * (1 - share)))] if count else None
        held = pc.greater_equal(table["event_time"], first) if count else pa.array([], pa.bool_())
    else:
        held = pa.array(_chosen(declared, table, share))
    training, test = table.filter(pc.invert(held)), table.filter(held)
    if not len(training) or not len(test):
        raise InvalidData(
            f"{data} has {count} rows; of these {len(training)} would be trained on and {len(test)} tested on, and "
            "both need some."
        )
    return training, test


def _chosen(declared: ModelFile, table: pa.Table, share: float) -> NDArray[np.bool_]:
    """Rows by chance, the same share of every class."""
    chance = np.random.default_rng(declared.seed)
    held = np.zeros(len(table), dtype=bool)
    labels = np.asarray(table[declared.label].to_pylist(), dtype=object)
    groups = (
        [labels == one for one in sorted(set(labels), key=str)] if declared.task == "classifier" else [held == held]
    )
    for group in groups:
        members = chance.permutation(np.flatnonzero(group))
        held[members[: round(len(members) * share)]] = True
    return held


def part_of(table: pa.Table, columns: list[str], label: str, source: str) -> Part:
    """These rows as a frame and labels.

    Raises:
        InvalidData: a column is missing or holds no finite numbers, or a label is missing. `source` is named then.
    """
    if missing := sorted({*columns, label} - set(table.column_names)):
        raise InvalidData(f"{source} has no column {', '.join(missing)}.")
    if nulls := table[label].null_count:
        raise InvalidData(f"{nulls} rows of {source} have no {label}: leave them out.")
    frame = pd.DataFrame({name: _numbers(table[name], name, source) for name in columns})
    labels = table[label].combine_chunks()
    values = labels.cast(pa.int64()) if pa.types.is_boolean(labels.type) else labels
    if pa.types.is_floating(values.type) and not np.isfinite(values.to_numpy()).all():
        raise InvalidData(f"Some {label} of {source} are no finite numbers.")
    return Part(frame, np.asarray(values.to_pylist()))


def _numbers(column: pa.ChunkedArray, name: str, source: str) -> NDArray[np.float64]:
    kind = column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise InvalidData(f"Column {name} of {source} is {kind}, and features are numbers: encode it first.")
    values: NDArray[np.float64] = column.cast(pa.float64()).to_numpy()
    if np.isinf(values).any():
        raise InvalidData(f"Column {name} of {source} holds infinite numbers.")
    return values
