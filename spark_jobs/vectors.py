"""The vectors of chunks: computed by Spark once a chunk and model, kept in `<chunk_table>_vectors`.

A chunk's id depends on its text, so a vector never goes stale; an unchanged chunk of a new table version has one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from mlflow_project.adapters.retrieval import embeddings
from spark_jobs import tables
from spark_jobs.lease import one_writer
from spark_jobs.tables import Tables


def complete(spark: SparkSession, at: Tables, chunks: DataFrame) -> DataFrame:
    """`chunk_id, vector` of every chunk; the missing ones are computed and kept first."""
    with one_writer(at.vectors) as may_commit:
        tables.create(spark, at.vectors, tables.VECTORS, embeddings.MODEL)
        known = tables.read(spark, at.vectors).where(f.col("model") == embeddings.MODEL)
        missing = chunks.join(known, "chunk_id", "left_anti").select("chunk_id", "text_content")
        if not missing.isEmpty():
            may_commit()
            computed = missing.mapInArrow(_embedded, "chunk_id string, model string, vector binary")
            computed.write.format("delta").mode("append").save(at.vectors)
    kept = tables.read(spark, at.vectors).where(f.col("model") == embeddings.MODEL)
    return kept.select("chunk_id", "vector")


def _embedded(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        vectors = embeddings.embed(batch.column("text_content").to_pylist()).astype("<f4")
        columns = [
            batch.column("chunk_id"),
            pa.array([embeddings.MODEL] * batch.num_rows),
            pa.array([vector.tobytes() for vector in vectors], pa.binary()),
        ]
        yield pa.RecordBatch.from_arrays(columns, names=["chunk_id", "model", "vector"])
