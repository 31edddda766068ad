"""Checks rows against the columns that a `features.yaml` declares, with pandera.

In: a frame of parsed rows. Out: for each row that fails, a sentence that names every expectation that it breaks.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import pandas as pd
import pandera.pandas as pa

from mlflow_project.training.feature_file import Column, Source

_TYPES = {"number": "float64", "integer": "float64", "text": "object", "boolean": "object", "time": "Int64"}
_SHOWN_CHARACTERS = 60


def schema_of(source: Source, now: int) -> pa.DataFrameSchema:
    """The declaration as pandera's schema. `now`: nothing can be known later, in microseconds since 1970 in UTC."""
    keys = {name: pa.Column("object", nullable=False) for name in (source.id, source.entity) if name is not None}
    times = {
        source.event_time: pa.Column("Int64", nullable=False),
        source.known_at: pa.Column(
            "Int64", pa.Check.le(now, error=f"{source.known_at} lies in the future"), nullable=False
        ),
    }
    columns = {
        name: pa.Column(_TYPES[one.type], _checks(name, one), nullable=one.nullable)
        for name, one in source.columns.items()
    }
    in_order = pa.Check(
        lambda rows: rows[source.known_at] >= rows[source.event_time],
        error=f"{source.known_at} lies before {source.event_time}: nothing is known before it happens",
    )
    return pa.DataFrameSchema({**keys, **times, **columns}, checks=in_order)


def failures(rows: pd.DataFrame, schema: pa.DataFrameSchema) -> dict[int, str]:
    """The rows that fail, by their label in the frame's index, each with its sentence.

    Raises:
        SchemaErrors: a failure belongs to no row, so the frame itself has not the declared form.
    """
    try:
        schema.validate(rows, lazy=True)
    except pa.errors.SchemaErrors as error:
        found: dict[int, dict[str, None]] = defaultdict(dict)
        for case in error.failure_cases.to_dict("records"):
            if pd.isna(case["index"]):
                raise
            found[int(case["index"])][_sentence(case)] = None
        return {row: "; ".join(sentences) for row, sentences in found.items()}
    return {}


def _checks(name: str, one: Column) -> list[pa.Check]:
    checks = []
    if one.min is not None:
        checks.append(pa.Check.ge(one.min, error=f"{name} is below {one.min:g}"))
    if one.max is not None:
        checks.append(pa.Check.le(one.max, error=f"{name} is above {one.max:g}"))
    if one.among is not None:
        checks.append(pa.Check.isin(one.among, error=f"{name} is none of {', '.join(one.among)}"))
    if one.pattern is not None:
        fits = re.compile(one.pattern).fullmatch
        checks.append(
            pa.Check(
                lambda text: fits(text) is not None, element_wise=True, error=f"{name} does not match {one.pattern}"
            )
        )
    return checks


def _sentence(case: dict[str, Any]) -> str:
    if case["check"] == "not_nullable":
        return f"{case['column']} is missing"
    if case["schema_context"] == "DataFrameSchema":
        return str(case["check"])
    return f"{case['check']} ({str(case['failure_case'])[:_SHOWN_CHARACTERS]})"
