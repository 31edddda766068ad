"""One Spark session for all tests of this folder, with the confs of the session's own stack."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from spark_jobs.plan import Limits
from spark_jobs.preparation import Counts, Request, prepare
from spark_jobs.session import spark_session

NO_LIMITS = Limits(1.0, 1.0)
"""For tests whose small tables change in large parts."""

SMALL_DATA = {
    "spark.sql.shuffle.partitions": "1",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
"""A few rows take longer to plan and compile than to compute: Spark compiles nothing for them."""


@pytest.fixture(scope="session")
def spark(minio: Any) -> Iterator[SparkSession]:
    """Spark with Delta and the object store; its workers run the Python that the tests run, not the first on PATH."""
    before = dict(os.environ)
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    session = spark_session("tests")
    for name, value in SMALL_DATA.items():
        session.conf.set(name, value)
    yield session
    with suppress(Py4JError, OSError):  # what ends the tests may have ended Java first
        session.stop()
    os.environ.clear()
    os.environ.update(before)


def document(number: int, text: str | None = None) -> dict[str, Any]:
    """A small document."""
    return {"id": f"d{number}", "title": f"Title {number}", "text": text or f"Text of document {number}. " * 60}


def write_lines(path: Path, rows: Sequence[Any]) -> str:
    """JSON lines; bytes go in as they are."""
    lines = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return str(path)


@pytest.fixture
def prepared(spark: SparkSession, tmp_path: Path) -> Callable[..., Counts]:
    """Prepare rows into `<tmp>/chunks`, however much of it they delete or reject."""

    def run(rows: Sequence[Any], **options: Any) -> Counts:
        source = write_lines(tmp_path / "raw.jsonl", rows)
        return prepare(spark, Request(source, str(tmp_path / "chunks"), **{"limits": NO_LIMITS, **options}))

    return run
