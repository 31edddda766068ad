"""From examined rows to what must change in the tables. DataFrames in, DataFrames out; nothing is written here.

`seen` is the light side of the examination (place, reason, id, hash, fresh), kept in memory for the counting.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as f

from mlflow_project.rules.chunking.records import SENTENCES, Reason

PLACE = ["file", "block", "line"]


def light(examined: DataFrame) -> DataFrame:
    """The columns that counting needs."""
    return examined.select(*PLACE, "reason", "document_id", "document_hash", "fresh")


def late_rejections(seen: DataFrame) -> DataFrame:
    """Rows that only all rows together can reject: `place, reason`, for repeated documents and conflicting ids."""
    place = f.struct(*PLACE)
    twice = (
        seen.where("reason IS NULL")
        .groupBy("document_id")
        .agg(f.count("*").alias("rows"), f.count_distinct("document_hash").alias("kinds"), f.min(place).alias("first"))
        .where("rows > 1")
    )
    rows = seen.where("reason IS NULL").select(*PLACE, "document_id").join(twice, "document_id")
    reason = f.when(f.col("kinds") > 1, Reason.CONFLICTING_ID.value).otherwise(Reason.REPEATED_DOCUMENT.value)
    return rows.where((f.col("kinds") > 1) | (place != f.col("first"))).select(*PLACE, reason.alias("reason"))


def accepted(rows: DataFrame, late: DataFrame | None) -> DataFrame:
    """The rows that are documents."""
    valid = rows.where("reason IS NULL")
    return valid if late is None else valid.join(f.broadcast(late.select(*PLACE)), PLACE, "left_anti")


def quarantine(examined: DataFrame, seen: DataFrame, late: DataFrame | None, numbered: DataFrame) -> DataFrame:
    """`file, line, reason, sentence, raw` of each rejected row; lines count from 1 through the whole file."""
    rejected = examined.where("reason IS NOT NULL").select(*PLACE, "reason", "sentence", "raw")
    if late is not None:
        sentences = f.create_map(*[f.lit(part) for each in SENTENCES.items() for part in each])
        rows = numbered.join(f.broadcast(late), PLACE).withColumn("sentence", sentences[f.col("reason")])
        rejected = rejected.unionByName(rows.select(*rejected.columns))
    before = Window.partitionBy("file").orderBy("block").rowsBetween(Window.unboundedPreceding, -1)
    blocks = seen.groupBy("file", "block").agg((f.max("line") + 1).alias("lines"))
    starts = blocks.select("file", "block", f.coalesce(f.sum("lines").over(before), f.lit(0)).alias("before"))
    line = (f.col("line") + f.col("before") + 1).alias("line")
    return rejected.join(starts, ["file", "block"]).select("file", line, "reason", "sentence", "raw")


def documents(fresh: DataFrame, splitter: str) -> DataFrame:
    """Accepted fresh rows as rows of the document table."""
    return fresh.select(
        "document_id",
        "title",
        "text",
        "language",
        "metadata",
        "document_hash",
        f.size("chunks").alias("chunks"),
        f.lit(splitter).alias("splitter"),
        f.current_timestamp().alias("processed_at"),
    )


def chunks(fresh: DataFrame, splitter: str) -> DataFrame:
    """Accepted fresh rows as rows of the chunk table."""
    kept = ["document_id", "title", "language", "document_hash", "metadata"]
    return fresh.select(*kept, f.explode("chunks").alias("chunk")).select(
        "chunk.chunk_id",
        f.col("document_id").alias("source_document_id"),
        f.col("chunk.text").alias("text_content"),
        f.current_timestamp().alias("processed_at"),
        "chunk.start",
        "chunk.end",
        "chunk.index",
        "title",
        "chunk.heading_path",
        "language",
        "document_hash",
        f.lit(splitter).alias("splitter"),
        "metadata",
    )


def gone(existing: DataFrame, present: DataFrame) -> DataFrame:
    """Ids that the tables hold and the input no longer does."""
    return existing.select("document_id").join(present.select("document_id"), "document_id", "left_anti")
