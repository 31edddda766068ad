"""Profiles one column of texts as one row of `tables.PROFILES`. Drift is measured between profiles.

In: rows of `key, text, language`. Out: a mapping with
- `rows`, and how many of them are `blank` (null or white space);
- `length_quantiles`: exact quantiles of the length in characters at `QUANTILES` (0, 0.05 … 1);
- `words`, `vocabulary` (distinct words, lower case), `top_terms` (the most frequent 500 with their counts);
- `vocabulary_growth`: rows, words and vocabulary after each tenth of the rows, in the order of a hash of the key
  (H. S. Heaps, "Information retrieval", 1978: the vocabulary of a corpus that repeats itself grows more slowly);
- `languages` with the number of rows each, `und` where none is known: the row's own, else `rules.quality.languages`;
- `exact_duplicates`, `near_duplicates`: rows that repeat a row with a smaller key; near ones exclude exact ones;
- `topics`: share, words and centre of each (`spark_jobs.topics`).
The same rows give the same profile, in any order and partitioning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as f
from pyspark.storagelevel import StorageLevel

from mlflow_project.rules.quality.languages import UNKNOWN, language_of
from mlflow_project.rules.quality.minhash import signature
from spark_jobs import duplicates
from spark_jobs.topics import SAMPLE, Topics, find_topics, nearest, vectors

SPECIFICATION = "profile/1"
QUANTILES = tuple(step / 20 for step in range(21))
TOP_TERMS = 500
_PARTS = 10
_ALONE = "\\p{IsHan}\\p{IsHiragana}\\p{IsKatakana}\\p{IsThai}\\p{IsLao}\\p{IsKhmer}\\p{IsMyanmar}"
_WORD = f"[{_ALONE}]|[\\p{{L}}\\p{{M}}\\p{{N}}&&[^{_ALONE}]]+"
"""Words as in the search index, but not stemmed. In scripts without spaces every character is a word."""
_MEASURED = "key string, language string, signature array<int>, topic int"


def profile(rows: DataFrame, topics: Topics | None = None) -> dict[str, Any]:
    """Profile rows of `key, text, language`. `topics` are those of the first profile; None: this is the first."""
    kept = rows.where("text IS NOT NULL AND trim(text) <> ''").persist(StorageLevel.MEMORY_AND_DISK)
    try:
        topics = topics or find_topics(_sample(kept))
        measured = kept.mapInArrow(partial(_measure, topics=topics), _MEASURED).persist(StorageLevel.MEMORY_AND_DISK)
        blank = rows.count() - kept.count()
        found = {**_lengths(kept), "blank": blank, **_vocabulary(kept), **_duplicates(kept, measured)}
        found = {**found, "rows": found["rows"] + blank, "languages": _languages(measured)}
        return {**found, "topics": _topics(measured, topics)}
    finally:
        kept.unpersist()


def _sample(kept: DataFrame) -> list[str]:
    chosen = kept.orderBy(f.xxhash64("key"), "key").limit(SAMPLE).select(f.substring("text", 1, 2000))
    return [row[0] for row in chosen.collect()]


def _measure(batches: Iterator[pa.RecordBatch], topics: Topics) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        texts, known = batch.column("text").to_pylist(), batch.column("language").to_pylist()
        languages = [own or language_of(text) or UNKNOWN for own, text in zip(known, texts, strict=True)]
        signatures = [None if (found := signature(text)) is None else found.tolist() for text in texts]
        columns = [
            batch.column("key"),
            pa.array(languages, pa.string()),
            pa.array(signatures, pa.list_(pa.int32())),
            pa.array(nearest(vectors(texts), topics), pa.int32()),
        ]
        yield pa.RecordBatch.from_arrays(columns, names=["key", "language", "signature", "topic"])


def _lengths(kept: DataFrame) -> dict[str, Any]:
    shares = f.array(*[f.lit(share) for share in QUANTILES])
    found = kept.agg(f.count("*").alias("rows"), f.percentile(f.length("text"), shares).alias("quantiles")).first()
    return {"rows": found["rows"], "length_quantiles": [float(length) for length in found["quantiles"] or ()]}


def _vocabulary(kept: DataFrame) -> dict[str, Any]:
    part = f.pmod(f.xxhash64("key"), f.lit(_PARTS)).alias("part")
    words = kept.select(part, f.explode(f.regexp_extract_all(f.lower("text"), f.lit(_WORD), f.lit(0))).alias("term"))
    terms = words.groupBy("term").agg(f.count("*").alias("count"), f.min("part").alias("first"))
    terms = terms.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        new = {row["first"]: row["count"] for row in terms.groupBy("first").count().collect()}
        spoken = {row["part"]: row["count"] for row in words.groupBy("part").count().collect()}
        lines = {row["part"]: row["count"] for row in kept.select(part).groupBy("part").count().collect()}
        top = terms.orderBy(f.desc("count"), "term").limit(TOP_TERMS).select("term", "count").collect()
    finally:
        terms.unpersist()
    growth = [tuple(sum(each.get(n, 0) for n in range(end)) for each in (lines, spoken, new)) for end in range(1, 11)]
    return {
        "words": sum(spoken.values()),
        "vocabulary": sum(new.values()),
        "vocabulary_growth": growth,
        "top_terms": [tuple(row) for row in top],
    }


def _duplicates(kept: DataFrame, measured: DataFrame) -> dict[str, int]:
    exact = duplicates.exact(kept.select("key", f.xxhash64("text").alias("content")), "key", "content")
    near = duplicates.near(measured, "key").join(exact, "key", "left_anti")
    return {"exact_duplicates": exact.count(), "near_duplicates": near.count()}


def _languages(measured: DataFrame) -> list[tuple[str, int]]:
    counted = measured.groupBy("language").count().collect()
    return sorted(((row["language"], row["count"]) for row in counted), key=lambda each: (-each[1], each[0]))


def _topics(measured: DataFrame, topics: Topics) -> list[tuple[int, float, list[str], list[float]]]:
    rows = {row["topic"]: row["count"] for row in measured.groupBy("topic").count().collect()}
    whole = sum(rows.values()) or 1
    each = enumerate(zip(topics.terms, topics.centres.tolist(), strict=True))
    return [(topic, rows.get(topic, 0) / whole, list(terms), centre) for topic, (terms, centre) in each]


def topics_of(profiled: Row | Mapping[str, Any]) -> Topics:
    """The topics that a profile was computed with."""
    kept = profiled["topics"]
    centres = np.array([each["centre"] for each in kept], dtype=np.float32)
    return Topics(centres, tuple(tuple(each["terms"]) for each in kept))
