"""The checks of a model's traffic: the values of each input column and of each prediction, and missing numbers.

In: samples of requests, as `models.sample` writes them: columns of values and of predictions. Out: the checks by name.
Columns of numbers are compared by the Kolmogorov-Smirnov distance, columns of texts and of booleans by the
Jensen-Shannon distance of their frequencies, missing values by the difference of their shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlflow_project.rules.drift.statistics import (
    Statistic,
    difference_of_shares,
    jensen_shannon,
    kolmogorov_smirnov,
    one_hot,
)

MOST_COLUMNS = 400
"""Columns of inputs and predictions together; further ones are not compared."""
_MISSING = "missing"
Sample = Mapping[str, Mapping[str, Sequence[Any]]]
"""`inputs` and `predictions`: the values of each column, one for each row."""


@dataclass(frozen=True)
class Table:
    """Rows in order of time. A missing number is NaN, a missing category None."""

    numbers: Mapping[str, NDArray[np.float64]]
    categories: Mapping[str, NDArray[np.object_]]
    count: int

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Table:
        """The rows of all samples. A column that any sample fills with a text or a boolean holds categories."""
        columns: dict[str, list[Any]] = {}
        count = 0
        for sample in samples:
            named = _named(sample)
            rows = max(map(len, named.values()), default=0)
            for name in list(named)[:MOST_COLUMNS]:
                if len(columns) < MOST_COLUMNS:
                    columns.setdefault(name, [None] * count)
            for name, values in columns.items():
                given = list(named.get(name, ()))[:rows]
                values += [*given, *[None] * (rows - len(given))]
            count += rows
        texts = {name for name, values in columns.items() if any(isinstance(value, str | bool) for value in values)}
        return cls(
            {
                name: np.array([np.nan if value is None else float(value) for value in values])
                for name, values in columns.items()
                if name not in texts
            },
            {name: np.array(values, dtype=object) for name, values in columns.items() if name in texts},
            count,
        )

    def __len__(self) -> int:
        return self.count

    def rows(self, chosen: NDArray[np.intp] | slice) -> Table:
        """Some of the rows."""
        numbered = np.arange(self.count)[chosen]
        return Table(
            {name: values[numbered] for name, values in self.numbers.items()},
            {name: values[numbered] for name, values in self.categories.items()},
            len(numbered),
        )

    def followed_by(self, other: Table) -> Table:
        """These rows, then the other's, which have the same columns."""
        return Table(
            {name: np.concatenate([values, other.numbers[name]]) for name, values in self.numbers.items()},
            {name: np.concatenate([values, other.categories[name]]) for name, values in self.categories.items()},
            self.count + other.count,
        )

    def fitted(self, seed: int) -> TableChecks:
        """The checks for windows beside this reference. They need nothing of it."""
        return TableChecks()


class TableChecks:
    """Makes the checks of a pool of rows."""

    def of(self, pool: Table) -> dict[str, Statistic]:
        """All checks by name. The values of a column that has none are not compared."""
        found: dict[str, Statistic] = {}
        for name, values in pool.numbers.items():
            missing = np.isnan(values)
            if not missing.all():
                found[name] = kolmogorov_smirnov(values)
            found[f"{name} {_MISSING}"] = difference_of_shares(missing)
        for name, texts in pool.categories.items():
            found[name] = jensen_shannon(one_hot(["" if value is None else str(value) for value in texts]))
        return found


def _named(sample: Sample) -> dict[str, Sequence[Any]]:
    """The columns by the names of their checks. Predictions come first, so that they are never cut off."""
    inputs = {f"input {name}": values for name, values in sample.get("inputs", {}).items()}
    return dict(sample.get("predictions", {})) | inputs
