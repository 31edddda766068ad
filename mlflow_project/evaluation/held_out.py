"""The test set of a model: a Delta table at a version, `load_held_out(source, label) -> HeldOut`.

Every row gets an id from its content, and rows are ordered by it, so that the same table gives the same cases whatever
the order of its files. Columns with few values make slices, such as `country=DE`, which a policy's guards name as tags.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson

from mlflow_project.adapters.delta_tables import open_table, read
from mlflow_project.errors import InvalidData
from mlflow_project.rules.canonical import digest_of

MOST_SLICES = 12
"""A column with more values makes no slices."""


@dataclass(frozen=True)
class HeldOut:
    """Rows without their label, the labels, and the slices of each row. `digest` is of all of it."""

    source: str
    ids: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    labels: tuple[Any, ...]
    slices: tuple[tuple[str, ...], ...]
    digest: str


def load_held_out(source: str, label: str) -> HeldOut:
    """Read a test set.

    Args:
        source: a Delta table and its version, as in s3a://bucket/table@3.
        label: the target column.

    Raises:
        InvalidData: the source names no version, or the table has no such column, or a row has no label.
        NotFound: there is no such table. Unavailable: the store does not answer.
    """
    address, mark, version = source.rpartition("@")
    if not mark or not version.isdecimal():
        raise InvalidData(f"A test set is a Delta table at a version, as in s3a://bucket/table@3, not {source!r}.")
    found = read("SELECT * FROM test_set", {"test_set": open_table(address, int(version))})
    if label not in found.schema.names:
        raise InvalidData(f"{source} has no column {label!r}, the label. Its columns: {', '.join(found.schema.names)}.")
    return held_out([{name: _plain(value) for name, value in row.items()} for row in found.to_pylist()], label, source)


def held_out(rows: Sequence[Mapping[str, Any]], label: str, source: str) -> HeldOut:
    """A test set from rows.

    Raises:
        InvalidData: there are no rows, or a row has no label.
    """
    if not rows:
        raise InvalidData(f"{source} has no rows, so no model can be evaluated on it.")
    if missing := sum(row[label] is None for row in rows):
        raise InvalidData(f"{missing} of {len(rows)} rows of {source} have no {label!r}, the label.")
    seen: Counter[str] = Counter()
    named: list[tuple[str, Mapping[str, Any]]] = []
    for row in rows:
        content = hashlib.sha256(orjson.dumps(row, option=orjson.OPT_SORT_KEYS)).hexdigest()[:20]
        seen[content] += 1
        named.append((content if seen[content] == 1 else f"{content}-{seen[content]}", row))
    named.sort(key=lambda item: item[0])
    ids = tuple(name for name, _ in named)
    ordered = [row for _, row in named]
    return HeldOut(
        source,
        ids,
        tuple({name: value for name, value in row.items() if name != label} for row in ordered),
        tuple(row[label] for row in ordered),
        _slices(ordered),
        digest_of({"label": label, "rows": list(ids)}),
    )


def _slices(rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], ...]:
    """For each row `column=value` of every column of texts, booleans or whole numbers with few values."""
    columns = []
    for name in rows[0]:
        values = {row[name] for row in rows if isinstance(row[name], str | bool | int)}
        if 1 < len(values) <= MOST_SLICES and all(isinstance(row[name], str | bool | int | None) for row in rows):
            columns.append(name)
    return tuple(
        tuple(f"{name}={str(row[name]).lower() if isinstance(row[name], bool) else row[name]}" for name in columns)
        for row in rows
    )


def _plain(value: Any) -> Any:
    """A value of Delta as JSON knows it, in the form that a model's signature reads."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
