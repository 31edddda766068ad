"""Turns rows of live answers into `Traffic`, which the drift checks measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mlflow_project.adapters.retrieval.embeddings import embed
from mlflow_project.feedback.live import Row
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
