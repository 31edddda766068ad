"""Where a stream's rows come from, and where its predictions go: Delta tables, or topics of Kafka (`kafka://TOPIC`).

In: an address. Out: for an input topic a streaming DataFrame with a key and the text of each record; for an output
topic a record for each prediction.

A record of an output topic has the key `<row_key>@<release digest>`, and as value a JSON object with the members of
`SENT`. Kafka as a sink of Spark sends a micro-batch again after a crash, so a record may come more than once. All
copies have the same key and the same bytes, so a reader recognises them, and a compacted topic keeps one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as f

from mlflow_project.adapters.kafka import Cluster
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.settings import KafkaSettings, load
from spark_jobs.predicting import RECORD, ROW_KEY
from spark_jobs.stream_ingest import spark_options
from spark_jobs.table_log import newest_version

SENT = (ROW_KEY, "prediction", "error", "release", "release_digest", "input_table", "micro_batch")


def topic_of(address: str) -> str | None:
    """The topic that an address names; None: it is a table.

    Raises:
        InvalidData: the address begins with `kafka://`, and what follows is not the name of a topic.
    """
    scheme, found, topic = address.partition("://")
    if scheme != "kafka" or not found:
        return None
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic):
        raise InvalidData(
            f"{address} does not name a topic: write kafka://TOPIC, of letters, digits, '.', '_' and '-'."
        )
    return topic


def check_ends(spark: SparkSession, source: str, output: str) -> None:
    """Check that what is read is there, and an output topic too.

    Raises:
        NotFound: there is no such table or topic. Unavailable: Kafka does not answer.
    """
    topics = [topic for topic in map(topic_of, (source, output)) if topic is not None]
    if topics:
        settings = load(KafkaSettings)
        there = Cluster(settings).topics()
        if missing := sorted(set(topics) - there):
            raise NotFound(f"Kafka at {settings.kafka_brokers} has no topic {', '.join(missing)}: create it first.")
    if topic_of(source) is None and newest_version(spark, source) is None:
        raise NotFound(f"There is no Delta table at {source}.")


def records_of(spark: SparkSession, topic: str, records_at_once: int) -> DataFrame:
    """The records of a topic from the first one on: `topic/partition/offset` as `row_key`, and the value's bytes."""
    reader = spark.readStream.format("kafka").options(**spark_options(load(KafkaSettings)))
    reader = reader.option("subscribe", topic).option("startingOffsets", "earliest")
    place = f.concat_ws("/", "topic", "partition", "offset")
    loaded = reader.option("maxOffsetsPerTrigger", records_at_once).load()
    return loaded.select(place.alias(ROW_KEY), f.col("value").alias(RECORD))


def send(outcome: DataFrame, topic: str, origin: Mapping[str, Any]) -> None:
    """Send a micro-batch to a topic. The same rows and origin always give the same records."""
    kind = dict(outcome.dtypes)["prediction"]
    prediction = _null_if_not_finite(f.col("prediction")) if kind in ("double", "float") else f.col("prediction")
    stamped = outcome.select(
        ROW_KEY, prediction.alias("prediction"), "error", *(f.lit(value).alias(name) for name, value in origin.items())
    )
    records = stamped.select(
        f.concat(ROW_KEY, f.lit("@"), "release_digest").alias("key"),
        f.to_json(f.struct(*SENT), {"ignoreNullFields": "false"}).alias("value"),
    )
    records.write.format("kafka").options(**spark_options(load(KafkaSettings))).option("topic", topic).save()


def _null_if_not_finite(value: Column) -> Column:
    """JSON has no word for infinity and for what is not a number; the server answers null for both."""
    return f.when(f.abs(value) < f.lit(float("inf")), value)
