"""Kill -9 at random moments of a real spark-submit, run again: the tables are those of an undisturbed run."""

from __future__ import annotations

import contextlib
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
from tests.spark.conftest import NO_LIMITS, document, write_lines
from tests.spark.test_preparation import CONTENT, copied_tables, rows_of

ROOT = Path(__file__).parents[2]


_COLD = 2.0
"""How much longer a job takes in a JVM that has just started than in one that is warm."""


def kill_in_the_middle(source: str, output: Path, seconds: float, log: Path) -> None:
    """Start the job in a process group of its own, and kill all of it this long after it began to read."""
    program = [str(Path(sys.prefix) / "bin" / "spark-submit"), str(ROOT / "spark_jobs" / "llm_data_prep.py")]
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
    with log.open("wb") as said:
        running = subprocess.Popen(
            [*program, source, str(output), "--max-deleted=1", "--max-rejected=1"],
            env=environment,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    while b"Reading " not in log.read_bytes():
        assert running.poll() is None, f"It ended with {running.returncode} before it read: {log.read_text()}"
        time.sleep(0.05)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, signal.SIGKILL)
    assert running.wait() in (-signal.SIGKILL, 0), log.read_text()


def killed_and_run_again(spark: SparkSession, tmp_path: Path, kills: int) -> None:
    first = write_lines(tmp_path / "first.jsonl", [document(number) for number in range(50)])
    changed = [document(number, "Changed. " * 90) for number in range(10)]
    rows = [*changed, *(document(number) for number in range(15, 60)), b"broken"]
    second = write_lines(tmp_path / "second.jsonl", rows)
    prepare(spark, Request(first, str(tmp_path / "chunks"), limits=NO_LIMITS))
    copied_tables(tmp_path, "undisturbed")
    whole = prepare(spark, Request(second, str(tmp_path / "undisturbed"), limits=NO_LIMITS)).seconds
    chance = random.Random(7)
    for number in range(kills):
        log = tmp_path / f"run-{number}.log"
        kill_in_the_middle(second, tmp_path / "chunks", _COLD * whole * chance.random(), log)
    prepare(spark, Request(second, str(tmp_path / "chunks"), limits=NO_LIMITS))
    compared = {"": CONTENT, "_documents": "document_id, text, document_hash", "_quarantine": "line, raw"}
    for suffix, columns in compared.items():
        found, wanted = (rows_of(tmp_path / f"{name}{suffix}", columns) for name in ("chunks", "undisturbed"))
        assert found == wanted


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_twenty_kills_leave_the_tables_of_an_undisturbed_run(spark: SparkSession, tmp_path: Path) -> None:
    killed_and_run_again(spark, tmp_path, 20)
