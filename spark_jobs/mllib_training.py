"""Training on a table that is too large for one machine: Spark reads it, and MLlib fits the candidates.

In: a declaration whose candidates all have `library: spark`, and a Delta table at a version. Out: `Material`, as for a
training in memory. Only the held-out rows, and the rows of each fold that are scored, come to the driver. Rows are
divided by hashes of their content, or by time, so that the division depends on no order of files or tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as f
from pyspark.sql.types import BooleanType, DateType, NumericType, TimestampNTZType, TimestampType

from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.training.data import Rows, files_origin, read_rows, split_address, write_rows
from mlflow_project.training.material import Material
from mlflow_project.training.metrics import held_out_metrics
from mlflow_project.training.model_file import ModelFile
from mlflow_project.training.rows import Part, part_of
from mlflow_project.training.training import Trained, Tried
from spark_jobs import tables
from spark_jobs.mllib_models import LABEL, fitted
from spark_jobs.table_log import newest_version

MOST_HELD_OUT = 2_000_000
"""The held-out rows are read by the driver, now and in each evaluation."""
_ROWS_SCORED, _MOST_CLASSES = 100_000, 1_000
_PART, _TIME = "part of the training", "time of the training"
_STEPS = 1_000_000
_CLOSE = 0.0001
"""How far the share of a part in time may be from the declared one."""


def on_spark(spark: SparkSession, declared: ModelFile, address: str) -> Material:
    """Read the table by Spark, and hold out the rows that the declaration says.

    Raises:
        NotFound: no such table or version. InvalidData: its rows do not fit the declaration.
    """
    table, version = split_address(address)
    version = newest_version(spark, table) if version is None else version
    if version is None:
        raise NotFound(f"There is no Delta table at {table}.")
    whole = tables.read(spark, table, version)
    columns = declared.columns(whole.columns)
    _check(whole, columns, declared, f"{table}@{version}")
    data = files_origin(f"{table}@{version}", whole.count())
    if declared.test.table is None:
        held = _held_out(whole, declared, f"{table}@{version}")
        test_set = _written(whole.where(held), columns, declared, data)
        training = whole.where(~held)
    else:
        test_set, training = read_rows(declared.test.table), whole
    test = part_of(test_set.data, columns, declared.label, str(test_set))
    job = _Job(declared, tuple(columns), training, test)
    return Material(data, training.count(), test, test_set, job.train, ("pyspark",))


def _check(rows: DataFrame, columns: Sequence[str], declared: ModelFile, source: str) -> None:
    """Check what a training in memory checks, in one pass over the rows."""
    if declared.label not in rows.columns:
        raise InvalidData(f"{source} has no column {declared.label!r}, the label.")
    for name in columns:
        kind = rows.schema[name].dataType
        if not isinstance(kind, NumericType | BooleanType):
            raise InvalidData(
                f"Column {name} of {source} is {kind.simpleString()}, and features are numbers: encode it first."
            )
    infinite = [f.max(f.abs(_double(name)) == float("inf")).alias(f"column {name}") for name in columns]
    found = rows.select(f.count_if(f.col(declared.label).isNull()).alias("no label"), *infinite).first()
    if found["no label"]:
        raise InvalidData(f"{found['no label']} rows of {source} have no {declared.label}: leave them out.")
    for name in columns:
        if found[f"column {name}"]:
            raise InvalidData(f"Column {name} of {source} holds infinite numbers.")


def _held_out(rows: DataFrame, declared: ModelFile, source: str) -> Column:
    """Whether a row is held out."""
    share = declared.test.share or 0.0
    if declared.test.by == "random":
        return _chance(rows, f"held out by {declared.seed}") < share
    if "event_time" not in rows.columns:
        raise InvalidData(f"{source} has no column event_time: give `test: {{share: {share}, by: random}}`.")
    return _time(rows) >= _quantiles(rows, [1 - share])[0]


def _written(held: DataFrame, columns: Sequence[str], declared: ModelFile, data: Any) -> Rows:
    """The held-out rows as a table of their own, in the order of their values."""
    if (count := held.count()) > MOST_HELD_OUT or not count:
        raise InvalidData(
            f"{count:,} of {data.rows:,} rows of {data} would be held out; from 1 to {MOST_HELD_OUT:,} can be: "
            "give another `share`, or name a `table`."
        )
    names = [*columns, declared.label]
    rows = held.select(*(f.col(f"`{name}`") for name in names)).toArrow()
    held_by = {"data": str(data), "digest": data.digest, "test": declared.test.model_dump(mode="json")}
    recipe = {"held_out_from": {**held_by, "seed": declared.seed, "label": declared.label, "columns": list(columns)}}
    return write_rows(f"{data.table}_test", rows.sort_by([(name, "ascending") for name in names]), recipe)


@dataclass(frozen=True)
class _Job:
    """Trains the candidates on the rows that are not held out."""

    declared: ModelFile
    columns: tuple[str, ...]
    rows: DataFrame
    test: Part

    def train(self, on_tried: Callable[[Tried], None]) -> Trained:
        """Score each candidate by cross-validation, and fit the best one on all rows."""
        declared = self.declared
        classes = self._classes()
        rows = self._numbered(classes).persist()
        try:
            tried = []
            for name, candidate in declared.candidates.items():
                scores = tuple(self._scores(rows, candidate.parameters, classes))
                tried.append(Tried(name, name, "linear (Spark MLlib)", candidate.parameters, scores))
                on_tried(tried[-1])
            best = max(tried, key=lambda one: one.mean)  # of equal ones the first
            model = fitted(declared.task, best.parameters, rows, self.columns, classes)
        finally:
            rows.unpersist()
        predictions = np.asarray(model.predict(self.test.rows))
        probabilities = None if classes is None else np.asarray(model.predict_proba(self.test.rows))
        metrics = held_out_metrics(declared.task, self.test.labels, predictions, probabilities, classes)
        return Trained(model, best, tuple(tried), metrics, predictions, probabilities)

    def _classes(self) -> list[Any] | None:
        """The classes in order, as a training in memory has them; None of a regressor."""
        if self.declared.task == "regressor":
            return None
        found = self.rows.select(_label(self.rows, self.declared)).distinct().limit(_MOST_CLASSES + 1).collect()
        if len(found) < 2:
            raise InvalidData(f"All training rows have the same {self.declared.label}: there is nothing to learn.")
        if len(found) > _MOST_CLASSES:
            raise InvalidData(f"{self.declared.label} has more than {_MOST_CLASSES} values: these are no classes.")
        return sorted(row[0] for row in found)

    def _numbered(self, classes: Sequence[Any] | None) -> DataFrame:
        """The features as doubles, the label as a number, and in which of the parts a row lies."""
        label = _label(self.rows, self.declared)
        if classes is not None:
            label = f.array_position(f.array(*(f.lit(one) for one in classes)), label) - 1
        features = [_double(name).alias(name) for name in self.columns]
        return self.rows.select(*features, label.cast("double").alias(LABEL), self._part().alias(_PART))

    def _part(self) -> Column:
        folds = self.declared.folds
        if self.declared.test.by != "time":
            return f.floor(_chance(self.rows, f"folds by {self.declared.seed}") * folds)
        bounds = _quantiles(self.rows, [number / (folds + 1) for number in range(1, folds + 1)])
        time = _time(self.rows)
        return sum(((time >= bound).cast("int") for bound in bounds), f.lit(0))

    def _scores(self, rows: DataFrame, parameters: Any, classes: Sequence[Any] | None) -> Any:
        """The score in each fold: by time, of a part by what lies before it; else of each part by all others."""
        from sklearn.metrics import get_scorer

        by_time = self.declared.test.by == "time"
        for part in range(1, self.declared.folds + 1) if by_time else range(self.declared.folds):
            learnt = rows.where(f.col(_PART) < part if by_time else f.col(_PART) != part)
            scored = self._scored(rows.where(f.col(_PART) == part), classes)
            model = fitted(self.declared.task, parameters, learnt, self.columns, self._seen(learnt, classes))
            score = float(get_scorer(self.declared.scorer)(model, scored.rows, scored.labels))
            if not np.isfinite(score):
                raise self._unscored()
            yield score

    def _seen(self, learnt: DataFrame, classes: Sequence[Any] | None) -> Sequence[Any] | None:
        """All classes, each of which must have been seen: a fold without one cannot be compared with others."""
        if classes is not None and learnt.select(LABEL).distinct().count() < len(classes):
            raise self._unscored()
        return classes

    def _scored(self, rows: DataFrame, classes: Sequence[Any] | None) -> Part:
        """The rows of a fold that are scored: at most 100,000, chosen by their content."""
        some = rows.orderBy(f.xxhash64(*(f.col(f"`{name}`") for name in rows.columns))).limit(_ROWS_SCORED).toPandas()
        labels = some[LABEL].to_numpy()
        if not len(some) or (classes is not None and len(np.unique(labels)) < 2):
            raise self._unscored()
        return Part(
            some[list(self.columns)], labels if classes is None else np.asarray(classes)[labels.astype(np.int64)]
        )

    def _unscored(self) -> InvalidData:
        return InvalidData(
            f"There is no {self.declared.metric} in some fold: most likely a class, or every row, is missing there. "
            "Declare fewer folds, or give more rows."
        )


def _label(rows: DataFrame, declared: ModelFile) -> Column:
    is_boolean = isinstance(rows.schema[declared.label].dataType, BooleanType)
    label = f.col(f"`{declared.label}`")
    return label.cast("long") if is_boolean else label


def _double(name: str) -> Column:
    return f.col(f"`{name}`").cast("double")


def _chance(rows: DataFrame, purpose: str) -> Column:
    """A number from 0 to 1 that depends on the row's content and the purpose alone."""
    content = (f.col(f"`{name}`") for name in sorted(rows.columns))
    return f.pmod(f.xxhash64(f.lit(purpose), *content), f.lit(_STEPS)) / f.lit(float(_STEPS))


def _time(rows: DataFrame) -> Column:
    """The event time as a number."""
    kind = rows.schema["event_time"].dataType
    if isinstance(kind, TimestampType | TimestampNTZType | DateType):
        return f.unix_micros(f.col("event_time").cast("timestamp"))
    return f.col("event_time")


def _quantiles(rows: DataFrame, shares: Sequence[float]) -> list[float]:
    times = rows.select(_time(rows).cast("double").alias(_TIME))
    return [float(bound) for bound in times.approxQuantile(_TIME, list(shares), _CLOSE)]
