"""A real standalone cluster on this machine, one master and two workers, whose executors have our code only from the
documented package: `python -m spark_jobs.package`, then `spark-submit --py-files`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyspark
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from spark_jobs.preparation import Request, prepare
from stack.ports import free_port
from tests.spark.conftest import document, write_lines
from tests.spark.test_preparation import CONTENT, rows_of

ROOT = Path(__file__).parents[2]
SPARK = Path(pyspark.__file__).parent
DEPLOY = "org.apache.spark.deploy"


def surroundings(**more: str) -> dict[str, str]:
    """This process's environment without PYTHONPATH, by which executors could find the project after all."""
    return {**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, **more}


def bare_python(folder: Path) -> str:
    """This Python with its libraries, but without what `pip install -e` adds: it cannot import this project."""
    program = folder / "bare-python"
    libraries = sysconfig.get_path("purelib")
    program.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{libraries}" exec {sys.executable} -S "$@"\n')
    program.chmod(0o755)
    asked = subprocess.run(
        [program, "-c", "import mlflow_project"], cwd=folder, env=surroundings(), capture_output=True
    )
    assert b"No module named 'mlflow_project'" in asked.stderr
    return str(program)


@pytest.fixture
def master(tmp_path: Path) -> Iterator[str]:
    """The address of a master with two workers of one core."""
    port, page = free_port(), free_port()
    address = f"spark://127.0.0.1:{port}"
    environment = surroundings(SPARK_DAEMON_MEMORY="200m", SPARK_LOCAL_IP="127.0.0.1")
    here = ["--host", "127.0.0.1"]
    parts = [["master.Master", *here, "--port", str(port), "--webui-port", str(page)]]
    for number in range(2):
        own = [
            "--cores",
            "1",
            "--memory",
            "700m",
            "--webui-port",
            "0",
            "--work-dir",
            str(tmp_path / f"worker-{number}"),
        ]
        parts.append(["worker.Worker", *here, *own, address])
    running = []
    try:
        for name, *arguments in parts:
            command = [str(SPARK / "bin" / "spark-class"), f"{DEPLOY}.{name}", *arguments]
            quiet = subprocess.DEVNULL
            running.append(subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=quiet, stderr=quiet))
        wait_for_workers(f"http://127.0.0.1:{page}/json/", 2)
        yield address
    finally:
        for part in running:
            part.terminate()
        for part in running:
            part.wait(timeout=30)


def wait_for_workers(page: str, wanted: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        # a master that has just begun answers with its page instead of JSON
        with contextlib.suppress(OSError, json.JSONDecodeError), urllib.request.urlopen(page, timeout=5) as answer:
            if json.load(answer)["aliveworkers"] == wanted:
                return
        time.sleep(0.3)
    raise AssertionError(f"The cluster did not have {wanted} workers within two minutes.")


@pytest.mark.long
def test_two_workers_with_the_packaged_code_make_the_same_tables_and_confs_of_the_command_line_win(
    master: str, spark: SparkSession, tmp_path: Path
) -> None:
    source = write_lines(tmp_path / "raw.jsonl", [*(document(number) for number in range(40)), b"broken"])
    prepare(spark, Request(source, str(tmp_path / "local")))
    package = tmp_path / "jobs.zip"
    subprocess.run(
        [sys.executable, "-m", "spark_jobs.package", str(package)], cwd=ROOT, check=True, capture_output=True
    )
    confs = {"spark.executor.memory": "600m", "spark.sql.files.maxPartitionBytes": "8k"}
    options = [f"--conf={name}={value}" for name, value in confs.items()]
    command = ["spark-submit", "--master", master, "--py-files", str(package), *options]
    job = [str(ROOT / "spark_jobs" / "llm_data_prep.py"), source, str(tmp_path / "chunks"), "--json"]
    environment = surroundings(PYSPARK_PYTHON=bare_python(tmp_path), PYSPARK_DRIVER_PYTHON=sys.executable)
    done = subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:], *job],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert (counts["read"], counts["documents"], counts["quarantined"]) == (41, 40, {"not_json": 1})
    assert rows_of(tmp_path / "chunks", CONTENT) == rows_of(tmp_path / "local", CONTENT)
    assert len(DeltaTable(str(tmp_path / "chunks")).file_uris()) > 2
    used = [worker for worker in tmp_path.glob("worker-*") if list(worker.glob("app-*/*/jobs.zip"))]
    assert len(used) == 2
