"""Ingestion, from HTTP to Delta, beside the barest programs that do the same steps; all parts on one machine.

`python -m bench.ingestion [--part NAME] [--seconds 30] [--events 200000]`, with Go, over Kafka and MinIO of its own.
Events have 1 KB. A part leaves the figures of the other parts as they were.

- Single POSTs of 64 callers to one API worker, beside a FastAPI + confluent-kafka relay that checks nothing; NDJSON in
  one stream, beside a loop of orjson and the producer without HTTP.
- From the acceptance of an event to the Delta commit that makes it visible, at 500 events a second.
- A backlog from Kafka to Delta, beside Spark's own copy of the topic to Parquet, in one warm Spark session.
- The API's memory while events come twice as fast as it takes them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from bench.loading import ROOT, Side, load, process, rounds
from bench.report import Measure, report
from mlflow_project.adapters import delta_tables
from mlflow_project.adapters.kafka import Cluster, send_all
from mlflow_project.adapters.schema_folder import TopicPlan
from mlflow_project.errors import NotFound
from mlflow_project.settings import KafkaSettings
from mlflow_project.settings import load as load_settings
from mlflow_project.telemetry.meters import Meters
from stack.addresses import read_environment
from stack.ingest.kafka import fetch_all
from stack.ingest.processes import up
from stack.ports import free_port
from tests.conftest import RunningStack, own_settings, running

SCHEMA = """{"type": "object", "x-key": "who", "required": ["who", "text"], "properties": {
  "id": {"type": "string"}, "who": {"type": "string"}, "text": {"type": "string"}, "n": {"type": "integer"}}}"""
TEXT = "x" * 960
LINES = 40_000
STEADY = 500


@dataclass
class Parts:
    """The running Kafka and MinIO, and the folder of this run with the schema of its stream."""

    stack: RunningStack
    folder: Path
    schemas: Path
    topic: str
    running: ExitStack

    def service(self, name: str) -> tuple[str, int]:
        """Start an ingestion service. Returns the address of its stream, and the process id."""
        port = free_port()
        env = {
            "SWITCHYARD_INGEST_PORT": str(port),
            "SWITCHYARD_INGEST_FOLDER": str(self.folder / name),
            "SWITCHYARD_API_KEYS_FILE": str(self.folder / "keys.json"),
        }
        started = self.running.enter_context(
            process([sys.executable, "-m", "ingestion"], self.folder / f"{name}.log", **env)
        )
        _until_it_answers(f"http://127.0.0.1:{port}/health/live")
        return f"http://127.0.0.1:{port}/ingest/events/{self.topic.removeprefix('events.')}", started.pid

    def other_topic(self) -> str:
        """Make one more topic."""
        name = f"events.bench-{uuid.uuid4().hex[:8]}"
        Cluster(load_settings(KafkaSettings)).apply({name: TopicPlan(partitions=4)})
        return name


def main() -> None:
    """Measure everything, or one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    measured = {
        "posts": _accepting,
        "lines": _lines,
        "memory": lambda parts: _memory(parts, given.seconds),
        "queryable": lambda parts: _queryable(parts, given.seconds),
        "backlog": lambda parts: _backlog(parts, given.events),
    }
    parser.add_argument("--part", choices=tuple(measured), help="measure one part only")
    parser.add_argument("--seconds", type=float, default=30, help="of each steady load")
    parser.add_argument("--events", type=int, default=200_000, help="in the backlog")
    given = parser.parse_args()
    with own_settings() as state, ExitStack() as stopping, tempfile.TemporaryDirectory() as folder:
        parts = _started(state, stopping, Path(folder))
        measures: list[Measure] = []
        for name, part in measured.items():
            for measure in part(parts) if given.part in (None, name) else ():
                sys.stderr.write(f"{measure}\n")
                measures.append(measure)
    report("ingestion", measures, "Ingestion", part=given.part is not None)


def _started(state: Path, stopping: ExitStack, folder: Path) -> Parts:
    fetch_all()
    topic = f"events.bench{uuid.uuid4().hex[:8]}"
    schemas = folder / "schemas"
    (schemas / "events" / topic.removeprefix("events.")).mkdir(parents=True)
    for each in ("documents", "conversations"):
        (schemas / each).symlink_to(ROOT / "schemas" / each)
    (schemas / "events" / topic.removeprefix("events.") / "v1.json").write_text(SCHEMA)
    (schemas / "topics.yaml").write_bytes((ROOT / "schemas" / "topics.yaml").read_bytes())
    stack = running(state, "minio")
    up(state, ("kafka",), say=lambda _: None)
    os.environ.update(read_environment(state))
    os.environ["SWITCHYARD_SCHEMAS"] = str(schemas)
    Cluster(load_settings(KafkaSettings)).apply({topic: TopicPlan(partitions=4)})
    return Parts(stack, folder, schemas, topic, stopping)


def _accepting(parts: Parts) -> Iterator[Measure]:
    """Single POSTs. An event without an id of its own is never a duplicate, so one body serves all requests."""
    body = {"who": "bench", "text": TEXT}
    url, pid = parts.service("single")
    port, topic = free_port(), parts.other_topic()
    options = ["--port", str(port), "--loop", "uvloop", "--no-access-log", "--log-level", "warning"]
    command = [sys.executable, "-m", "uvicorn", "bench.ingestion_relay:app", *options]
    relay = parts.running.enter_context(process(command, parts.folder / "relay.log", RELAY_TOPIC=topic))
    _until_it_answers(f"http://127.0.0.1:{port}/docs")
    sides = [Side("relay", f"http://127.0.0.1:{port}/", relay.pid, body), Side("ours", url, pid, body)]
    found = rounds(sides, relay.pid, 5.0, 3, "-callers", 64)
    mine, other = found["ours"], found["relay"]
    ratio = mine.rate / other.rate
    goal = "FastAPI + confluent-kafka, no checks"
    yield Measure("single POSTs, 64 callers", mine.rate, "events/s", goal, ratio, ">= 0.6x", ratio >= 0.6)
    yield Measure("single POSTs, 64 callers, the relay", other.rate, "events/s")
    yield Measure("single POSTs, CPU of the API", mine.cpu, "ms/event", goal, mine.cpu / other.cpu)
    yield Measure("single POSTs, failed", mine.failed, "events", goal="0", met=mine.failed == 0)


def _lines(parts: Parts) -> Iterator[Measure]:
    """NDJSON in one stream. The loop and the stream take turns."""
    file = parts.folder / "lines.ndjson"
    file.write_bytes(b"".join(json.dumps({"who": "w", "text": TEXT, "n": n}).encode() + b"\n" for n in range(LINES)))
    url, _ = parts.service("lines")
    env = {**os.environ, "RELAY_TOPIC": parts.other_topic()}
    streams, loops = [], []
    for _ in range(3):
        began = time.perf_counter()
        headers = {"Content-Type": "application/x-ndjson"}
        answer = httpx.post(url, content=file.read_bytes(), headers=headers, timeout=120)
        streams.append(time.perf_counter() - began)
        taken = sum(json.loads(line)["status"] == 202 for line in answer.iter_lines())
        assert taken == LINES, f"{taken} of {LINES} lines were taken"
        words = [sys.executable, "-m", "bench.ingestion_relay", str(file)]
        loops.append(float(subprocess.run(words, env=env, check=True, capture_output=True, text=True).stdout))
    mine, other = LINES / float(np.median(streams)), LINES / float(np.median(loops))
    ratio, what = mine / other, "orjson + producer loop, no HTTP"
    yield Measure("NDJSON, one stream", mine, "events/s", what, ratio, ">= 0.4x", ratio >= 0.4)
    yield Measure("NDJSON, the loop", other, "events/s")


def _memory(parts: Parts, seconds: float) -> Iterator[Measure]:
    """The API's memory at twice the rate that it takes."""
    body = {"who": "bench", "text": TEXT}
    url, pid = parts.service("overloaded")
    side = Side("ours", url, pid, body)
    rate = 2 * load(side, pid, 5.0, "-callers", 64).rate
    sizes: list[float] = []
    end = threading.Event()

    def watch() -> None:
        while not end.wait(0.25):
            sizes.append(psutil.Process(pid).memory_info().rss / 1e6)

    thread = threading.Thread(target=watch)
    thread.start()
    load(side, pid, seconds, "-rate", rate)
    end.set()
    thread.join()
    third = len(sizes) // 3
    first, last = (float(np.mean(some)) for some in (sizes[third : 2 * third], sizes[2 * third :]))
    what = f"memory at twice the capacity, last third of {seconds:g} s"
    yield Measure(what, last, "MB", "the third before", last / first, "<= 1.1x", last <= 1.1 * first)


def _queryable(parts: Parts, seconds: float) -> Iterator[Measure]:
    """From an event's acceptance to the commit that makes it visible."""
    url, _ = parts.service("steady")
    place, job = str(parts.folder / "steady-tables"), str(ROOT / "spark_jobs" / "stream_ingest.py")
    submit = str(Path(sys.executable).with_name("spark-submit"))
    cluster = Cluster(load_settings(KafkaSettings))
    command = [submit, job, parts.topic, "--tables", place]
    with process(command, parts.folder / "writer.log"):
        table = f"{place}/{parts.topic}"
        _until(lambda: _rows(table) == sum(end for _, end in cluster.offsets(parts.topic).values()), 180)
        since = _rows(table)
        sent = 0
        headers = {"Content-Type": "application/x-ndjson"}
        began = time.monotonic()
        with httpx.Client(timeout=60) as http:
            while time.monotonic() - began < seconds:
                some = "".join(json.dumps({"who": f"w{n % 8}", "text": TEXT}) + "\n" for n in range(STEADY // 10))
                http.post(url, content=some, headers=headers).raise_for_status()
                sent += STEADY // 10
                time.sleep(max(0.0, began + sent / STEADY - time.monotonic()))
        _until(lambda: _rows(table) == since + sent, 60)
    delays = _delays(table, sent)
    worst = float(np.percentile(delays, 99))
    what = f"accepted -> queryable at {STEADY} events/s, p99"
    yield Measure(what, worst, "s", goal="<= 10 s", met=worst <= 10)
    yield Measure(f"accepted -> queryable at {STEADY} events/s, p50", float(np.median(delays)), "s")


def _delays(table: str, newest: int) -> list[float]:
    """Seconds from acceptance to the commit, of the newest rows. A commit notes the offsets at which its rows end."""
    opened = delta_tables.open_table(table)
    commits = [
        (commit["timestamp"] / 1000, json.loads(commit["userMetadata"])["offsets"])
        for commit in reversed(opened.history())
        if commit.get("userMetadata")
    ]
    rows = opened.to_pyarrow_table(columns=["partition", "offset", "received_at"]).to_pylist()
    rows = sorted(rows, key=lambda row: row["received_at"])[-newest:]
    return [
        next(at for at, ends in commits if ends.get(str(row["partition"]), 0) > row["offset"])
        - row["received_at"].timestamp()
        for row in rows
    ]


def _backlog(parts: Parts, events: int) -> Iterator[Measure]:
    """Copy one topic to our raw table and to plain Parquet, in one Spark session that has done both once before."""
    from spark_jobs.session import spark_session
    from spark_jobs.stream_ingest import arguments, ingest, records_between

    send_all(
        settings := load_settings(KafkaSettings),
        (
            {"topic": parts.topic, "value": json.dumps({"who": f"w{n % 64}", "text": TEXT, "n": n}).encode()}
            for n in range(events)
        ),
    )
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    there = Cluster(settings).offsets(parts.topic)
    start, end = ({n: at[side] for n, at in there.items()} for side in (0, 1))
    count = sum(end.values()) - sum(start.values())
    spark = spark_session("bench")
    ours, copies = [], []
    try:
        for run in range(3):
            began = time.perf_counter()
            options = arguments([parts.topic, "--once", "--tables", str(parts.folder / f"tables-{run}")])
            taken = ingest(spark, options, Meters())[parts.topic]["written"]
            ours.append(time.perf_counter() - began)
            assert taken == count, f"{taken} of {count} events were written"
            began = time.perf_counter()
            rows = records_between(spark, settings, parts.topic, start, end)
            rows.write.parquet(str(parts.folder / f"copy-{run}"))
            copies.append(time.perf_counter() - began)
    finally:
        spark.stop()
    mine, other = count / float(np.median(ours[1:])), count / float(np.median(copies[1:]))
    what = f"backlog of {count:,} events, Kafka -> Delta"
    yield Measure(what, mine, "events/s", "Spark's Kafka -> Parquet", mine / other, ">= 0.7x", mine / other >= 0.7)


def _rows(table: str) -> int:
    try:
        return int(delta_tables.open_table(table).to_pyarrow_table(columns=["offset"]).num_rows)
    except NotFound:
        return 0


def _until(holds: Any, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.2)


def _until_it_answers(url: str) -> None:
    def answers() -> bool:
        try:
            return httpx.get(url).status_code == 200
        except httpx.HTTPError:
            return False

    _until(answers, 60)


if __name__ == "__main__":
    main()
