"""Attacks on text preparation: broken input of every kind, while the object store dies again and again."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from mlflow_project.adapters.delta_tables import batches, open_table
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import NotFound
from mlflow_project.settings import StoreSettings, load
from tests.spark.test_every_row import write_folder

pytestmark = pytest.mark.long
STACK_TRACE = re.compile(r"^Traceback|^\s+at [\w.$/]+\(", re.MULTILINE)
"""A stack trace of Python or of Java."""
COLUMNS = {
    "": 'chunk_id, text_content, start, "end"',
    "_documents": "document_id, text, document_hash",
    "_quarantine": "file, line, reason, raw",
}


def minio_process() -> psutil.Process | None:
    port = int(os.environ["SWITCHYARD_S3_ENDPOINT"].rsplit(":", 1)[1])
    found = (each for each in psutil.net_connections("tcp") if each.status == "LISTEN" and each.laddr.port == port)
    return next((psutil.Process(each.pid) for each in found if each.pid), None)


def wait_for_minio() -> None:
    for _ in range(300):
        try:
            if httpx.get(os.environ["SWITCHYARD_S3_ENDPOINT"] + "/minio/health/live", timeout=2).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError("MinIO was not started again within a minute.")


@contextmanager
def minio_dying(chance: random.Random, after: float, seconds: float) -> Iterator[None]:
    """Kill MinIO as often as it comes back, from some time on, for so many seconds."""
    over = threading.Event()

    def kill() -> None:
        over.wait(after)
        until = time.monotonic() + seconds
        while time.monotonic() < until and not over.is_set():
            process = minio_process()
            if process is not None:
                process.kill()
            over.wait(chance.uniform(0.1, 1.5))

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        wait_for_minio()


def prepare(source: str, output: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("switchyard")), "prepare", source, output, *options, "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=900)


def tables(output: str) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for suffix, columns in COLUMNS.items():
        query = f"SELECT {columns} FROM t ORDER BY 1, 2"
        rows = batches(query, {"t": open_table(output + suffix)})
        found[suffix] = [row for batch in rows for row in batch.to_pylist()]
    return found


def exists(output: str) -> bool:
    try:
        open_table(output)
    except NotFound:
        return False
    return True


@pytest.mark.timeout(900)
def test_broken_input_and_a_dying_store_cost_no_row_and_leave_no_half_table(minio: Any, tmp_path: Path) -> None:
    """The attacker writes the input and can kill the store. He gets a run that fails with exit code 3 and one sentence;
    the next run finds every row in the documents or in quarantine, as an undisturbed one does."""
    store, place = ObjectStore(load(StoreSettings)), f"attacked/{uuid.uuid4().hex}"
    for name in write_folder(tmp_path, 5, [".jsonl", ".gz"]):
        store.put("raw-data-bucket", f"{place}/{name}", (tmp_path / name).read_bytes())
    source, output = f"s3a://raw-data-bucket/{place}", f"s3a://curated-data-bucket/{place}"
    yes = ("--max-deleted", "1", "--max-rejected", "1")
    undisturbed = json.loads(prepare(source, f"{output}/undisturbed", *yes).stdout)
    wanted = tables(f"{output}/undisturbed")
    assert undisturbed["read"] == len(wanted["_documents"]) + len(wanted["_quarantine"])
    chance, failed = random.Random(11), 0
    for _ in range(4):
        with minio_dying(chance, after=chance.uniform(2, 25), seconds=chance.uniform(5, 45)):
            done = prepare(source, f"{output}/attacked", *yes)
        assert done.returncode in (0, 3), done.stderr
        assert not STACK_TRACE.search(done.stderr), done.stderr
        failed += done.returncode == 3
        if exists(f"{output}/attacked"):
            found = tables(f"{output}/attacked") if exists(f"{output}/attacked_documents") else {}
            assert found in ({}, wanted)
    assert failed, "no run was disturbed"
    assert prepare(source, f"{output}/attacked", *yes).returncode == 0
    assert tables(f"{output}/attacked") == wanted
