"""What one training works on: the version of its table, the held-out rows, and how the rest is trained on.

In: a declaration and a table's address. Out: `Material`. `in_memory` reads the rows into this process; the Spark jobs
bring a second way, for tables that are too large for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlflow_project.training.data import Origin, Rows, read_rows
from mlflow_project.training.model_file import ModelFile
from mlflow_project.training.rows import Part, split
from mlflow_project.training.training import Trained, Tried, train


@dataclass(frozen=True)
class Material:
    """`train` trains on the rows that are not held out; it tells its argument of each estimator that has its scores.
    `packages` are those whose versions decide the result, besides the ones that every training uses."""

    data: Origin
    training_rows: int
    test: Part
    test_set: Rows
    train: Callable[[Callable[[Tried], None]], Trained]
    packages: tuple[str, ...] = ()


def in_memory(declared: ModelFile, address: str) -> Material:
    """Read the table, and hold out the rows that the declaration says.

    Raises:
        NotFound: no such table or version. InvalidData: its rows do not fit the declaration.
        Unavailable: the store does not answer.
    """
    rows = read_rows(address)
    parts = split(declared, rows)
    training, test = parts.training, parts.test
    return Material(
        rows.origin,
        len(training.labels),
        test,
        parts.test_set,
        lambda on_tried: train(declared, training.rows, training.labels, test.rows, test.labels, on_tried),
    )
