"""Finds rows whose text repeats that of another row, exactly or nearly. DataFrames in, DataFrames out.

Of several such rows, the one with the smallest key is not a duplicate, whatever the order of the input.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as f

from mlflow_project.rules.quality.minhash import BANDS, ROWS

NEAR = 0.8
"""The smallest similarity of near duplicates: the threshold of K. Lee et al., "Deduplicating training
data makes language models better" (2022)."""


def exact(rows: DataFrame, key: str, content: str) -> DataFrame:
    """The keys of rows with the same `content` as a row with a smaller key."""
    firsts = rows.groupBy(content).agg(f.min(key).alias("first"), f.count("*").alias("rows")).where("rows > 1")
    return rows.join(firsts, content).where(f.col(key) != f.col("first")).select(key)


def near(rows: DataFrame, key: str, signature: str = "signature") -> DataFrame:
    """The keys of rows whose signature is similar to that of a row with a smaller key. Only rows that share a band of
    their signatures are compared."""
    signed = rows.where(f.col(signature).isNotNull()).select(key, signature)
    slices = [f.xxhash64(f.lit(band), f.slice(signature, band * ROWS + 1, ROWS)) for band in range(BANDS)]
    banded = signed.select(key, f.explode(f.array(*slices)).alias("band"))
    firsts = banded.groupBy("band").agg(f.min(key).alias("first"), f.count("*").alias("rows")).where("rows > 1")
    pairs = banded.join(firsts, "band").where(f.col(key) != f.col("first")).select(key, "first").distinct()
    other = signed.select(f.col(key).alias("first"), f.col(signature).alias("other"))
    equal = f.size(f.filter(f.zip_with(signature, "other", lambda one, two: one == two), lambda same: same))
    alike = pairs.join(signed, key).join(other, "first").where(equal >= NEAR * BANDS * ROWS)
    return alike.select(key).distinct()
