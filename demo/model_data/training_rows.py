"""Training rows of generated payments, without Spark: what `switchyard features` makes, for data that fits in memory.

In: raw rows of `fraud_rows`, and the model's `features.yaml`. Out: an Arrow table. The features come from the functions
that the Spark job calls too (`rules.features.history`), and a test compares the rows of both.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mlflow_project.rules.features.history import Versions, as_of, encoded, history
from mlflow_project.rules.features.lines import read_event
from mlflow_project.training.data import in_order
from mlflow_project.training.feature_file import FeatureFile, Input, Source

_HOUR = 3_600_000_000
Row = dict[str, Any]


def training_rows(declared: FeatureFile, events: Sequence[Row], labels: Sequence[Row]) -> pa.Table:
    """The labelled rows with the features that were known at their event time, ordered by event time and id."""
    assert declared.events is not None
    read = [_read(row, declared.labels) for row in sorted(labels, key=lambda row: row[declared.labels.known_at])]
    newest = {row["id"]: row for row in read}
    decisions, versions = _by_entity(list(newest.values())), _by_entity([_read(row, declared.events) for row in events])
    made = [row for entity, own in decisions.items() for row in _rows_of_one(declared, own, versions.get(entity, []))]
    types = {"id": pa.string(), "event_time": pa.timestamp("us", "UTC"), declared.label: pa.int64()}
    schema = pa.schema({**types, **dict.fromkeys(declared.columns(), pa.float64())})
    return in_order(pa.Table.from_pylist(made, schema))


def _rows_of_one(declared: FeatureFile, decisions: Sequence[Row], events: Sequence[Row]) -> list[Row]:
    """The training rows of one entity."""
    used = {one.of for one in declared.features.values() if one.of is not None}
    times = {name: np.array([row[name] for row in events], dtype=np.int64) for name in ("event_time", "known_at")}
    versions = Versions(
        [row["id"] for row in events],
        times["event_time"],
        times["known_at"],
        [json.dumps(row, sort_keys=True) for row in events],
        {name: [row[name] for row in events] for name in used},
    )
    past = history(versions, declared.aggregates())
    at = np.array([row["event_time"] for row in decisions], dtype=np.int64)
    made = []
    for row, found in zip(decisions, as_of(at, past.event_times, past.known, declared.max_age), strict=True):
        seen = found >= 0
        values = past.values[found] if seen else [one.default for one in declared.features.values()]
        features = dict(zip(declared.features, values, strict=True))
        if declared.age:
            features[declared.age] = (row["event_time"] - past.event_times[found]) / 1_000_000 if seen else None
        inputs = {name: _input(row, one, declared.labels) for name, one in declared.inputs.items()}
        label = {declared.label: int(row[declared.label])}
        made.append({"id": row["id"], "event_time": row["event_time"], **label, **inputs, **features})
    return made


def _input(row: Row, one: Input, source: Source) -> float:
    """An input that is made from the label's own row: an hour, a position among texts, or a number as it is."""
    if one.part == "hour":
        return float(row["event_time"] // _HOUR % 24)
    return encoded(row[one.of], one.encode)


def _read(row: Row, source: Source) -> Row:
    """A raw row with typed values, and its keys under the names that every source shares."""
    typed = read_event(json.dumps(row), source.fields())
    keys = {
        "id": source.id,
        "entity": source.entity or "",
        "event_time": source.event_time,
        "known_at": source.known_at,
    }
    return {**typed, **{name: typed[field] for name, field in keys.items()}}


def _by_entity(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["entity"]].append(row)
    return found
