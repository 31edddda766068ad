"""One writer a table, whatever happens to the writer."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from mlflow_project.adapters.lease import Lease
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import Refused
from mlflow_project.settings import StoreSettings, load
from spark_jobs.preparation import Request, prepare
from tests.spark.conftest import document, write_lines


@pytest.fixture
def store(minio: Any) -> ObjectStore:
    return ObjectStore(load(StoreSettings))


@pytest.fixture
def table() -> str:
    return f"s3a://curated-data-bucket/{uuid.uuid4().hex}"


def test_a_second_writer_is_told_who_writes_since_when(store: ObjectStore, table: str) -> None:
    with Lease(store, table), pytest.raises(Refused, match=rf"{table} is being written by .* process \d+ since 20"):
        Lease(store, table).acquire()


def test_the_next_writer_enters_as_soon_as_the_first_one_left(store: ObjectStore, table: str) -> None:
    with Lease(store, table) as first:
        assert first.number == 1
    with Lease(store, table) as second:
        assert second.number == 2


def test_of_eight_racing_writers_one_wins(store: ObjectStore, table: str) -> None:
    won: list[Lease] = []

    def race() -> None:
        lease = Lease(store, table)
        try:
            lease.acquire()
            won.append(lease)
        except Refused:
            pass

    racers = [threading.Thread(target=race) for _ in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len(won) == 1


KILLED = """
import os, signal, sys
from mlflow_project.adapters.lease import Lease
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.settings import StoreSettings, load
from spark_jobs.preparation import Request, prepare
from tests.spark.conftest import document, write_lines
Lease(ObjectStore(load(StoreSettings)), sys.argv[1], ttl=3.0).acquire()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_lease_of_a_killed_process_of_this_host_is_waited_for(store: ObjectStore, table: str) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, table]).returncode == -signal.SIGKILL
    with Lease(store, table) as next_writer:
        assert next_writer.number == 2


def test_a_job_on_a_table_that_is_being_written_is_refused(
    store: ObjectStore, table: str, spark: SparkSession, tmp_path: Path
) -> None:
    source = write_lines(tmp_path / "raw.jsonl", [document(1)])
    with Lease(store, table), pytest.raises(Refused, match="is being written by"):
        prepare(spark, Request(source, table))


def test_a_held_lease_is_renewed(store: ObjectStore, table: str) -> None:
    with Lease(store, table, ttl=3.0) as lease:
        time.sleep(4.5)
        lease.check()


def test_a_writer_that_stalled_finds_that_it_lost(store: ObjectStore, table: str) -> None:
    stalled = Lease(store, table, ttl=0.5)
    stalled.acquire()
    time.sleep(0.7)
    with Lease(store, table), pytest.raises(Refused, match="was lost"):
        stalled.check()
