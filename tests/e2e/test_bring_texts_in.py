"""The page "Bring texts in", command by command, beside a running stack."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlflow_project.adapters import delta_tables
from mlflow_project.errors import NotFound
from mlflow_project.settings import IngestionSettings, KafkaSettings, load
from stack.addresses import read_environment
from stack.ingest.kafka import fetch_all
from stack.ingest.processes import supervisor_of, up
from tests.conftest import ROOT, RunningStack

PAGE = (ROOT / "docs" / "guide" / "ingestion.md").read_text(encoding="utf-8")
CURL, PREPARE, LINES, PRODUCER = re.findall(r"^```\w*\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
RAW = "s3a://raw-data-bucket/tables"
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture
def ingestion(minio: RunningStack) -> Iterator[RunningStack]:
    """What `make ingest` starts. Service and writer end with the test, since other tests start their own."""
    fetch_all()
    up(minio.state, say=lambda _: None)
    os.environ.update(read_environment(minio.state))
    yield minio
    for part in ("writer", "ingestion"):
        supervisor_of(minio.state).halt(part)


def run(*words: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(words, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def as_written(text: str) -> str:
    """What the page says, with the addresses of this stack."""
    brokers, service = load(KafkaSettings).kafka_brokers, load(IngestionSettings).ingest_url
    return text.replace("http://127.0.0.1:8002", service).replace("127.0.0.1:9092", brokers)


def switchyard(words: str) -> Any:
    return json.loads(run("switchyard", *words.split(), "--json"))


def rows(topic: str) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = delta_tables.open_table(f"{RAW}/{topic}").to_pyarrow_table().to_pylist()
    except NotFound:
        return []
    return found


def until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 180
    while not holds():
        assert time.monotonic() < end, f"{what}: not within 180 s"
        time.sleep(0.5)


def test_the_pages_commands_bring_texts_in_and_take_them_out(ingestion: RunningStack) -> None:
    assert {change["outcome"] for change in switchyard("topics apply")} == {"unchanged"}
    assert json.loads(run("bash", "-c", as_written(CURL)))["topic"] == "raw-documents"
    until(lambda: any(row["key"] == "rules-1" for row in rows("raw-documents")), "the document is in the raw table")
    output = PREPARE.split()[-1]
    run("bash", "-c", PREPARE)
    assert "sign in at the desk" in run("switchyard", "sql", f"SELECT text FROM delta.`{output}_documents`")

    program = as_written(LINES) + "\nassert not refused, refused\nprint(len(answer.text.splitlines()))"
    assert run(sys.executable, "-c", program) == "1000\n"
    run(sys.executable, "-c", as_written(PRODUCER))
    service = load(IngestionSettings).ingest_url
    assert httpx.delete(f"{service}/ingest/documents/note-7").status_code == 202
    until(lambda: len({row["key"] for row in rows("raw-documents") if row["deleted"]}) == 2, "the tombstones came")
    run("bash", "-c", PREPARE)
    ids = {row["document_id"] for row in switchyard_sql(f"SELECT document_id FROM delta.`{output}_documents`")}
    assert ids >= {"rules-1", "note-6", "note-999"}
    assert not ids & {"note-7", "rules-2"}

    click = {"id": "c-1", "at": "2026-11-30T14:03:07Z", "session_id": "s"}
    assert httpx.post(f"{service}/ingest/events/clicks", json=click).status_code == 202
    assert httpx.post(f"{service}/ingest/events/clicks", json=click).json()["duplicate"]
    key = {"Idempotency-Key": "once"}
    assert [httpx.post(f"{service}/ingest/events/clicks", json={**click, "id": "c-2"}, headers=key).status_code] == [
        202
    ]
    assert httpx.post(f"{service}/ingest/events/clicks", json={**click, "position": 3}).status_code == 409

    send_a_record_of_an_unknown_version()
    until(lambda: bool(rows("dead-letters")), "the record becomes a dead letter")
    [letter] = switchyard("dead-letters list")
    assert letter["reason"] == "unknown_version"
    assert "nobody knows" in run("switchyard", "dead-letters", "show", letter["id"])
    assert switchyard("dead-letters redrive --where reason=unknown_version") == {"redriven": [letter["id"]]}


def switchyard_sql(query: str) -> Any:
    return json.loads(run("switchyard", "sql", query, "--json"))


def send_a_record_of_an_unknown_version() -> None:
    value = json.dumps({"id": "v", "text": "nobody knows"})
    program = as_written(PRODUCER.split("rules =")[0]) + (
        f"producer.produce('raw-documents', key='v', value={value!r}, headers={{'schema-version': '7'}})\n"
        "producer.flush()\n"
    )
    run(sys.executable, "-c", program)
