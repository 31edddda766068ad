"""A job that is told to end ends, also while it waits for Spark, and leaves no process behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from mlflow_project.errors import InvalidData, Unavailable
from spark_jobs.session import translated
from tests.spark.conftest import document


class Preparation(NamedTuple):
    """A preparation that runs: the command, the processes that it started, and where its messages go."""

    command: subprocess.Popen[bytes]
    processes: list[psutil.Process]
    log: Path


@pytest.fixture
def much(tmp_path: Path) -> str:
    """An input that keeps Spark busy for a while: many documents, of which each is compared with the others."""
    lines = (json.dumps(document(number)) for number in range(40_000))
    (tmp_path / "raw.jsonl").write_text("\n".join(lines))
    return str(tmp_path / "raw.jsonl")


@pytest.fixture
def preparation(minio: Any, much: str, tmp_path: Path) -> Iterator[Preparation]:
    """`switchyard prepare`, inside a Spark call."""
    log = tmp_path / "messages"
    command = [str(Path(sys.executable).with_name("switchyard")), "prepare", much, f"{tmp_path}/chunks"]
    with log.open("wb") as messages:
        running = subprocess.Popen([*command, "--duplicates=near"], stdout=messages, stderr=messages)
    while b"Reading " not in log.read_bytes():
        assert running.poll() is None, log.read_text()
        time.sleep(0.05)
    time.sleep(1)
    processes = psutil.Process(running.pid).children(recursive=True)
    yield Preparation(running, processes, log)
    for process in processes:
        if process.is_running():
            process.kill()
    running.kill()
    running.wait()


def ended(preparation: Preparation, code: int) -> str:
    """Wait until the preparation and all its processes have ended; returns what was printed."""
    assert preparation.command.wait(timeout=60) == code, preparation.log.read_text()
    _, alive = psutil.wait_procs(preparation.processes, timeout=15)
    assert alive == []
    said = preparation.log.read_text()
    assert "Traceback" not in said
    assert "\tat " not in said
    return said


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_a_preparation_that_is_told_to_end_inside_a_spark_call_ends_with_all_its_processes(
    preparation: Preparation, tmp_path: Path, number: signal.Signals
) -> None:
    assert len(preparation.processes) >= 2
    preparation.command.send_signal(number)
    said = ended(preparation, 128 + number)
    assert f"Ended by {number.name}. Nothing is half done; run the same command again." in said
    assert not (tmp_path / "chunks" / "_delta_log").exists()


@pytest.mark.long
def test_a_preparation_whose_java_is_killed_says_so_in_a_sentence(preparation: Preparation) -> None:
    """The system kills the largest process when memory runs out."""
    next(each for each in preparation.processes if each.name() == "java").kill()
    said = ended(preparation, 3)
    assert "Something ended the job by SIGKILL; if memory ran out, the system did." in said


def test_a_lost_java_is_told_from_an_error_inside_java(spark: SparkSession) -> None:
    with pytest.raises(Unavailable, match=r"^Asking: Spark's Java process ended\."), translated("Asking"):
        raise Py4JError("An error occurred while calling o1.collect")
    with pytest.raises(InvalidData, match="Asking: Spark says"), translated("Asking"):
        spark.sql("SELECT nothing")
