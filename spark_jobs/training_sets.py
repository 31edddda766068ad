"""The training set: each labelled row with the features that were known at the moment of decision.

In: the tables of labels and features, each at one Delta version. Out: an Arrow table, ordered by event time and id,
with the columns `id`, `event_time`, the label, and the model's inputs (64-bit floats; null where nothing was known).

For a label with event time L the feature row is the newest with event time <= L **and** known time <= L. A feature that
was corrected after L keeps the value that it had at L; an event that happened before L and became known after it is not
there. Of the labels themselves the newest version counts, known by `as_of` where that is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as f
from pyspark.sql.types import ArrayType, DoubleType

from mlflow_project.adapters.retrieval import embeddings
from mlflow_project.rules.features.history import as_of
from mlflow_project.rules.features.lines import microseconds
from mlflow_project.training.feature_file import FeatureFile, Input
from spark_jobs import tables

_HOUR = 3_600_000_000
_DAY = 24 * _HOUR
_MONDAY = 3 * _DAY
"""1970-01-01 was a Thursday: three days later than a Monday."""


@dataclass(frozen=True)
class Pins:
    """What a training set is made from: versions of both tables, and the time by which labels must be known."""

    labels_version: int
    features_version: int | None
    as_of: str | None = None


def training_set(spark: SparkSession, declared: FeatureFile, pins: Pins) -> pa.Table:
    """Join labels and features as they were known.

    Raises:
        ValueError: `as_of` is no time with an offset.
    """
    labels = newest_labels(tables.read(spark, f"{declared.table}_labels", pins.labels_version), pins.as_of)
    rows = _with_inputs(labels, declared)
    if pins.features_version is not None:
        features = tables.read(spark, declared.table, pins.features_version)
        rows = as_of_join(rows, features, declared)
    label = (
        f.col("label").cast("bigint") if declared.labels.columns[declared.label].type == "boolean" else f.col("label")
    )
    wanted = rows.where("label IS NOT NULL").select(
        "id", "event_time", label.alias(declared.label), *(f.col(name).cast("double") for name in declared.columns())
    )
    table: pa.Table = wanted.orderBy("event_time", "id").toArrow()
    types = {"event_time": tables.TIMESTAMP}
    return table.cast(pa.schema([(one.name, types.get(one.name, one.type)) for one in table.schema]))


def newest_labels(labels: DataFrame, as_of: str | None) -> DataFrame:
    """The newest version of each label that was known by a time; None: by now."""
    if as_of is not None:
        labels = labels.where(f.unix_micros("known_at") <= microseconds(as_of))
    newest_first = Window.partitionBy("id").orderBy(f.desc("known_at"), f.desc("claimed_digest"))
    return labels.withColumn("_place", f.row_number().over(newest_first)).where("_place = 1").drop("_place")


def as_of_join(labels: DataFrame, features: DataFrame, declared: FeatureFile) -> DataFrame:
    """Add to each label the features that were known at its event time; the label's own known time plays no part."""
    names = list(declared.features)
    at, known = f.unix_micros("event_time").alias("at"), f.unix_micros("known_at").alias("known")

    def features_of_one(decisions: pd.DataFrame, held: pd.DataFrame) -> pd.DataFrame:
        times = held["at"].to_numpy()
        found = as_of(decisions["at"].to_numpy(), times, held["known"].to_numpy(), declared.max_age)
        seen = found >= 0
        rows = held[names].iloc[found[seen]].reset_index(drop=True)
        age = (decisions["at"].to_numpy()[seen] - times[found[seen]]) / 1_000_000
        return rows.assign(_id=decisions["id"].to_numpy()[seen], _age=age)

    columns = pa.schema({"_id": pa.string(), "_age": pa.float64(), **dict.fromkeys(names, pa.float64())})
    decisions = labels.select("id", "entity", at).groupBy("entity")
    held = features.select("entity", at, known, *names).groupBy("entity")
    found = decisions.cogroup(held).applyInPandas(features_of_one, tables.spark_schema(columns))
    joined = labels.join(found, labels["id"] == found["_id"], "left")
    values = [_or_default(_null_for_nan(name), one.default).alias(name) for name, one in declared.features.items()]
    age = [f.col("_age").alias(declared.age)] if declared.age else []
    return joined.select(labels["*"], *values, *age)


def _null_for_nan(name: str) -> Column:
    return f.when(~f.isnan(name), f.col(name))


def _with_inputs(labels: DataFrame, declared: FeatureFile) -> DataFrame:
    keys = {declared.labels.id: "id", declared.labels.event_time: "event_time", declared.labels.known_at: "known_at"}
    if declared.labels.entity:
        keys[declared.labels.entity] = "entity"
    made: list[Column] = []
    for name, one in declared.inputs.items():
        source = f.col(keys.get(one.of, one.of))
        if one.vectors:
            vector = f.pandas_udf(_embedded, ArrayType(DoubleType()))(source)
            made += [vector[number].alias(column) for number, column in enumerate(one.names(name))]
        else:
            made.append(_or_default(_input(source, one), one.default).alias(name))
    return labels.select("id", "entity", "event_time", f.col(declared.label).alias("label"), *made)


def _input(source: Column, one: Input) -> Column:
    if one.encode is not None:
        known = f.array(*(f.lit(text) for text in one.encode))
        return (f.array_position(known, source) - 1).cast("double")
    if one.part == "hour":
        return f.floor(f.pmod(f.unix_micros(source), f.lit(_DAY)) / _HOUR)
    if one.part == "weekday":
        return f.floor(f.pmod(f.unix_micros(source) + _MONDAY, f.lit(7 * _DAY)) / _DAY)
    return source.cast("double")


def _or_default(value: Column, default: float | None) -> Column:
    return value if default is None else f.coalesce(value, f.lit(default))


def _embedded(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
    for texts in batches:
        yield pd.Series(list(embeddings.embed([text or "" for text in texts]).astype("float64")))


def recipe(declared: FeatureFile, pins: Pins) -> dict[str, Any]:
    """Everything that `training_set` needs to make the same rows again, as JSON-ready data.

    It is kept as canonical JSON, which sorts the features of the declaration, so `columns` keeps their order.
    """
    return {
        "declaration": declared.model_dump(mode="json"),
        "columns": ["id", "event_time", declared.label, *declared.columns()],
        "labels_version": pins.labels_version,
        "features_version": pins.features_version,
        "as_of": pins.as_of,
        "vectors": embeddings.MODEL if any(one.vectors for one in declared.inputs.values()) else None,
    }
