"""Topics of Kafka -> raw Delta tables `s3a://raw-data-bucket/tables/<topic>`, each record exactly once.

    spark-submit spark_jobs/stream_ingest.py [--once] [TOPIC ...]

Without --once the job runs until it is told to end. It needs no checkpoint: each commit notes the offsets at which its
rows end, and a job that starts reads them from the table. Records that break their schema become dead letters, in the
topic `dead-letters` and in the table of that name.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pyspark.sql import SparkSession

from mlflow_project.adapters import run_flows
from mlflow_project.adapters.kafka import Cluster, send_dead_letters
from mlflow_project.adapters.schema_folder import read_streams
from mlflow_project.errors import InvalidData, NotFound, Refused
from mlflow_project.rules.ingestion import Stream
from mlflow_project.settings import KafkaSettings, StoreSettings, load
from mlflow_project.telemetry.catalogue import DEAD_LETTERS, INGEST_DELAY, INGEST_LAG, INGEST_WRITTEN
from mlflow_project.telemetry.meters import Meters
from spark_jobs import tables
from spark_jobs.ingested_offsets import Progress, end_of, read_progress, start_of
from spark_jobs.ingested_table import DEAD_TABLE, Batch, Target, write_batch
from spark_jobs.lease import one_writer
from spark_jobs.program import Arguments, Lineage, run
from spark_jobs.session import spark_job
from spark_jobs.table_log import newest_version

USAGE = "stream_ingest.py [--once] [TOPIC ...]"
_IDLE_SECONDS = 1.0
_DEAD_TABLE_TRIES = 20


@dataclass
class Source:
    """One topic while the job runs: how far its table is."""

    target: Target
    may_commit: Callable[[], None]
    progress: Progress
    total: dict[str, int] = field(default_factory=lambda: {"written": 0, "duplicates": 0, "dead_letters": 0})


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line. Anything wrong ends with the usage line and exit code 2."""
    parser = Arguments(USAGE, __doc__ or "")
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help="default: every topic that has a schema")
    parser.add_argument("--once", action="store_true", help="read what is there now, and end")
    parser.add_argument("--tables", default="", metavar="ADDRESS", help="default: s3a://raw-data-bucket/tables")
    parser.add_argument("--max-records", type=int, default=200_000, metavar="N", help="records of one commit")
    parser.add_argument("--compact-after", type=int, default=100, metavar="N", help="commits; 0: never")
    parser.add_argument("--window-days", type=float, default=14.0, metavar="DAYS", help="in which an id is recognised")
    parser.add_argument("--accept-recreated", action="store_true", help="read a topic that was created again")
    parser.add_argument("--accept-lost", action="store_true", help="go on without records that Kafka has deleted")
    options = parser.parse_args(argv)
    if options.max_records < 1 or options.compact_after < 0 or not 0 < options.window_days < 10_000:
        parser.error("--max-records must be at least 1, --compact-after at least 0, --window-days above 0")
    return options


def job(options: argparse.Namespace, meters: Meters) -> dict[str, Any]:
    """Ingest. Returns the counts of each topic as JSON-ready data."""
    with spark_job("stream_ingest", "Writing the raw tables") as spark:
        sender = None if options.once else _metrics_sender(meters)
        try:
            return ingest(spark, options, meters)
        finally:
            if sender is not None:
                sender.close()


def ingest(spark: SparkSession, options: argparse.Namespace, meters: Meters) -> dict[str, Any]:
    """Write every topic to its table, until nothing is left (--once) or until the job is told to end.

    Raises:
        Refused: another job writes one of the tables, or a topic does not go on where its table ends.
    """
    settings = load(KafkaSettings)
    streams = _chosen(read_streams(settings.schemas_folder), options.topics)
    cluster = Cluster(settings)
    place = _place_of_tables(options)
    with ExitStack() as leases:
        sources = [_open(spark, leases, stream, place, options) for stream in streams.values()]
        try:
            _run(spark, cluster, settings, sources, options, meters)
        except KeyboardInterrupt:
            if options.once:
                raise
        return {source.target.topic: _result(spark, source) for source in sources}


def _run(
    spark: SparkSession,
    cluster: Cluster,
    settings: KafkaSettings,
    sources: list[Source],
    options: argparse.Namespace,
    meters: Meters,
) -> None:
    """Read every topic in turn, until nothing is left (--once) or for ever."""
    while True:
        began = time.monotonic()
        read = sum(_advance(spark, cluster, settings, source, options, meters) for source in sources)
        if not read and options.once:
            return
        if not read:
            time.sleep(max(0.0, _IDLE_SECONDS - (time.monotonic() - began)))


def _advance(
    spark: SparkSession,
    cluster: Cluster,
    settings: KafkaSettings,
    source: Source,
    options: argparse.Namespace,
    meters: Meters,
) -> int:
    """Write one batch of a topic. Returns how many records it had; 0: the topic has nothing new, or does not exist."""
    topic = source.target.topic
    topic_id = cluster.topic_id(topic)
    if topic_id is None:
        if source.progress.topic_id is not None:
            raise NotFound(f"The topic {topic}, which was read before, does not exist any more.")
        return 0
    there = cluster.offsets(topic)
    accept = {"accept_recreated": options.accept_recreated, "accept_lost": options.accept_lost}
    start = start_of(topic, source.progress, topic_id, there, **accept)
    end = end_of(start, there, options.max_records)
    for partition, (_, last) in there.items():
        meters.record(INGEST_LAG, last - end[partition], topic=topic, partition=partition)
    if start == end:
        return 0
    reached = Progress(topic_id, end)
    records = records_between(spark, settings, topic, start, end)
    with _dead_letters_written_here(source.target.dead_table) as still_ours:

        def may_commit() -> None:
            source.may_commit()
            still_ours()

        batch = write_batch(spark, source.target, records, reached, may_commit, partial(send_dead_letters, settings))
        if batch.dead:
            _compact(spark, source.target.dead_table, may_commit, options.compact_after)
    source.progress = reached
    _count(source, batch, meters)
    _compact(spark, source.target.table, source.may_commit, options.compact_after)
    return sum(end.values()) - sum(start.values())


def records_between(
    spark: SparkSession, settings: KafkaSettings, topic: str, start: Mapping[int, int], end: Mapping[int, int]
) -> Any:
    """The records of an exact range of offsets."""
    reader = spark.read.format("kafka").option("subscribe", topic).option("includeHeaders", "true")
    reader = reader.options(**spark_options(settings))
    for name, offsets in (("startingOffsets", start), ("endingOffsets", end)):
        reader = reader.option(name, json.dumps({topic: {str(number): at for number, at in offsets.items()}}))
    return reader.load()


def spark_options(settings: KafkaSettings) -> dict[str, str]:
    """The settings of Kafka as Spark's source wants them."""
    found = {
        "kafka.bootstrap.servers": settings.kafka_brokers,
        "kafka.security.protocol": settings.kafka_security,
    }
    if settings.kafka_security.startswith("SASL"):
        module = "plain.PlainLoginModule" if settings.kafka_sasl_mechanism == "PLAIN" else "scram.ScramLoginModule"
        password = settings.kafka_password.get_secret_value() if settings.kafka_password else ""
        user, secret = (json.dumps(text) for text in (settings.kafka_user or "", password))
        found["kafka.sasl.mechanism"] = settings.kafka_sasl_mechanism
        found["kafka.sasl.jaas.config"] = (
            f"org.apache.kafka.common.security.{module} required username={user} password={secret};"
        )
    if settings.kafka_ca_file is not None:
        found["kafka.ssl.truststore.type"] = "PEM"
        found["kafka.ssl.truststore.location"] = str(settings.kafka_ca_file)
    return found


def _chosen(streams: Mapping[str, Stream], topics: list[str]) -> dict[str, Stream]:
    unknown = sorted(set(topics) - streams.keys())
    if unknown:
        raise InvalidData(f"No schema is registered for {', '.join(unknown)}. Topics: {', '.join(sorted(streams))}.")
    return {topic: stream for topic, stream in streams.items() if not topics or topic in topics}


def _open(spark: SparkSession, leases: ExitStack, stream: Stream, place: str, options: argparse.Namespace) -> Source:
    """Take the lease on a topic's table, and then read how far the table is."""
    table = f"{place}/{stream.topic}"
    may_commit = leases.enter_context(one_writer(table))
    target = Target(stream.topic, stream, table, f"{place}/{DEAD_TABLE}", options.window_days)
    return Source(target, may_commit, read_progress(spark, table))


@contextmanager
def _dead_letters_written_here(table: str) -> Iterator[Callable[[], None]]:
    """Hold the lease on the table of dead letters for one batch. Jobs of other topics, and redrives, write it too."""
    for left in range(_DEAD_TABLE_TRIES, -1, -1):
        lease = one_writer(table)
        try:
            may_commit = lease.__enter__()
            break
        except Refused:
            if not left:
                raise
            time.sleep(0.5)
    with ExitStack() as held:
        held.push(lease)
        yield may_commit


def _count(source: Source, batch: Batch, meters: Meters) -> None:
    topic, dead = source.target.topic, sum(batch.dead.values())
    for name, number in (("written", batch.written), ("duplicates", batch.duplicates), ("dead_letters", dead)):
        source.total[name] += number
        if number:
            outcome = {"written": "written", "duplicates": "duplicate", "dead_letters": "dead_letter"}[name]
            meters.record(INGEST_WRITTEN, number, topic=topic, outcome=outcome)
    for reason, number in batch.dead.items():
        meters.record(DEAD_LETTERS, number, topic=topic, reason=reason)
    if batch.slowest is not None:
        meters.record(INGEST_DELAY, batch.slowest, topic=topic)


def _compact(spark: SparkSession, table: str, may_commit: Callable[[], None], every: int) -> None:
    """Fold the small files of many commits into larger ones if the table's version is a multiple of `every`. Changes no
    row. The version counts the commits of all jobs, since a job with --once makes only a few.
    """
    version = newest_version(spark, table) if every else None
    if version and version % every == 0:
        may_commit()
        spark.sql(f"OPTIMIZE delta.`{table}`")


def _result(spark: SparkSession, source: Source) -> dict[str, Any]:
    version = newest_version(spark, source.target.table)
    return {**source.total, "delta_version": -1 if version is None else version}


def _place_of_tables(options: argparse.Namespace) -> str:
    return tables.address(options.tables or f"s3a://{load(StoreSettings).raw_bucket}/tables")


def _metrics_sender(meters: Meters) -> Any:
    from mlflow_project.settings import TelemetrySettings
    from mlflow_project.telemetry.sending import start

    return start(meters, load(TelemetrySettings), "switchyard-writer")


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    options = arguments(argv)
    meters = Meters()
    flow = partial(run_flows.ingested, options.topics, _place_of_tables(options))
    lineage = Lineage("ingest", flow, streams=not options.once)
    return run(partial(job, meters=meters), options, "Kafka -> raw tables", meters, lineage)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
