"""Text preparation, from raw rows to the three tables and the closing counts. `llm_data_prep.py` is its command line.

In: a `Request`. Out: `Counts`. Nothing is committed before the whole input was examined, so that too many rejected rows
leave the live tables as they were.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.storagelevel import StorageLevel

from mlflow_project.errors import Refused
from mlflow_project.rules.chunking.records import Fields, Reason
from mlflow_project.rules.chunking.splitter import Splitter
from mlflow_project.rules.quality.selection import Quality
from mlflow_project.telemetry.catalogue import PREPARED, QUARANTINE_SHARE
from mlflow_project.telemetry.meters import METERS
from spark_jobs import changes, delta_log, tables
from spark_jobs.cutting import Cutter
from spark_jobs.examination import NUMBERED, Examiner, number
from spark_jobs.lease import one_writer
from spark_jobs.places import check_output
from spark_jobs.raw import Form, Raw, read_raw
from spark_jobs.staging import Stager, stage
from spark_jobs.table_files import Written
from spark_jobs.tables import Tables
from spark_jobs.tally import Tally, all_differ
from spark_jobs.upkeep import Change, MayCommit, Standing, Upkeep, keep_quarantine, standing

_LATE = (Reason.REPEATED_DOCUMENT, Reason.CONFLICTING_ID, *changes.DROPPED)


@dataclass(frozen=True)
class Request:
    """What to prepare, and how. `max_rejected` is a share of the rows read; None: any number may be rejected."""

    source: str
    output: str
    form: Form | None = None
    fields: Fields = field(default_factory=Fields)
    splitter: Splitter = field(default_factory=Splitter)
    max_rejected: float | None = None
    quality: Quality = field(default_factory=Quality)


@dataclass(frozen=True)
class Counts:
    """What a run did. `read` is `documents` and all `quarantined` together; `documents` is new, changed, unchanged."""

    read: int
    documents: int
    chunks: int
    quarantined: dict[str, int]
    new: int
    unchanged: int
    changed: int
    deleted: int
    delta_version: int = -1
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what a run tells. What is new are the documents that are neither unchanged nor changed."""
        return {name: value for name, value in asdict(self).items() if name != "new"}


def prepare(spark: SparkSession, request: Request, may_commit: MayCommit = lambda: None) -> Counts:
    """Do it. `may_commit` is asked before every commit, besides the lease, and raises to stop.

    Raises:
        InvalidData, NotFound: input, output or splitter are not as they must be; found before any work.
        Refused: too many rows were rejected, or another writer holds the table.
    """
    started = time.monotonic()
    at = Tables(tables.address(request.output))
    with one_writer(at.chunks) as still_ours:
        raw = read_raw(spark, request.source, request.form, request.fields.id)
        check_output(spark, at)
        upkeep = Upkeep(spark, at)
        before = standing(spark, at, upkeep.folders[at.documents], request.splitter.name)
        say(f"Reading {request.source} ({raw.form}); {len(before.known):,} documents are prepared already.")
        counts = _prepared(spark, request, raw, upkeep, before, _both(may_commit, still_ours))
        done = {
            "delta_version": delta_log.newest(spark, at.chunks),
            "seconds": round(time.monotonic() - started, 3),
        }
    return Counts(**{**counts, **done})


def _prepared(
    spark: SparkSession, request: Request, raw: Raw, upkeep: Upkeep, before: Standing, may_commit: MayCommit
) -> dict[str, Any]:
    stager = _stager(request, raw, upkeep)
    known = spark.sparkContext.broadcast(before.known)
    staged = stage(raw, stager, known).persist(StorageLevel.MEMORY_AND_DISK)
    seen = changes.light(staged.coalesce(spark.sparkContext.defaultParallelism))  # light rows need no task a file
    book = None
    try:
        written, tally, ids = upkeep.told(staged)
        found = _plainly(before, tally, ids) if request.quality.duplicates == "keep" else None
        if found is None:
            book = _book(seen, before, request.quality).persist(StorageLevel.MEMORY_AND_DISK)
            found = changes.count(book)
        counts = _counts(tally, found)
        say(f"{counts['read']:,} rows read: {counts['documents']:,} documents, {_rejected(counts):,} in quarantine.")
        _measure(request.output, counts)
        try:
            _guard(counts, request.max_rejected)
        except Refused:
            upkeep.discard(written)
            raise
        several = any(each in counts["quarantined"] for each in _LATE)
        late = changes.late_rejections(seen, book) if book is not None and several else None
        if book is not None or tally.rows != before.rows:
            numbered = raw.through(number, NUMBERED)
            rejected = changes.quarantine(staged, seen, late, numbered) if counts["quarantined"] else None
            keep_quarantine(spark, Tables(tables.address(request.output)).quarantine, rejected, may_commit)
        if before.fits and not (counts["new"] or counts["changed"] or counts["deleted"]):
            say("Nothing changed: chunks and documents were not touched.")
            upkeep.discard(written)
            return {**counts, "chunks": upkeep.count() if before.chunks is None else before.chunks}
        say("Writing {new:,} new and {changed:,} changed documents, taking away {deleted:,}.".format_map(counts))
        chunks = upkeep.apply(_change(counts, written, seen, book, late), tally.rows, may_commit)
        return {**counts, "chunks": chunks}
    finally:
        for kept in (book, staged):
            if kept is not None:
                kept.unpersist()


def _stager(request: Request, raw: Raw, upkeep: Upkeep) -> Stager:
    examiner = Examiner(request.fields, raw.form == "files", raw.base, request.quality)
    chunks, documents = upkeep.folders[upkeep.chunks.address], upkeep.folders[upkeep.documents.address]
    return Stager(examiner, Cutter(request.splitter), chunks, documents, upkeep.run, datetime.now(UTC))


def _plainly(before: Standing, tally: Tally, ids: list[bytes]) -> dict[str, int] | None:
    """What the pass alone tells of the documents; None: all rows must be looked at together."""
    if before.fits and tally.is_exactly(before.known):
        return {"unchanged": tally.accepted}
    return {"new": tally.accepted} if before.held is None and all_differ(ids) else None


def _book(seen: DataFrame, before: Standing, quality: Quality) -> DataFrame:
    entries = changes.book(seen, before.held)
    if quality.duplicates == "keep":
        return entries
    return changes.without_duplicates(entries, seen, quality.duplicates == "near")


def _both(one: MayCommit, other: MayCommit) -> MayCommit:
    def asked() -> None:
        one()
        other()

    return asked


def _change(
    counts: dict[str, Any],
    written: list[Written],
    seen: DataFrame,
    book: DataFrame | None,
    late: DataFrame | None,
) -> Change:
    strays: dict[str, list[str]] = {}
    if late is not None and written:
        for part, document_id in changes.strays(seen, late).collect():
            strays.setdefault(part, []).append(document_id)
    replaces = book is not None and (counts["changed"] or counts["deleted"])
    return Change(written, changes.outdated(book) if replaces else None, strays)


def _counts(tally: Tally, documents: dict[str, int]) -> dict[str, Any]:
    """All but the chunks."""
    found = Counter(documents)
    late = {each.value: found[each.value] for each in _LATE if found[each.value]}
    return {
        "read": tally.read,
        "documents": found["new"] + found["changed"] + found["unchanged"],
        "quarantined": dict(sorted({**tally.rejected, **late}.items())),
        **{name: found[name] for name in ("new", "unchanged", "changed", "deleted")},
    }


def _measure(output: str, counts: dict[str, Any]) -> None:
    """Tell how many records came to what, once the job ends."""
    table = output.rstrip("/").rsplit("/", 1)[-1]
    rejected = sum(counts["quarantined"].values())
    METERS.record(QUARANTINE_SHARE, rejected / max(1, counts["read"]), table=table)
    for outcome in ("new", "changed", "unchanged", "deleted"):
        METERS.record(PREPARED, counts[outcome], table=table, outcome=outcome)
    METERS.record(PREPARED, rejected, table=table, outcome="quarantined")


def _guard(counts: dict[str, Any], most: float | None) -> None:
    rejected, read = _rejected(counts), counts["read"]
    if most is not None and read and rejected / read > most:
        reasons = ", ".join(f"{reason} {n}" for reason, n in counts["quarantined"].items())
        raise Refused(
            f"{rejected:,} of {read:,} rows are rejected ({rejected / read:.1%}; at most {most:.1%} may be): {reasons}"
            ". The tables are as they were."
        )


def _rejected(counts: dict[str, Any]) -> int:
    return sum(counts["quarantined"].values())


def say(message: str) -> None:
    """Progress, on stderr."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
