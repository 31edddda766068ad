"""Kill -9 at random moments of a real spark-submit, run again: the tables are those of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spark_jobs.preparation import Request, prepare
from tests.spark.conftest import document, write_lines
from tests.spark.test_preparation import CONTENT, rows_of

ROOT = Path(__file__).parents[2]


def job(source: str, output: Path) -> subprocess.Popen[bytes]:
    """The job in a process group of its own, so that all of it can be killed."""
    program = [str(Path(sys.prefix) / "bin" / "spark-submit"), str(ROOT / "spark_jobs" / "llm_data_prep.py")]
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
    return subprocess.Popen(
        [*program, source, str(output)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def finish(source: str, output: Path) -> float:
    started = time.monotonic()
    assert job(source, output).wait(timeout=600) == 0
    return time.monotonic() - started


def killed_and_run_again(spark: SparkSession, tmp_path: Path, kills: int) -> None:
    first = write_lines(tmp_path / "first.jsonl", [document(number) for number in range(50)])
    changed = [document(number, "Changed. " * 90) for number in range(10)]
    rows = [*changed, *(document(number) for number in range(15, 60)), b"broken"]
    second = write_lines(tmp_path / "second.jsonl", rows)
    prepare(spark, Request(second, str(tmp_path / "undisturbed")))
    whole = finish(first, tmp_path / "chunks")
    chance = random.Random(7)
    for _ in range(kills):
        running = job(second, tmp_path / "chunks")
        time.sleep(whole * chance.uniform(0.35, 1.0))
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    finish(second, tmp_path / "chunks")
    compared = {"": CONTENT, "_documents": "document_id, text, document_hash", "_quarantine": "line, raw"}
    for suffix, columns in compared.items():
        found, wanted = (rows_of(tmp_path / f"{name}{suffix}", columns) for name in ("chunks", "undisturbed"))
        assert found == wanted


@pytest.mark.timeout(1200)
def test_three_kills_leave_the_tables_of_an_undisturbed_run(spark: SparkSession, tmp_path: Path) -> None:
    killed_and_run_again(spark, tmp_path, 3)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_twenty_kills_leave_the_tables_of_an_undisturbed_run(spark: SparkSession, tmp_path: Path) -> None:
    killed_and_run_again(spark, tmp_path, 20)
