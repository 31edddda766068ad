"""The rows of a table that a release has not answered yet, and the two tables that its answers go to.

In: a Delta table at one version, and a release. Out: the rows that neither `<output>` nor `<output>_errors` holds for
this release, and new rows in both. A row is known by its key: a column that the caller names, or the SHA-256 of the
whole row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from mlflow_project.domain.release import Release
from mlflow_project.errors import InvalidData, Refused
from spark_jobs import tables
from spark_jobs.predicting import ROW_KEY
from spark_jobs.table_log import newest_version


@dataclass(frozen=True)
class Batch:
    """What is answered, where the answers go, and the largest share of the rows that may fail."""

    table: str
    version: int
    output: str
    key: str | None = None
    rows_at_once: int = 100_000
    max_failed: float = 0.01

    def __str__(self) -> str:
        return f"{self.table}@{self.version}"


def new_rows(
    spark: SparkSession, asked: Batch, release: Release, columns: Callable[[Sequence[str]], Sequence[str]]
) -> DataFrame:
    """The rows that this release has not answered: their keys, and the columns that `columns` names among the table's.

    Raises:
        InvalidData: a column is missing, or two rows have one key.
    """
    rows = tables.read(spark, asked.table, asked.version)
    names = columns(rows.columns)
    keyed = with_key(rows, asked.key, asked.table)
    if asked.key is None:
        keyed = keyed.dropDuplicates([ROW_KEY])
    else:
        wrong = keyed.groupBy(ROW_KEY).count().where(f"count > 1 OR {ROW_KEY} IS NULL").first()
        if wrong is not None:
            raise InvalidData(
                f"{wrong['count']} rows of {asked.table} have the {asked.key} {wrong[ROW_KEY]!r}: it is no key."
            )
    for table in (asked.output, f"{asked.output}_errors"):
        if newest_version(spark, table) is not None:
            known = tables.read(spark, table).where(f.col("release_digest") == release.digest).select(ROW_KEY)
            keyed = keyed.join(known, ROW_KEY, "left_anti")
    return keyed.select(ROW_KEY, *names)


def with_key(rows: DataFrame, key: str | None, table: str) -> DataFrame:
    """The rows with the column `row_key`.

    Raises:
        InvalidData: there is no column of that name.
    """
    if key is None:
        whole = f.to_json(f.struct(*sorted(rows.columns)), {"ignoreNullFields": "false"})
        return rows.withColumn(ROW_KEY, f.sha2(whole, 256))
    if key not in rows.columns:
        raise InvalidData(f"{table} has no column {key!r}. Its columns: {', '.join(rows.columns)}.")
    return rows.withColumn(ROW_KEY, f.col(key).cast("string"))


def append(
    outcome: DataFrame, asked: Batch, release: Release, still_ours: Callable[[], None], errors_only: bool = False
) -> None:
    """Write answers and errors. Errors go first: a row stands in one of the tables only, whichever commit is the last
    before a crash."""
    origin = {
        "release": release.label,
        "release_digest": release.digest,
        "input_table": asked.table,
        "input_version": asked.version,
    }
    stamped = outcome.select("*", *(f.lit(value).alias(name) for name, value in origin.items())).withColumn(
        "predicted_at", f.current_timestamp()
    )
    errors = stamped.where("error IS NOT NULL")
    if not errors.isEmpty():
        still_ours()
        tables.writer(errors.select(ROW_KEY, "error", *origin, "predicted_at")).mode("append").save(
            f"{asked.output}_errors"
        )
    if not errors_only:
        still_ours()
        tables.writer(stamped.where("error IS NULL").drop("error")).mode("append").save(asked.output)


def too_many(spark: SparkSession, failed: int, count: int, asked: Batch, who_fails: str) -> Refused:
    """The error for a share of failed rows above the limit; `who_fails` begins its sentence."""
    example = tables.read(spark, f"{asked.output}_errors").select("error").first()
    return Refused(
        f"{who_fails} {failed} of {count} rows, and at most {asked.max_failed:.2%} may fail; the job stopped. The "
        f"reasons are in {asked.output}_errors, for example: {example[0] if example else ''}"
    )
