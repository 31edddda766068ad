"""Predictions for the rows of a stream, by the release that is live when a micro-batch begins, each row exactly once.

In: rows that are appended to a Delta table, or records of a Kafka topic. Out: rows in `<output>`, each with the digest
of its release, and in `<output>_errors` for rows that the model refuses; or records of a topic (`stream_ends`).

Exactly once, if the output is a table: Spark's checkpoint gives each micro-batch a number and always the same rows.
Which release predicts it is written down before the first prediction (`Choices`), so a micro-batch that is run again
after a crash gives the same rows. Delta Lake ignores a commit of the same stream (`txnAppId`) and number (`txnVersion`)
that it has already.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from py4j.protocol import Py4JError
from pyspark import Broadcast
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from mlflow_project.domain.reference import Reference
from mlflow_project.errors import InvalidData, Refused, WorkspaceError
from mlflow_project.parts import Parts
from spark_jobs import spark_internals, tables
from spark_jobs.lease import one_writer
from spark_jobs.live_model import Chosen, LiveModel, chosen
from spark_jobs.new_rows import with_key
from spark_jobs.predicting import ROW_KEY, input_columns, outcome_schema, predicted
from spark_jobs.sealed_releases import SealedModel
from spark_jobs.stream_ends import check_ends, records_of, send, topic_of
from spark_jobs.table_log import newest_version

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stream:
    """What is predicted, by which alias, and where to.

    `files_at_once` is the most files of the input table that one micro-batch reads, `records_at_once` the most records
    of an input topic. `key` names a column of an input table. `seconds` is the least time from
    one micro-batch to the next; None: predict what is there, and end.
    """

    table: str
    output: str
    model: Reference
    checkpoint: str
    key: str | None = None
    files_at_once: int = 100
    records_at_once: int = 10_000
    seconds: float | None = 1.0

    @property
    def identity(self) -> dict[str, str]:
        """What a checkpoint belongs to."""
        return {"table": self.table, "output": self.output, "model": self.model.name}


def predict_stream(spark: SparkSession, asked: Stream, parts: Parts) -> dict[str, Any]:
    """Predict until the process is told to end, or with `seconds=None` until all rows are predicted. Returns how many.

    Raises:
        NotFound: there is no such table or topic, or nothing is live under the alias.
        Refused: the version has no seal, or the checkpoint belongs to another stream.
        InvalidData: the rows do not fit the model. Unavailable: Kafka does not answer.
    """
    check_ends(spark, asked.table, asked.output)
    with one_writer(asked.output if topic_of(asked.output) is None else asked.checkpoint) as still_ours:
        choices = Choices.open(spark, asked)
        rows = _arriving(spark, asked)
        live = LiveModel(parts, asked.model, _fits(spark, asked, rows), choices.newest())
        live.now()  # what cannot be predicted at all is said now, and not at the first row
        batches = _MicroBatches(asked, choices, live, still_ours)
        writer = rows.writeStream.foreachBatch(batches).option("checkpointLocation", f"{asked.checkpoint}/spark")
        pace = {"availableNow": True} if asked.seconds is None else {"processingTime": f"{asked.seconds} seconds"}
        query = writer.trigger(**pace).start()
        try:
            while not query.awaitTermination(1):
                pass
        except Exception:
            if batches.failure is not None:
                raise batches.failure from None
            raise
        finally:
            with suppress(Py4JError, OSError):  # Java may have ended first, by the same signal
                query.stop()
    return {"micro_batches": batches.count, **batches.done, "releases": ", ".join(batches.releases)}


def _arriving(spark: SparkSession, asked: Stream) -> DataFrame:
    """The rows of the table or topic, the first ones first, and then those that are appended to it."""
    if (topic := topic_of(asked.table)) is not None:
        return records_of(spark, topic, asked.records_at_once)
    return spark.readStream.format("delta").option("maxFilesPerTrigger", asked.files_at_once).load(asked.table)


class Choices:
    """Which release predicts which micro-batch: a small file for each of the newest ones, beside Spark's checkpoint."""

    def __init__(self, spark: SparkSession, folder: str, stream: str) -> None:
        self.stream = stream
        self._spark, self._folder = spark, folder

    @classmethod
    def open(cls, spark: SparkSession, asked: Stream) -> Choices:
        """The choices of a stream. A new stream gets an id.

        Raises:
            Refused: the checkpoint belongs to another stream, or the output has rows and the checkpoint is new.
        """
        address = f"{asked.checkpoint}/stream.json"
        if not spark_internals.exists(spark, address):
            if topic_of(asked.output) is None and newest_version(spark, asked.output) is not None:
                raise Refused(
                    f"{asked.output} has rows, and {asked.checkpoint} is no checkpoint: the stream would begin anew, "
                    "and predict every row again. Name the checkpoint that the rows came with, or another output."
                )
            new = {"stream": uuid.uuid4().hex, **asked.identity}
            spark_internals.write_new(spark, address, json.dumps(new).encode())
        known = json.loads(spark_internals.read(spark, address))
        for name, value in asked.identity.items():
            if known.get(name) != value:
                raise Refused(
                    f"The checkpoint {asked.checkpoint} belongs to another stream: its {name} is {known.get(name)}, "
                    f"not {value}. Name another checkpoint with --checkpoint."
                )
        return cls(spark, f"{asked.checkpoint}/choices", known["stream"])

    def of(self, number: int, otherwise: Callable[[], Chosen]) -> Chosen:
        """What was chosen for a micro-batch. The first time it is `otherwise`, which is written down."""
        if not spark_internals.exists(self._spark, self._address(number)):
            content = json.dumps(vars(otherwise())).encode()
            spark_internals.write_new(self._spark, self._address(number), content)
            spark_internals.remove(self._spark, self._address(number - 2))
        return self._read(number)

    def newest(self) -> Chosen | None:
        """The newest choice; None for a new stream."""
        names = spark_internals.names(self._spark, self._folder)
        numbers = [int(stem) for stem, dot, end in (name.partition(".") for name in names) if end == "json"]
        return self._read(max(numbers)) if numbers else None

    def _read(self, number: int) -> Chosen:
        return Chosen(**json.loads(spark_internals.read(self._spark, self._address(number))))

    def _address(self, number: int) -> str:
        return f"{self._folder}/{number}.json"


def _fits(spark: SparkSession, asked: Stream, rows: DataFrame) -> Callable[[SealedModel], None]:
    """Checks that a release takes the stream's columns, and that its predictions fit the output table."""

    def check(sealed: SealedModel) -> None:
        if topic_of(asked.table) is None:
            input_columns(sealed.release, rows.columns, asked.table)
        wanted = tables.spark_schema(outcome_schema(sealed.release))["prediction"].dataType
        if topic_of(asked.output) is not None or newest_version(spark, asked.output) is None:
            return
        there = tables.read(spark, asked.output).schema["prediction"].dataType
        if there != wanted:
            raise InvalidData(
                f"{sealed.release.label} predicts {wanted.simpleString()}, and {asked.output} holds "
                f"{there.simpleString()}: name another output and checkpoint for it."
            )

    return check


@dataclass
class _MicroBatches:
    """Predicts and writes one micro-batch after another. `failure` is the error that ended the stream."""

    asked: Stream
    choices: Choices
    live: LiveModel
    still_ours: Callable[[], None]
    count: int = 0
    done: dict[str, int] = field(default_factory=lambda: {"predicted": 0, "failed": 0})
    releases: list[str] = field(default_factory=list)
    failure: WorkspaceError | None = None
    _shared: tuple[SealedModel, Broadcast[SealedModel]] | None = None

    def __call__(self, rows: DataFrame, number: int) -> None:
        try:
            self._predict(rows, number)
        except WorkspaceError as error:
            self.failure = error
            raise

    def _predict(self, rows: DataFrame, number: int) -> None:
        sealed = self.live.named(self.choices.of(number, lambda: chosen(self.live.now())))
        release = sealed.release
        outcome = self._outcome(rows, sealed).persist()
        try:
            failed = int(outcome.where("error IS NOT NULL").count())
            predictions = int(outcome.count()) - failed
            origin = {
                "release": release.label,
                "release_digest": release.digest,
                "input_table": self.asked.table,
                "micro_batch": number,
            }
            if (topic := topic_of(self.asked.output)) is not None:
                self.still_ours()
                send(outcome, topic, origin)
            else:
                self._append(outcome, origin, predictions, failed)
        finally:
            outcome.unpersist()
        self.count += 1
        self.done["predicted"] += predictions
        self.done["failed"] += failed
        if release.label not in self.releases:
            self.releases.append(release.label)
        facts: Mapping[str, Any] = {"predicted": predictions, "failed": failed, "release": release.label}
        logger.info("a micro-batch is written", extra={"micro_batch": number, **facts})

    def _outcome(self, rows: DataFrame, sealed: SealedModel) -> DataFrame:
        """A prediction or an error for each row of the micro-batch."""
        shared = self._broadcast(rows.sparkSession, sealed)
        if topic_of(self.asked.table) is not None:
            return predicted(rows, shared, as_records=True)
        names = input_columns(sealed.release, rows.columns, self.asked.table)
        return predicted(with_key(rows, self.asked.key, self.asked.table).select(ROW_KEY, *names), shared)

    def _append(self, outcome: DataFrame, origin: Mapping[str, Any], predictions: int, failed: int) -> None:
        """Write a micro-batch to the tables. Errors go first."""
        stamped = outcome.select("*", *(f.lit(value).alias(name) for name, value in origin.items()))
        stamped = stamped.withColumn("predicted_at", f.current_timestamp())
        number, output = int(origin["micro_batch"]), self.asked.output
        if failed:
            self._write(stamped.where("error IS NOT NULL").drop("prediction"), f"{output}_errors", number)
        if predictions:
            self._write(stamped.where("error IS NULL").drop("error"), output, number)

    def _write(self, rows: DataFrame, table: str, number: int) -> None:
        self.still_ours()
        once = {"txnAppId": self.choices.stream, "txnVersion": str(number)}
        tables.writer(rows).options(**once).mode("append").save(table)

    def _broadcast(self, spark: SparkSession, sealed: SealedModel) -> Broadcast[SealedModel]:
        if self._shared is None or self._shared[0] is not sealed:
            if self._shared is not None:
                self._shared[1].unpersist()
            self._shared = (sealed, spark.sparkContext.broadcast(sealed))
        return self._shared[1]
