"""Files of a table written again without some documents. Runs on executors; what is in the table does not change until
a commit names the new files in the place of the old ones.

In: the files, and the ids to leave out. Out: `Written`, each with the file that it replaces; a file of which nothing
remains has no successor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark import Broadcast
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema
from pyspark.sql.types import StructType

from spark_jobs.folders import Folder
from spark_jobs.table_files import WRITTEN, TableFile, Written


@dataclass(frozen=True)
class Sweep:
    """What goes: `ids` of documents, by the name of the file that they leave."""

    folder: Folder
    key: str
    columns: StructType
    run: str
    ids: Mapping[str, pa.Array]


def holding(rows: DataFrame, key: str, ids: DataFrame, folder: str) -> dict[str, int]:
    """The live files that hold any of these documents: names, below the table's folder, and bytes."""
    file = f.col("_metadata.file_path").alias("file"), f.col("_metadata.file_size").alias("size")
    held = rows.select(f.col(key).alias("document_id"), *file)
    found = held.join(ids, "document_id", "left_semi").select("file", "size").distinct()
    return {below(folder, unquote(str(path))): int(size) for path, size in sorted(found.collect())}


def below(folder: str, path: str) -> str:
    """The name of a file as the table knows it; Spark tells addresses in another spelling than they were given."""
    return path.rsplit(f"/{folder.rsplit('/', 1)[-1]}/", 1)[-1]


def swept(spark: SparkSession, sweep: Sweep) -> DataFrame:
    """`Written` rows: the files, written again."""
    paths = [f"{sweep.folder.address}/{name}" for name in sweep.ids]
    files = spark.read.format("binaryFile").load(paths).select("path", "content")
    shared = spark.sparkContext.broadcast(sweep)
    return files.mapInArrow(partial(_sweep, shared=shared), from_arrow_schema(WRITTEN))


def _sweep(batches: Iterator[pa.RecordBatch], shared: Broadcast[Sweep]) -> Iterator[pa.RecordBatch]:
    sweep = shared.value
    for batch in batches:
        for path, content in zip(batch["path"].to_pylist(), batch["content"], strict=True):
            written = _without(below(sweep.folder.address, path), content.as_buffer(), sweep)
            if written:
                yield pa.RecordBatch.from_pylist([written._asdict()], schema=WRITTEN)


def _without(name: str, content: pa.Buffer, sweep: Sweep) -> Written | None:
    rows = pq.read_table(pa.BufferReader(content), coerce_int96_timestamp_unit="us")
    gone = pc.is_in(rows.column(sweep.key), value_set=sweep.ids[name])
    rows = rows.filter(pc.invert(gone))
    kinds = {each.name: each.type for each in to_arrow_schema(sweep.columns, timezone="UTC")}
    schema = pa.schema([(each.name, kinds.get(each.name, each.type)) for each in rows.schema])
    stem = name.rsplit("/", 1)[-1].split(".")[0]
    file = TableFile(sweep.folder, f"{stem}-without-{sweep.run[:8]}.zstd.parquet", sweep.key)
    if rows.num_rows:
        file.write(rows.cast(schema))
    return file.close(name)
