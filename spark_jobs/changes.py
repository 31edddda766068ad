"""From examined rows to what must change in the tables. DataFrames in, DataFrames out; nothing is written here.

`seen` is the light side of the examination (place, reason, id, hash, fresh); the `book` has one row a document id, of
the input and of the tables together, and answers all questions about change.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as f

from mlflow_project.rules.chunking.records import SENTENCES, Reason
from spark_jobs import duplicates

PLACE = ["file", "block", "line"]

DROPPED = (Reason.EXACT_DUPLICATE, Reason.NEAR_DUPLICATE)
_TAKEN = "rows IS NOT NULL AND kinds = 1 AND dropped IS NULL"
_COUNTS = {
    "repeated": f"{_TAKEN} AND rows > 1",
    "new": f"{_TAKEN} AND fresh AND NOT held",
    "changed": f"{_TAKEN} AND fresh AND held",
    "unchanged": f"{_TAKEN} AND NOT fresh",
    "deleted": f"held AND NOT ({_TAKEN})",
}


def light(staged: DataFrame) -> DataFrame:
    """The columns that counting needs, of raw rows alone."""
    rows = staged.where("file IS NOT NULL")
    return rows.select(*PLACE, "reason", "document_id", "document_hash", "text_hash", "signature", "fresh", "part")


def book(seen: DataFrame, held: DataFrame | None) -> DataFrame:
    """One row a document id: its `rows` in the input, `kinds` of content, `first` place, `fresh`; `held` by tables;
    `dropped`: why it is not kept, so far None."""
    asked = (
        seen.where("reason IS NULL")
        .groupBy("document_id")
        .agg(
            f.count("*").alias("rows"),
            f.size(f.collect_set("document_hash")).alias("kinds"),
            f.min(f.struct(*PLACE)).alias("first"),
            f.max("fresh").alias("fresh"),
        )
        .withColumn("dropped", f.lit(None).cast("string"))
    )
    if held is None:
        return asked.withColumn("held", f.lit(False))
    both = asked.join(held.withColumn("held", f.lit(True)), "document_id", "full_outer")
    return both.withColumn("held", f.coalesce("held", f.lit(False)))


def without_duplicates(entries: DataFrame, seen: DataFrame, near: bool) -> DataFrame:
    """The book with a reason in `dropped` for documents whose text repeats that of another, word for word or nearly."""
    rows = seen.where("reason IS NULL").select("document_id", "text_hash", "signature")
    unique = rows.join(entries.where(_TAKEN).select("document_id"), "document_id").dropDuplicates(["document_id"])
    exact = duplicates.exact(unique, "document_id", "text_hash")
    dropped = exact.withColumn("dropped", f.lit(Reason.EXACT_DUPLICATE.value))
    if near:
        rest = unique.join(exact, "document_id", "left_anti")
        also = duplicates.near(rest, "document_id").withColumn("dropped", f.lit(Reason.NEAR_DUPLICATE.value))
        dropped = dropped.unionByName(also)
    return entries.drop("dropped").join(dropped, "document_id", "left")


def count(entries: DataFrame) -> dict[str, int]:
    """How many documents are new, changed, unchanged, deleted; how many rows repeat or conflict."""
    sums = [f.count_if(f.expr(what)).alias(name) for name, what in _COUNTS.items()]
    repeated = f.sum(f.when(f.expr(_COUNTS["repeated"]), f.col("rows") - 1)).alias(Reason.REPEATED_DOCUMENT)
    conflicting = f.sum(f.when(f.col("kinds") > 1, f.col("rows"))).alias(Reason.CONFLICTING_ID)
    dropped = [f.sum(f.when(f.col("dropped") == each.value, f.col("rows"))).alias(each.value) for each in DROPPED]
    found = entries.agg(*sums, repeated, conflicting, *dropped).first().asDict()
    return {name: int(number or 0) for name, number in found.items()}


def outdated(entries: DataFrame) -> DataFrame:
    """Ids whose rows in the tables must go: of documents that changed, and of those that the input no longer has."""
    return entries.where(f"held AND NOT ({_TAKEN} AND NOT fresh)").select("document_id")


def late_rejections(seen: DataFrame, entries: DataFrame) -> DataFrame:
    """Rows that only all rows together can reject: place and reason, for duplicates and conflicting ids."""
    several = entries.where("rows > 1 OR dropped IS NOT NULL").select("document_id", "kinds", "first", "dropped")
    rows = seen.where("reason IS NULL").select(*PLACE, "document_id").join(f.broadcast(several), "document_id")
    alike = f.coalesce("dropped", f.lit(Reason.REPEATED_DOCUMENT.value))
    reason = f.when(f.col("kinds") > 1, Reason.CONFLICTING_ID.value).otherwise(alike)
    later = (f.col("kinds") > 1) | f.col("dropped").isNotNull() | (f.struct(*PLACE) != f.col("first"))
    return rows.where(later).select(*PLACE, reason.alias("reason"))


def strays(seen: DataFrame, late: DataFrame) -> DataFrame:
    """Documents that were written to a file and rejected later: `part`, the name of the file, and `document_id`."""
    written = seen.where("reason IS NULL AND part IS NOT NULL")
    rejected = written.join(f.broadcast(late.select(*PLACE)), PLACE)
    ids = rejected.select("document_id").distinct()
    taken = written.join(f.broadcast(late.select(*PLACE)), PLACE, "left_anti").join(ids, "document_id")
    pair = ["part", "document_id"]
    return rejected.select(*pair).distinct().join(taken.select(*pair), pair, "left_anti")


def quarantine(staged: DataFrame, seen: DataFrame, late: DataFrame | None, numbered: DataFrame) -> DataFrame:
    """`file, line, reason, sentence, raw` of each rejected row; lines count from 1 through the whole file."""
    rejected = staged.where("reason IS NOT NULL").select(*PLACE, "reason", "sentence", "raw")
    if late is not None:
        sentences = f.create_map(*[f.lit(part) for each in SENTENCES.items() for part in each])
        rows = numbered.join(f.broadcast(late), PLACE).withColumn("sentence", sentences[f.col("reason")])
        rejected = rejected.unionByName(rows.select(*rejected.columns))
    before = Window.partitionBy("file").orderBy("block").rowsBetween(Window.unboundedPreceding, -1)
    blocks = seen.groupBy("file", "block").agg((f.max("line") + 1).alias("lines"))
    starts = blocks.select("file", "block", f.coalesce(f.sum("lines").over(before), f.lit(0)).alias("before"))
    line = (f.col("line") + f.col("before") + 1).alias("line")
    placed = rejected.join(f.broadcast(starts), ["file", "block"])
    return placed.select("file", line, "reason", "sentence", "raw")
