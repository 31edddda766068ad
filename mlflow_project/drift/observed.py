"""Turns rows of live answers into what the drift checks measure: `Traffic` of a prompt, a `Table` of a model's rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mlflow_project.adapters.retrieval.embeddings import embed
from mlflow_project.feedback.live import Row
from mlflow_project.rules.drift.tabular import Table
from mlflow_project.rules.drift.traffic import Traffic

_NUMBERS = {"answer length": "answer_chars", "keywords": "keywords", "groundedness": "groundedness", "tokens": "tokens"}


def traffic_of(rows: Sequence[Row]) -> Traffic:
    """Traffic with one entry per row, in order. A failed row has an empty question and counts for shares only."""
    questions = [row["question"] or "" for row in rows]
    return replace(
        Traffic.of(questions, embed(questions)),
        numbers={
            name: np.array([np.nan if row[key] is None else row[key] for row in rows], dtype=np.float64)
            for name, key in _NUMBERS.items()
        },
        shares={
            "refusals": np.array([bool(row["refused"]) for row in rows]),
            "schema failures": np.array([bool(row["schema_failed"]) for row in rows]),
        },
        answer_vectors=embed([row["answer"] or "" for row in rows]),
    )


def sampled(rows: Sequence[Row]) -> list[Row]:
    """The answers of a model whose event has a sample of its rows."""
    return [row for row in rows if row.get("sample")]


def tables_of(reference: Sequence[Row], inside: Sequence[Row]) -> tuple[Table, Table]:
    """The rows of the samples of a reference and of a window. Both tables have the same columns."""
    before = Table.of([json.loads(row["sample"]) for row in reference])
    both = Table.of([json.loads(row["sample"]) for row in (*reference, *inside)])
    return both.rows(slice(0, len(before))), both.rows(slice(len(before), None))
