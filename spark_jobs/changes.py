"""Decides which documents are new, changed, deleted or rejected. DataFrames in, DataFrames out; writes nothing.

`rows` are summaries of raw rows. The document plan has one row for each document id of the input or of the tables;
everything about changes is computed from it.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as f

from mlflow_project.rules.chunking.records import SENTENCES, Reason
from spark_jobs import duplicates
from spark_jobs.rows import LOCATION

DECIDED_LATE = (Reason.REPEATED_DOCUMENT, Reason.CONFLICTING_ID, Reason.EXACT_DUPLICATE, Reason.NEAR_DUPLICATE)
"""Reasons that show only when all rows are compared."""

_TAKEN = "rows IS NOT NULL AND kinds = 1 AND dropped IS NULL"
_COUNTS = {
    "new": f"{_TAKEN} AND fresh AND NOT held",
    "changed": f"{_TAKEN} AND fresh AND held",
    "unchanged": f"{_TAKEN} AND NOT fresh",
    "deleted": f"held AND NOT ({_TAKEN})",
}


def row_summaries(staged: DataFrame) -> DataFrame:
    """The columns that decisions need, without the reports of files and tasks."""
    rows = staged.where("file IS NOT NULL")
    return rows.select(*LOCATION, "reason", "document_id", "document_hash", "text_hash", "signature", "fresh", "part")


def document_plan(rows: DataFrame, held: DataFrame | None) -> DataFrame:
    """One row per document id.

    Columns: how many `rows` of the input have the id, how many `kinds` of content they have, the `first` location,
    `fresh` (the tables lack the content), `held` (the tables contain the id) and `dropped` (a reason, null so far).
    """
    asked = (
        rows.where("reason IS NULL")
        .groupBy("document_id")
        .agg(
            f.count("*").alias("rows"),
            f.size(f.collect_set("document_hash")).alias("kinds"),
            f.min(f.struct(*LOCATION)).alias("first"),
            f.max("fresh").alias("fresh"),
        )
        .withColumn("dropped", f.lit(None).cast("string"))
    )
    if held is None:
        return asked.withColumn("held", f.lit(False))
    both = asked.join(held.withColumn("held", f.lit(True)), "document_id", "full_outer")
    return both.withColumn("held", f.coalesce("held", f.lit(False)))


def keeping_the_rest(plan: DataFrame, deleted: DataFrame) -> DataFrame:
    """The plan of an appended input: a document that the input lacks, or rejects, stays as it is. Those of `deleted`
    leave the tables all the same, because somebody deleted them by their id.
    """
    kept = plan.where("rows IS NOT NULL").withColumn("held", f.expr(f"held AND {_TAKEN}"))
    return kept.unionByName(plan.where("rows IS NULL AND held").join(deleted, "document_id", "left_semi"))


def keeping(plan: DataFrame, ids: DataFrame) -> DataFrame:
    """The plan of a whole corpus, in which documents with these ids stay if the corpus lacks them."""
    missing = plan.where("rows IS NULL").join(ids, "document_id", "left_anti")
    return plan.where("rows IS NOT NULL").unionByName(missing)


def not_taken(plan: DataFrame, ids: DataFrame) -> DataFrame:
    """The ids among these whose document the plan does not take from the input."""
    return ids.join(plan.where(_TAKEN).select("document_id"), "document_id", "left_anti")


def without_duplicates(plan: DataFrame, rows: DataFrame, near: bool) -> DataFrame:
    """The plan with a reason in `dropped` for documents whose text repeats another one, exactly or (`near`) nearly."""
    marks = rows.where("reason IS NULL").select("document_id", "text_hash", "signature")
    unique = marks.join(plan.where(_TAKEN).select("document_id"), "document_id").dropDuplicates(["document_id"])
    exact = duplicates.exact(unique, "document_id", "text_hash")
    dropped = exact.withColumn("dropped", f.lit(Reason.EXACT_DUPLICATE.value))
    if near:
        rest = unique.join(exact, "document_id", "left_anti")
        also = duplicates.near(rest, "document_id").withColumn("dropped", f.lit(Reason.NEAR_DUPLICATE.value))
        dropped = dropped.unionByName(also)
    return plan.drop("dropped").join(dropped, "document_id", "left")


def count(plan: DataFrame) -> dict[str, int]:
    """How many documents are new, changed, unchanged and deleted, and how many rows each late reason rejects."""
    sums = [f.count_if(f.expr(what)).alias(name) for name, what in _COUNTS.items()]
    repeated = f.sum(f.when(f.expr(f"{_TAKEN} AND rows > 1"), f.col("rows") - 1)).alias(Reason.REPEATED_DOCUMENT.value)
    conflicting = f.sum(f.when(f.col("kinds") > 1, f.col("rows"))).alias(Reason.CONFLICTING_ID.value)
    dropped = [
        f.sum(f.when(f.col("dropped") == each.value, f.col("rows"))).alias(each.value) for each in DECIDED_LATE[2:]
    ]
    counts = plan.agg(*sums, repeated, conflicting, *dropped).first().asDict()
    return {name: int(number or 0) for name, number in counts.items()}


def count_retracted(plan: DataFrame, ids: DataFrame) -> dict[str, int]:
    """How many of the deleted documents have one of these ids."""
    return {"retracted": plan.where(_COUNTS["deleted"]).join(ids, "document_id", "left_semi").count()}


def outdated(plan: DataFrame) -> DataFrame:
    """The ids whose rows must leave the tables: those of changed and of deleted documents."""
    return plan.where(f"held AND NOT ({_TAKEN} AND NOT fresh)").select("document_id")


def late_rejections(rows: DataFrame, plan: DataFrame) -> DataFrame:
    """The location and the reason of each row that is rejected because of other rows."""
    several = plan.where("rows > 1 OR dropped IS NOT NULL").select("document_id", "kinds", "first", "dropped")
    asked = rows.where("reason IS NULL").select(*LOCATION, "document_id").join(f.broadcast(several), "document_id")
    alike = f.coalesce("dropped", f.lit(Reason.REPEATED_DOCUMENT.value))
    reason = f.when(f.col("kinds") > 1, Reason.CONFLICTING_ID.value).otherwise(alike)
    rejected = (f.col("kinds") > 1) | f.col("dropped").isNotNull() | (f.struct(*LOCATION) != f.col("first"))
    return asked.where(rejected).select(*LOCATION, reason.alias("reason"))


def written_but_rejected(rows: DataFrame, late: DataFrame) -> DataFrame:
    """Documents that the pass wrote and that were rejected later: `part` (the name of the file) and `document_id`."""
    written = rows.where("reason IS NULL AND part IS NOT NULL")
    rejected = written.join(f.broadcast(late.select(*LOCATION)), [*LOCATION])
    ids = rejected.select("document_id").distinct()
    taken = written.join(f.broadcast(late.select(*LOCATION)), [*LOCATION], "left_anti").join(ids, "document_id")
    pair = ["part", "document_id"]
    return rejected.select(*pair).distinct().join(taken.select(*pair), pair, "left_anti")


def quarantine(staged: DataFrame, rows: DataFrame, late: DataFrame | None, raw_rows: DataFrame) -> DataFrame:
    """`file, line, reason, sentence, raw` of each rejected row. Lines are numbered from 1 through the whole file."""
    rejected = staged.where("reason IS NOT NULL").select(*LOCATION, "reason", "sentence", "raw")
    if late is not None:
        sentences = f.create_map(*[f.lit(part) for each in SENTENCES.items() for part in each])
        found = raw_rows.join(f.broadcast(late), [*LOCATION]).withColumn("sentence", sentences[f.col("reason")])
        rejected = rejected.unionByName(found.select(*rejected.columns))
    before = Window.partitionBy("file").orderBy("block").rowsBetween(Window.unboundedPreceding, -1)
    blocks = rows.groupBy("file", "block").agg((f.max("line") + 1).alias("lines"))
    starts = blocks.select("file", "block", f.coalesce(f.sum("lines").over(before), f.lit(0)).alias("before"))
    line = (f.col("line") + f.col("before") + 1).alias("line")
    located = rejected.join(f.broadcast(starts), ["file", "block"])
    return located.select("file", line, "reason", "sentence", "raw")
