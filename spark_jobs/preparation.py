"""Text preparation: from raw rows to the tables of documents, chunks and quarantine. `llm_data_prep.py` is its program.

In: a `Request`. Out: `Counts`. One pass examines the whole input before anything is committed; then the plan is
compared with the limits, and a plan that crosses them leaves the tables as they were.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.storagelevel import StorageLevel

from mlflow_project.errors import InvalidData, Refused
from mlflow_project.rules.chunking.records import Fields
from mlflow_project.rules.chunking.splitter import Splitter
from mlflow_project.rules.quality.selection import Quality
from mlflow_project.telemetry.catalogue import PREPARED, QUARANTINE_SHARE
from mlflow_project.telemetry.meters import Meters
from spark_jobs import changes, tables
from spark_jobs.cutting import Cutter
from spark_jobs.examination import Examiner, Tally, all_differ
from spark_jobs.ingested_source import Ingested, Seen, documents_held
from spark_jobs.lease import one_writer
from spark_jobs.plan import Limits, Plan
from spark_jobs.raw import Form, Raw, read_raw
from spark_jobs.retractions import ids_as_rows, retracted_ids
from spark_jobs.rows import LOCATION, RAW_ROW, raw_rows
from spark_jobs.staging import Stager, stage
from spark_jobs.table_files import Written
from spark_jobs.table_log import newest_version
from spark_jobs.table_state import TableState, check_output, read_state, rows_seen
from spark_jobs.table_update import Change, MayCommit, TableUpdate, replace_quarantine
from spark_jobs.tables import Tables, spark_schema


@dataclass(frozen=True)
class Request:
    """What to prepare, and how.

    `append`: the input holds new documents only, so documents that it lacks stay; new rows of a raw table of ingestion
    are always appended. `command`: what the caller typed, for
    messages that say how to go on.
    """

    source: str
    output: str
    form: Form | None = None
    fields: Fields = field(default_factory=Fields)
    splitter: Splitter = field(default_factory=Splitter)
    limits: Limits = field(default_factory=Limits)
    quality: Quality = field(default_factory=Quality)
    append: bool = False
    command: str = ""


@dataclass(frozen=True)
class Counts(Plan):
    """The counts of a finished run. `chunks` and `delta_version` are those of the chunk table after it."""

    chunks: int = 0
    delta_version: int = -1
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON-ready data."""
        result = {"read": self.read, "documents": self.documents, "chunks": self.chunks, **super().to_dict()}
        return {**result, "delta_version": self.delta_version, "seconds": self.seconds}


@dataclass(frozen=True)
class _Pass:
    """The pass over the input, and the plan made from it.

    `seen` says which rows of raw tables earlier runs took, and `seen_after` adds those of this run. `rows` are the
    summaries of the raw rows. `documents` is the document plan, or None if the tally alone gave the counts. `appends`:
    documents that the input lacks stay.
    """

    raw: Raw
    update: TableUpdate
    seen: Mapping[str, Seen]
    before: TableState
    staged: DataFrame
    rows: DataFrame
    written: list[Written]
    tally: Tally
    documents: DataFrame | None
    plan: Plan
    appends: bool
    seen_after: Mapping[str, Seen]


def prepare(
    spark: SparkSession, request: Request, may_commit: MayCommit = lambda: None, meters: Meters | None = None
) -> Counts:
    """Prepare a text corpus.

    Args:
        may_commit: called before every commit, together with the check of the lease; raises to stop.
        meters: records the counts of rows.

    Raises:
        InvalidData, NotFound: input, output or options are not usable; found before any work.
        Refused: the plan crosses a limit, or another writer holds the table.
    """
    started = time.monotonic()
    at = Tables(tables.address(request.output))
    with one_writer(at.chunks) as still_ours:

        def allowed() -> None:
            may_commit()
            still_ours()

        with _passed(spark, request, at, dry_run=False) as done:
            if meters is not None:
                _measure(meters, request.output, done.plan)
            try:
                _refuse_torn(done, request)
                command = request.command or f"switchyard prepare {request.source} {request.output}"
                done.plan.check(request.limits, command, lambda: _first_rejection(done))
            except Refused:
                done.update.discard(done.written)
                raise
            chunks = _write(spark, request, at, done, allowed)
            version = done.update.chunks.version
    seconds = round(time.monotonic() - started, 3)
    return Counts(**vars(done.plan), chunks=chunks, delta_version=-1 if version is None else version, seconds=seconds)


def plan(spark: SparkSession, request: Request) -> Plan:
    """Plan a preparation: read the input and the tables. Writes nothing and takes no lease.

    Raises:
        InvalidData, NotFound: input, output or options are not usable.
        Refused: a run was cut short, and this input to append lacks documents that it left half written.
    """
    with _passed(spark, request, Tables(tables.address(request.output)), dry_run=True) as done:
        _refuse_torn(done, request)
        return done.plan


@contextmanager
def _passed(spark: SparkSession, request: Request, at: Tables, *, dry_run: bool) -> Iterator[_Pass]:
    """Run the pass and make the plan. Keeps the rows of the pass until the block ends."""
    if request.append and request.quality.duplicates != "keep":
        raise InvalidData("Duplicates are looked for in a whole corpus: leave out --append, or --duplicates.")
    raw = read_raw(spark, request.source, request.form, request.fields.id)
    if raw.ingested is not None and request.quality.duplicates != "keep":
        raise InvalidData(
            "Duplicates are looked for in a whole corpus, and a raw table gives new rows only: leave out --duplicates."
        )
    check_output(spark, at, try_to_write=not dry_run)
    update = TableUpdate(spark, at)
    seen = rows_seen(update.chunks, update.documents)
    if raw.ingested is not None and seen:
        raw = read_raw(spark, request.source, request.form, request.fields.id, seen)
    before = read_state(spark, at, update.chunks, update.documents, request.splitter.name)
    retracted = retracted_ids(spark, at)
    say(f"Reading {request.source} ({raw.form}); the table holds {len(before.known):,} documents.")
    known = spark.sparkContext.broadcast(before.known)
    appends = request.append or raw.ingested is not None
    staged = stage(raw, _stager(request, raw, update, retracted, dry_run), known).persist(StorageLevel.MEMORY_AND_DISK)
    rows = changes.row_summaries(staged.coalesce(spark.sparkContext.defaultParallelism))  # far fewer tasks than files
    documents = None
    try:
        written, tally, ids = update.collect(staged)
        counts = _counts_from_the_tally(before, tally, ids) if request.quality.duplicates == "keep" else None
        if counts is None:
            taken_back = ids_as_rows(spark, retracted)
            documents = _document_plan(rows, before, request, raw.ingested, taken_back)
            if not appends:
                documents = _with_ingested(spark, documents, before, seen, taken_back)
            documents = documents.persist(StorageLevel.MEMORY_AND_DISK)
            counts = changes.count(documents)
            if retracted:
                counts |= changes.count_retracted(documents, taken_back)
        found = _plan(tally, counts, raw.ingested is not None)
        say(f"Plan: {found}.")
        new = raw.ingested
        seen_after = seen if new is None else {**seen, new.table: new.seen()}
        yield _Pass(raw, update, seen, before, staged, rows, written, tally, documents, found, appends, seen_after)
    finally:
        for kept in (documents, staged):
            if kept is not None:
                kept.unpersist()


def _stager(request: Request, raw: Raw, update: TableUpdate, retracted: frozenset[str], dry_run: bool) -> Stager:
    examiner = Examiner(request.fields, raw.form == "files", raw.base, request.quality, retracted=retracted)
    chunks, documents = (None, None) if dry_run else (update.chunks.folder, update.documents.folder)
    return Stager(examiner, Cutter(request.splitter), chunks, documents, update.run, datetime.now(UTC))


def _counts_from_the_tally(before: TableState, tally: Tally, ids: list[bytes]) -> dict[str, int] | None:
    """The counts if the tally alone gives them; None if all rows must be compared with each other."""
    if before.fits and tally.is_exactly(before.known):
        return {"unchanged": tally.accepted}
    return {"new": tally.accepted} if before.held is None and all_differ(ids) else None


def _document_plan(
    rows: DataFrame, before: TableState, request: Request, ingested: Ingested | None, retracted: DataFrame
) -> DataFrame:
    found = changes.document_plan(rows, before.held)
    if request.quality.duplicates != "keep":
        found = changes.without_duplicates(found, rows, request.quality.duplicates == "near")
    if ingested is not None:
        return changes.keeping_the_rest(found, ingested.deleted.union(retracted).distinct())
    return changes.keeping_the_rest(found, retracted) if request.append else found


def _with_ingested(
    spark: SparkSession, documents: DataFrame, before: TableState, seen: Mapping[str, Seen], retracted: DataFrame
) -> DataFrame:
    """The plan of a whole corpus, in which documents that came over HTTP stay, unless they were retracted. Those that a
    run left half written are deleted; the next run on their raw table reads them again."""
    ids = documents_held(spark, seen)
    if ids is None:
        return documents
    ids = ids.join(retracted, "document_id", "left_anti")
    return changes.keeping(documents, ids if before.torn is None else ids.join(before.torn, "document_id", "left_anti"))


def _refuse_torn(done: _Pass, request: Request) -> None:
    """Refuse an input to append that lacks documents which an earlier run left half written."""
    ingested = done.raw.ingested
    if done.before.torn is None or done.documents is None or not done.appends:
        return
    ids = changes.not_taken(done.documents, done.before.torn)
    torn = (ids.join(ingested.deleted, "document_id", "left_anti") if ingested else ids).count()
    if torn:
        raise Refused(
            f"A run that was cut short left {torn:,} documents of {request.output} half written, and this input does "
            "not hold them. Run that preparation again first, or go back with `switchyard restore`."
        )


def _plan(tally: Tally, counts: dict[str, int], is_ingested: bool) -> Plan:
    found = Counter(counts)
    decided_late = {each.value: found[each.value] for each in changes.DECIDED_LATE if found[each.value]}
    quarantined = dict(sorted({**tally.rejected, **decided_late}.items()))
    tombstones = found["deleted"] if is_ingested else found["retracted"]  # nothing else deletes in a raw table
    return Plan(
        tally.read, quarantined, found["new"], found["unchanged"], found["changed"], found["deleted"], tombstones
    )


def _write(spark: SparkSession, request: Request, at: Tables, done: _Pass, may_commit: MayCommit) -> int:
    """Update the tables. Returns the number of chunks."""
    late = None
    if done.documents is not None and any(each in done.plan.quarantined for each in changes.DECIDED_LATE):
        late = changes.late_rejections(done.rows, done.documents)
    # Several appended inputs share the quarantine, so the name of one does not say what the quarantine contains.
    rows = f"append {done.tally.rows}" if done.appends else done.tally.rows
    if done.documents is not None or rows != done.before.rows:
        replace_quarantine(spark, at.quarantine, _rejected_rows(spark, request, at, done, late), may_commit)
    done.update.add_places(done.rows, may_commit)
    nothing_new = done.before.fits and not done.plan.changes_documents
    if nothing_new and done.seen_after == done.seen:
        say("No document changed: the tables of chunks and documents were not touched.")
        done.update.discard(done.written)
        return done.update.count() if done.before.chunks is None else done.before.chunks
    return done.update.apply(_change(done, late), rows, done.seen_after, may_commit)


def _rejected_rows(
    spark: SparkSession, request: Request, at: Tables, done: _Pass, late: DataFrame | None
) -> DataFrame | None:
    """The rows of the quarantine after this run, or None."""
    rejected = None
    if done.plan.quarantined:
        every = done.raw.through(raw_rows, spark_schema(RAW_ROW))
        rejected = changes.quarantine(done.staged, done.rows, late, every)
    if not done.appends or newest_version(spark, at.quarantine) is None:
        return rejected
    read = done.rows.select("file").distinct()
    kept = tables.read(spark, at.quarantine).drop("processed_at").join(read, "file", "left_anti")
    return kept if rejected is None else kept.unionByName(rejected)


def _change(done: _Pass, late: DataFrame | None) -> Change:
    rejected: dict[str, list[str]] = {}
    if late is not None and done.written:
        for part, document_id in changes.written_but_rejected(done.rows, late).collect():
            rejected.setdefault(part, []).append(document_id)
    replaces = done.documents is not None and (done.plan.changed or done.plan.deleted)
    return Change(done.written, changes.outdated(done.documents) if replaces else None, rejected)


def _first_rejection(done: _Pass) -> str:
    """A sentence about the first rejected row, for a refusal; empty if no row was rejected in the pass."""
    first = done.staged.where("reason IS NOT NULL").orderBy(*LOCATION).select(*LOCATION, "sentence").first()
    if first is None:
        return ""
    line = f", line {first['line'] + 1}" if first["block"] == 0 and done.raw.form == "lines" else ""
    return f"The first one, in {first['file']}{line}: {first['sentence']}"


def _measure(meters: Meters, output: str, found: Plan) -> None:
    """Record the counts as metrics."""
    table = output.rstrip("/").rsplit("/", 1)[-1]
    meters.record(QUARANTINE_SHARE, found.rejected / max(1, found.read), table=table)
    for outcome in ("new", "changed", "unchanged", "deleted"):
        meters.record(PREPARED, getattr(found, outcome), table=table, outcome=outcome)
    meters.record(PREPARED, found.rejected, table=table, outcome="quarantined")


def say(message: str) -> None:
    """Report progress on stderr."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
