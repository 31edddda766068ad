"""Every row that is read is a document or a row of the quarantine: in folders with every kind of file."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spark_jobs.preparation import Request, prepare
from spark_jobs.raw import Form
from tests.spark.conftest import NO_LIMITS
from tests.spark.test_preparation import rows_of


def zipped() -> bytes:
    """A zip whose bytes are plain ASCII text but for its signature."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("a.txt", "Text of a file in an archive.")
    return whole.getvalue()


def line(number: int) -> bytes:
    return json.dumps({"id": f"d{number}", "text": f"Text {number}."}).encode()


def contents(chance: random.Random) -> dict[str, bytes]:
    """One of each kind of content."""
    number = chance.randrange(10**9)
    return {
        "empty": b"",
        "blank": b" \n\n\t\n",
        "one newline": b"\n",
        "lines": b"\n".join(line(number + n) for n in range(3)) + b"\n",
        "no newline at the end": line(number + 5),
        "windows": b"\xef\xbb\xbf" + line(number + 6) + b"\r\n" + line(number + 7) + b"\r\n",
        "cut off": line(number + 8)[:-5],
        "the same again": b"\n".join([line(7), line(7), line(7)[:-3] + b'!"}']),
        "not UTF-8": b"caf\xe9 \xff\xfe text",
        "UTF-16": "A text.".encode("utf-16"),
        "PDF": b"%PDF-1.7\n1 0 obj <</Type /Catalog>> endobj\ntrailer <<>>\n%%EOF\n",
        "RTF": rb"{\rtf1 A text.}",
        "zip": zipped(),
        "control codes": bytes(range(1, 32)) * 4,
        "NUL": b"a\0b",
        "random": chance.randbytes(300),
        "text": f"# Title {number}\n\nA text, as people write it.".encode(),
        "page": f"<title>{number}</title><p>A page.</p>".encode(),
        "deep": b'{"a":' * 2_000,
        "long line": b'{"id": "long%d", "text": "%s"}' % (number, b"x" * 100_000),
    }


def write_folder(folder: Path, seed: int, endings: list[str]) -> dict[str, bytes]:
    """A folder with one file of each kind of content under each ending, some in folders of their own."""
    chance = random.Random(seed)
    written: dict[str, bytes] = {}
    for ending in endings:
        for kind, content in contents(chance).items():
            name = f"{chance.choice(['', 'sub/', 'ü %41/'])}{kind}-{chance.randrange(99)}{ending}"
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(content) if ending == ".gz" else content)
            written[name] = content
    return written


def rows_in(content: bytes, form: Form) -> int:
    """The rows of a file: its lines, or the file as a whole; an empty file is one row."""
    return len(content.removesuffix(b"\n").split(b"\n")) if form == "lines" and content else 1


@pytest.mark.parametrize(
    ("form", "endings"),
    [("lines", [".jsonl", ".ndjson"]), ("lines", [".jsonl", ".gz"]), ("files", [".txt", ".html", ".md"])],
)
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long), pytest.param(3, marks=pytest.mark.long)])
def test_every_row_is_a_document_or_in_quarantine(
    spark: SparkSession, tmp_path: Path, form: Form, endings: list[str], seed: int
) -> None:
    files = write_folder(tmp_path / "raw", seed, endings)
    output = tmp_path / "out"
    counts = prepare(spark, Request(f"{tmp_path}/raw", str(output), limits=NO_LIMITS))
    documents = rows_of(tmp_path / "out_documents", "document_id, text")
    quarantine = rows_of(tmp_path / "out_quarantine", "file, line, reason, sentence, raw")
    assert counts.read == sum(rows_in(content, form) for content in files.values())
    assert counts.read == len(documents) + len(quarantine)
    assert len({(row["file"], row["line"]) for row in quarantine}) == len(quarantine)
    assert all(row["sentence"] for row in quarantine)
    reasons = {row["reason"] for row in quarantine}
    assert {"empty_file", "not_text" if form == "files" else "blank_line"} <= reasons
    assert sum(row["reason"] == "empty_file" for row in quarantine) == len(endings)
    if form == "files":
        assert not [row for row in documents if "%PDF" in row["text"] or "rtf1" in row["text"]]


def test_rows_of_parquet_and_delta_are_counted_too(spark: SparkSession, tmp_path: Path) -> None:
    rows = [("a", "A text."), (None, "No id."), ("c", None), ("d", ""), ("e", "a\0b"), ("a", "Another text.")]
    table = spark.createDataFrame(rows, "id string, text string")
    table.write.parquet(f"{tmp_path}/parquet")
    table.write.format("delta").save(f"{tmp_path}/delta")
    for kind in ("parquet", "delta"):
        counts = prepare(spark, Request(f"{tmp_path}/{kind}", f"{tmp_path}/{kind}-out", limits=NO_LIMITS))
        assert (counts.read, counts.documents, sum(counts.quarantined.values())) == (6, 0, 6)
