"""Predictions of one sealed release for the rows of a table, each row exactly once.

In: a Delta table at one version, and a release whose files were checked. Out: new rows in `<output>`, each with the
digest of the release that made it, and in `<output>_errors` for rows that the model refuses. Rows go in parts, each one
commit; what a commit holds is not computed again, so the next run completes one that was cut short.
"""

from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

from spark_jobs.lease import one_writer
from spark_jobs.new_rows import Batch, append, new_rows, too_many
from spark_jobs.predicting import ROW_KEY, input_columns, predicted
from spark_jobs.sealed_releases import SealedModel


def predict_new(spark: SparkSession, asked: Batch, sealed: SealedModel) -> dict[str, Any]:
    """Predict the rows that the output does not hold for this release. Returns how many.

    Raises:
        InvalidData: the rows do not fit the model, or two have one key. Refused: the model refuses too many rows.
    """
    done = {"predicted": 0, "failed": 0}
    release, shared = sealed.release, spark.sparkContext.broadcast(sealed)
    with one_writer(asked.output) as still_ours:
        new = new_rows(spark, asked, release, lambda there: input_columns(release, there, str(asked))).persist()
        try:
            count = int(new.count())
            parts = max(1, -(-count // asked.rows_at_once))
            for part in range(parts if count else 0):
                outcome = predicted(new.where(f.pmod(f.xxhash64(ROW_KEY), f.lit(parts)) == part), shared).persist()
                try:
                    failed = int(outcome.where("error IS NOT NULL").count())
                    done["failed"] += failed
                    if done["failed"] > asked.max_failed * count:
                        append(outcome, asked, release, still_ours, errors_only=True)
                        raise too_many(spark, done["failed"], count, asked, "The model refuses")
                    done["predicted"] += int(outcome.count()) - failed
                    append(outcome, asked, release, still_ours)
                finally:
                    outcome.unpersist()
        finally:
            new.unpersist()
            shared.destroy()
    return {"release": release.label, "digest": release.digest, "new_rows": count, **done}
