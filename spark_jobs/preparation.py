"""Text preparation, from raw rows to the three tables and the closing counts. `llm_data_prep.py` is its command line.

In: a `Request`. Out: `Counts`. Nothing is written before the whole input was examined, so that too many rejected rows
leave the live tables as they were.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.storagelevel import StorageLevel

from mlflow_project.errors import Refused
from mlflow_project.rules.chunking.records import Fields
from mlflow_project.rules.chunking.splitter import Splitter
from spark_jobs import changes, tables, upkeep
from spark_jobs.examination import Examiner, examine, number
from spark_jobs.lease import one_writer
from spark_jobs.raw import Form, Raw, read_raw
from spark_jobs.tables import Tables


@dataclass(frozen=True)
class Request:
    """What to prepare, and how. `max_rejected` is a share of the rows read; None: any number may be rejected."""

    source: str
    output: str
    form: Form | None = None
    fields: Fields = field(default_factory=Fields)
    splitter: Splitter = field(default_factory=Splitter)
    max_rejected: float | None = None


@dataclass
class Counts:
    """What a run did. `read` is `documents` and all `quarantined` together."""

    read: int = 0
    documents: int = 0
    chunks: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)
    new: int = 0
    unchanged: int = 0
    changed: int = 0
    deleted: int = 0
    delta_version: int = 0
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def prepare(spark: SparkSession, request: Request) -> Counts:
    """Do it.

    Raises:
        InvalidData, NotFound: input, output or splitter are not as they must be; found before any work.
        Refused: too many rows were rejected, or another writer holds the table.
    """
    started = time.monotonic()
    at = Tables(tables.address(request.output))
    raw = read_raw(spark, request.source, request.form)
    tables.same_splitter(spark, at.chunks, request.splitter.name)
    with one_writer(at.chunks) as may_commit:
        counts = _prepared(spark, request, raw, at, may_commit)
    counts.seconds = round(time.monotonic() - started, 3)
    return counts


def _prepared(spark: SparkSession, request: Request, raw: Raw, at: Tables, may_commit: Callable[[], None]) -> Counts:
    before = upkeep.standing(spark, at)
    say(f"Reading {request.source} ({raw.form}); {before.documents:,} documents are prepared already.")
    examiner = Examiner(request.fields, request.splitter, raw.form == "files", raw.base)
    known = spark.sparkContext.broadcast(before.known)
    examined = examine(raw.rows, examiner, known).persist(StorageLevel.DISK_ONLY)
    seen = changes.light(examined).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        late = _late(seen)
        present = changes.accepted(seen, late).select("document_id", "fresh").persist()
        counts = _count(seen, late, present, before)
        _guard(counts, request.max_rejected)
        may_commit()
        tables.create_all(spark, at, request.splitter.name)
        rejected = changes.quarantine(examined, seen, late, number(raw.rows))
        upkeep.keep_quarantine(spark, at.quarantine, rejected, may_commit)
        _write(spark, at, counts, before, changes.accepted(examined, late).where("fresh"), present, request, may_commit)
    finally:
        examined.unpersist()
        seen.unpersist()
    counts.chunks = tables.read(spark, at.chunks).count()
    counts.delta_version = tables.version(spark, at.chunks)
    return counts


def _write(
    spark: SparkSession,
    at: Tables,
    counts: Counts,
    before: upkeep.Standing,
    fresh: DataFrame,
    present: DataFrame,
    request: Request,
    may_commit: Callable[[], None],
) -> None:
    put = counts.new + counts.changed > 0
    if not put and not counts.deleted and not before.interrupted:
        say("Nothing changed: no table was touched.")
        return
    say(f"Writing {counts.new:,} new and {counts.changed:,} changed documents, taking away {counts.deleted:,}.")
    gone = changes.gone(before.ids, present).persist() if before.ids is not None and counts.deleted else None
    change = upkeep.Change(
        changes.documents(fresh, request.splitter.name) if put else None,
        changes.chunks(fresh, request.splitter.name) if put else None,
        gone,
    )
    upkeep.apply(spark, at, change, may_commit)


def _late(seen: DataFrame) -> DataFrame | None:
    late = changes.late_rejections(seen).persist()
    return None if late.isEmpty() else late


def _count(seen: DataFrame, late: DataFrame | None, present: DataFrame, before: upkeep.Standing) -> Counts:
    counts = Counts(read=seen.count())
    reasons = seen.where("reason IS NOT NULL").select("reason")
    reasons = reasons if late is None else reasons.union(late.select("reason"))
    counts.quarantined = dict(sorted(reasons.groupBy("reason").count().collect()))
    fresh = present.where("fresh").count()
    counts.unchanged = present.count() - fresh
    counts.documents = counts.unchanged + fresh
    counts.new = fresh
    if before.ids is not None and (fresh or counts.unchanged != before.documents or before.interrupted):
        counts.changed = present.where("fresh").join(before.ids, "document_id", "left_semi").count()
        counts.new = fresh - counts.changed
        counts.deleted = changes.gone(before.ids, present).count()
    return counts


def _guard(counts: Counts, most: float | None) -> None:
    rejected = sum(counts.quarantined.values())
    if most is not None and counts.read and rejected / counts.read > most:
        reasons = ", ".join(f"{reason} {n}" for reason, n in counts.quarantined.items())
        raise Refused(
            f"{rejected:,} of {counts.read:,} rows are rejected ({rejected / counts.read:.1%}; at most {most:.1%} may "
            f"be): {reasons}. The tables are as they were."
        )


def say(message: str) -> None:
    """Progress, on stderr."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
