"""Makes a fine-tuning set from raw rows: examines them in one pass, drops repeated examples, writes a fixed order.

In: an `Export`. Out: files, and their manifest. Each row becomes an example in one file or a line of `rejected.jsonl`.
Of examples with the same turns, the one with the smallest document id is taken.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f
from pyspark.storagelevel import StorageLevel

from mlflow_project.errors import InvalidData
from mlflow_project.rules.canonical import digest, digest_of
from mlflow_project.rules.fine_tuning import (
    FORMS,
    SPLITS,
    Example,
    ExampleFields,
    Rejection,
    Unfit,
    cuts_for,
    key_of,
    place_of,
    read_example,
)
from mlflow_project.rules.masking import Masker
from spark_jobs import spark_internals, tables
from spark_jobs.raw import read_raw
from spark_jobs.rows import Row, batch_of

SCHEMA = "switchyard.fine-tuning/v1"
_FOUND = ("reason", "sentence", "document", "key", "place", "line", "masked")
_EXAMINED = pa.schema(
    {"file": pa.string(), "block": pa.int64(), "raw": pa.binary(), **dict.fromkeys(_FOUND, pa.string())}
)
_REPEATED = "Another row has the same turns; one of them was taken."


@dataclass(frozen=True)
class Export:
    """What to export, and how. `shares` are the shares of train, validation and test."""

    source: str
    output: str
    provider: str = "openai"
    fields: ExampleFields = field(default_factory=ExampleFields)
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    system: str | None = None
    mask: bool = False
    mask_patterns: Mapping[str, str] = field(default_factory=dict)
    """A site's own patterns to mask, besides the built-in ones."""


def export(spark: SparkSession, asked: Export) -> dict[str, Any]:
    """Export a fine-tuning set. Returns the manifest, which is written last.

    Raises:
        InvalidData, NotFound: input or output are not usable; found before any work.
    """
    output = tables.address(asked.output)
    raw = read_raw(spark, asked.source, id_field=asked.fields.id)
    if raw.form == "files":
        raise InvalidData(f"{asked.source} holds whole texts. Give rows with questions and answers, or with turns.")
    _refuse_strangers(spark, output)
    examined = raw.through(partial(_examine, asked=asked), tables.spark_schema(_EXAMINED)).persist(
        StorageLevel.DISK_ONLY
    )
    try:
        return _written(spark, asked, output, examined)
    finally:
        examined.unpersist()


def _written(spark: SparkSession, asked: Export, output: str, examined: DataFrame) -> dict[str, Any]:
    fit = examined.where("reason IS NULL")
    taken = fit.groupBy("key").agg(f.min(f.struct("document", "file", "block", "raw", "place", "line")).alias("one"))
    chosen = taken.select("key", "one.*").persist(StorageLevel.MEMORY_AND_DISK)
    spark_internals.remove(spark, f"{output}/manifest.json")  # a manifest says that its files are complete
    try:
        counts = [(row["place"], row["count"]) for row in chosen.groupBy("place").count().collect()]
        cuts = cuts_for(counts, asked.shares)
        splits = {name: _write_split(spark, f"{output}/{name}.jsonl", chosen, name, cuts) for name in SPLITS}
        rejected = _write_rejected(spark, f"{output}/rejected.jsonl", examined, chosen)
    finally:
        chosen.unpersist()
    masked: Counter[str] = Counter()
    for row in fit.where("masked <> '{}'").select("masked").collect():
        masked.update(json.loads(row[0]))
    manifest = {
        "schema": SCHEMA,
        "source": asked.source,
        "output": output,
        "provider": asked.provider,
        "masked": asked.mask,
        "masked_items": dict(sorted(masked.items())),
        "shares": list(asked.shares),
        "shares_found": _shares_of(splits),
        "read": sum(each["examples"] for each in splits.values()) + sum(rejected.values()),
        "splits": splits,
        "rejected": rejected,
        "digest": digest_of({name: splits[name]["sha256"] for name in SPLITS}),
    }
    spark_internals.write(spark, f"{output}/manifest.json", json.dumps(manifest, ensure_ascii=False, indent=2).encode())
    return manifest


def _shares_of(splits: Mapping[str, Mapping[str, Any]]) -> list[float]:
    """The shares of the examples that came out, in the order of the parts."""
    total = max(1, sum(each["examples"] for each in splits.values()))
    return [round(splits[name]["examples"] / total, 4) for name in SPLITS]


def _write_split(spark: SparkSession, path: str, chosen: DataFrame, name: str, cuts: tuple[str, ...]) -> dict[str, Any]:
    bounds = ["", *cuts, "g"]
    number = SPLITS.index(name)
    inside = (f.col("place") >= bounds[number]) & (f.col("place") < bounds[number + 1])
    rows = chosen.where(inside).orderBy("key").select("document", "line").collect()
    data = "".join(f"{row['line']}\n" for row in rows).encode()
    spark_internals.write(spark, path, data)
    documents = len({row["document"] for row in rows})
    return {"examples": len(rows), "documents": documents, "bytes": len(data), "sha256": digest(data)}


def _write_rejected(spark: SparkSession, path: str, examined: DataFrame, chosen: DataFrame) -> dict[str, int]:
    """Write the rows that were left out, in order, with the reasons. Returns the number of rows by reason."""
    unfit = examined.where("reason IS NOT NULL").select("file", "reason", "sentence", "raw").collect()
    fit = _raws(examined.where("reason IS NULL"))
    fit.subtract(_raws(chosen))
    left = [(row["file"], row["reason"], row["sentence"], bytes(row["raw"] or b"")) for row in unfit]
    left += [(file, Unfit.REPEATED_EXAMPLE.value, _REPEATED, raw) for file, raw in fit.elements()]
    lines = [
        json.dumps({"file": file, "reason": reason, "sentence": sentence, "raw": raw.decode(errors="backslashreplace")})
        for file, reason, sentence, raw in sorted(left)
    ]
    spark_internals.write(spark, path, "".join(f"{line}\n" for line in lines).encode())
    return dict(sorted(Counter(reason for _, reason, _, _ in left).items()))


def _raws(rows: DataFrame) -> Counter[tuple[str, bytes]]:
    return Counter((row["file"], bytes(row["raw"])) for row in rows.select("file", "raw").toLocalIterator())


def _examine(raw: Iterator[list[Row]], asked: Export) -> Iterator[pa.RecordBatch]:
    # A text of any length is masked: nobody waits for this, and a placeholder instead of the text would be no example.
    masker = Masker(asked.mask_patterns, longest=sys.maxsize) if asked.mask else None
    for some in raw:
        rows = [(file, block, value or b"", *_row(value or b"", asked, masker)) for (file, block, _), value in some]
        yield batch_of(rows, _EXAMINED)


def _row(value: bytes, asked: Export, masker: Masker | None) -> tuple[str | None, ...]:
    """The values of `_FOUND` for one row."""
    found = read_example(value, asked.fields, asked.system)
    masked: Counter[str] = Counter()
    if isinstance(found, Example) and masker is not None:
        found = _masked(found, masker, masked)
    if isinstance(found, Example):
        line = FORMS[asked.provider].write(found)
        wrong = FORMS[asked.provider].mistakes(line)
        if not wrong:
            text = json.dumps(line, ensure_ascii=False)
            return None, None, found.document, key_of(found), place_of(found.document), text, json.dumps(masked)
        found = Rejection(Unfit.NOT_THE_FORM, f"Not {asked.provider}'s form: {wrong[0]}.")
    return found.reason.value, found.sentence, None, None, None, None, None


def _masked(example: Example, masker: Masker, count: Counter[str]) -> Example:
    turns = []
    for turn in example.turns:
        masked = masker.mask(turn.content)
        count.update(masked.found)
        turns.append(turn._replace(content=masked.text))
    return example._replace(turns=tuple(turns))


def _refuse_strangers(spark: SparkSession, output: str) -> None:
    ours = {*(f"{name}.jsonl" for name in (*SPLITS, "rejected")), "manifest.json"}
    strangers = sorted(
        name for name in spark_internals.names(spark, output) if name not in ours and name[0] not in "._"
    )
    if strangers:
        raise InvalidData(
            f"{output} holds {strangers[0]!r}, which is not a file of an export: name an empty or new folder."
        )
