"""The vectors of chunks. Spark computes each once per chunk and model, and keeps it in `<chunk_table>_vectors`.

A chunk's id depends on its text, so a vector never becomes outdated, and unchanged chunks keep theirs.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from mlflow_project.adapters.delta_tables import batches, open_table
from mlflow_project.adapters.retrieval import embeddings
from mlflow_project.errors import NotFound
from spark_jobs import tables
from spark_jobs.lease import one_writer
from spark_jobs.table_log import newest_version
from spark_jobs.tables import Tables


def are_complete(at: Tables, version: int) -> bool:
    """Whether every chunk of a table version has its vector. Needs no Spark.

    Raises:
        NotFound: there is no such table.
    """
    chunks = open_table(at.chunks, version)
    try:
        opened = {"chunks": chunks, "vectors": open_table(at.vectors)}
    except NotFound:
        return False
    model = f"SELECT chunk_id FROM vectors WHERE model = '{embeddings.MODEL}'"
    missing = batches(f"SELECT chunk_id FROM chunks WHERE chunk_id NOT IN ({model}) LIMIT 1", opened)
    return not any(batch.num_rows for batch in missing)


def complete(spark: SparkSession, at: Tables, chunks: DataFrame) -> DataFrame:
    """`chunk_id, vector` of every chunk. Computes and stores the missing ones first."""
    with one_writer(at.vectors) as may_commit:
        missing = chunks.select("chunk_id", "text_content")
        if newest_version(spark, at.vectors) is not None:
            missing = missing.join(_kept(spark, at), "chunk_id", "left_anti")
            if missing.isEmpty():
                return _kept(spark, at)
        may_commit()
        computed = missing.mapInArrow(_embedded, tables.spark_schema(tables.VECTORS))
        tables.writer(computed).mode("append").save(at.vectors)
    return _kept(spark, at)


def _kept(spark: SparkSession, at: Tables) -> DataFrame:
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
