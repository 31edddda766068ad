"""Faults on real processes: acknowledged events are neither lost nor doubled, and keep their order per key.

The long tests take minutes. The kills end after `KILLS` of them or after `KILL_SECONDS`, whichever comes first.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyspark.sql import SparkSession

from mlflow_project.adapters import delta_tables
from mlflow_project.dead_letters import DeadLetters
from mlflow_project.errors import NotFound
from mlflow_project.settings import KafkaSettings, StoreSettings, load
from spark_jobs import tables
from spark_jobs.ingested_table import DEAD_TABLE
from stack.ingest.processes import supervisor_of
from tests.attacks.test_ingestion import POISON
from tests.conftest import ROOT, RunningStack
from tests.ingestion.conftest import Service, records, running_service
from tests.spark.test_ingesting import Topic, topic

__all__ = ["topic"]
pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

KILLS = 200
KILL_SECONDS = 480
OUTAGE_SECONDS = 300
EVENTS_PER_SECOND = 200
CALLERS = 4


@dataclass
class Sender:
    """Callers that send numbered events, each key in order, and repeat an event until it is acknowledged."""

    service: Service
    pause: float
    statuses: Counter[int] = field(default_factory=Counter)
    acknowledged: list[tuple[str, int]] = field(default_factory=list)
    _end: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._send, args=(number,)) for number in range(CALLERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in threads:
                thread.join()

    def _send(self, caller: int) -> None:
        n = 0
        with httpx.Client(timeout=30) as http:
            while not self._end.is_set():
                who = f"{caller}-{n % 5}"
                event = {"id": f"{caller}/{n}", "who": who, "n": n}
                while not self._taken(http, event):
                    time.sleep(0.2)
                self.acknowledged.append((event["id"], n))
                n += 1
                time.sleep(self.pause)

    def _taken(self, http: httpx.Client, event: dict[str, Any]) -> bool:
        try:
            status = http.post(self.service.path, json=event).status_code
        except httpx.HTTPError:
            return False
        self.statuses[status] += 1
        return status == 202


class Writer:
    """The writer of one topic's table, as a process."""

    def __init__(self, service: Service, place: str, log: Path) -> None:
        self._service, self._place, self._log = service, place, log
        self.process = self._start()

    def _start(self, *more: str) -> subprocess.Popen[bytes]:
        program = [str(Path(sys.executable).with_name("spark-submit")), str(ROOT / "spark_jobs" / "stream_ingest.py")]
        words = [self._service.topic, "--tables", self._place, "--compact-after", "3", "--max-records", "500", *more]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*program, *words], cwd=ROOT, env=self._service.env, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """Kill it, unless it has ended by itself: without a broker it does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def restart(self) -> None:
        """Start again, until a writer gets the lease of the one that was killed, and has committed."""
        table = f"{self._place}/{self._service.topic}"
        before = _version(table)
        self.process = self._start()

        def commits() -> bool:
            if self.process.poll() is not None:
                self.process = self._start()
            return _version(table) > before

        _until(commits, 240)

    def once(self) -> int:
        """Write what is there, and end. Returns the exit code."""
        return self._start("--once", "--max-records", "200000").wait(240)


def _until(holds: Callable[[], bool], seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it does not come back"
        time.sleep(0.2)


def _kill_broker(kafka: RunningStack) -> None:
    supervisor = supervisor_of(kafka.state)
    before = supervisor.processes()["kafka"]["pid"]
    os.kill(before, signal.SIGKILL)

    def is_back() -> bool:
        now = supervisor.processes()["kafka"]
        return now["statename"] == "RUNNING" and now["pid"] != before

    _until(is_back)


def test_kills_at_random_moments_lose_double_and_reorder_nothing(
    spark: SparkSession, kafka: RunningStack, tmp_path: Path
) -> None:
    """A second writer is told about the first one, too."""
    place, kills, chance = f"s3a://raw-data-bucket/test-{uuid.uuid4().hex[:8]}", Counter[str](), random.Random(19)
    dead: list[str] = []
    with running_service(kafka, tmp_path) as service:
        writer, sender = Writer(service, place, tmp_path / "writer.log"), Sender(service, 0.0)

        def api() -> None:
            service.kill()
            service.start()

        def of_writer() -> None:
            writer.kill()
            writer.restart()

        def broker() -> None:
            _kill_broker(kafka)

        def keep_killing(name: str, kill: Callable[[], None], shortest: float, longest: float) -> None:
            until = time.monotonic() + KILL_SECONDS
            while time.monotonic() < until and kills.total() < KILLS:
                time.sleep(chance.uniform(shortest, longest))
                try:
                    kill()
                except AssertionError as error:
                    dead.append(f"{name}: {error}")
                    return
                kills[name] += 1

        # A writer ends when the broker does, and needs up to a minute until it has the lease and has committed.
        victims = [("api", api, 0.5, 3.0), ("broker", broker, 30.0, 90.0), ("writer", of_writer, 0.0, 8.0)]
        threads = [threading.Thread(target=keep_killing, args=each) for each in victims]
        with sender.sending():
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        service.until_direct(120)
        writer.kill()
        _until(lambda: writer.once() == 0, 400)  # the lease of the writer that was killed must end first
        found = tables.read(spark, f"{place}/{service.topic}").select("event_id", "key", "value", "partition", "offset")
        rows = found.orderBy("partition", "offset").collect()
        ids = [row.event_id for row in rows]
        sys.stderr.write(f"kills: {dict(kills)}; acknowledged events: {len(sender.acknowledged)}\n")
        assert not dead, "a part that was killed did not come back"
        assert set(kills) == {"api", "broker", "writer"}
        assert len(ids) == len(set(ids)), "an event is there twice"
        assert set(ids) >= {name for name, _ in sender.acknowledged}, "an acknowledged event is lost"
        for key in {row.key for row in rows}:
            numbers = [json.loads(row.value)["n"] for row in rows if row.key == key]
            assert numbers == sorted(numbers), f"the events of {key} are out of order"


def test_two_writers_at_once_are_one_that_writes_and_one_that_is_told(kafka: RunningStack, tmp_path: Path) -> None:
    place, log = f"s3a://raw-data-bucket/test-{uuid.uuid4().hex[:8]}", tmp_path / "writer.log"
    with running_service(kafka, tmp_path) as service:
        httpx.post(service.path, json={"id": "1", "who": "ann"})
        first = Writer(service, place, log)
        try:
            settings = load(StoreSettings)
            table = DeadLetters(settings, load(KafkaSettings), f"{place}/{service.topic}")
            _until(lambda: bool(_rows(table.address)), 120)
            assert first.once() == 4
            assert "Traceback" not in log.read_text()
            assert "one writer a table" in log.read_text()
            assert first.process.poll() is None
        finally:
            first.kill()


def _version(address: str) -> int:
    try:
        return int(delta_tables.open_table(address).version())
    except NotFound:
        return -1


def _rows(address: str) -> int:
    try:
        return int(delta_tables.open_table(address).to_pyarrow_table().num_rows)
    except NotFound:
        return 0


def test_no_event_is_refused_or_lost_while_the_broker_is_gone_for_minutes(kafka: RunningStack, tmp_path: Path) -> None:
    supervisor = supervisor_of(kafka.state)
    with running_service(kafka, tmp_path) as service:
        sender = Sender(service, CALLERS / EVENTS_PER_SECOND)
        try:
            with sender.sending():
                time.sleep(5)
                supervisor.halt("kafka")
                time.sleep(OUTAGE_SECONDS)
                supervisor.start("kafka")
                time.sleep(5)
        finally:
            supervisor.start("kafka")
        service.until_direct(120)
        found = [json.loads(message.value()) for message in records(service.topic, 120)]
    assert set(sender.statuses) == {202}
    assert len(sender.acknowledged) > OUTAGE_SECONDS * EVENTS_PER_SECOND / 4
    assert Counter(row["id"] for row in found) == Counter(name for name, _ in sender.acknowledged)
    for key in {row["who"] for row in found}:
        numbers = [row["n"] for row in found if row["who"] == key]
        assert numbers == sorted(numbers)


def test_one_percent_of_poison_becomes_dead_letters_that_can_be_sent_again(topic: Topic) -> None:
    good, poison = [{"id": f"{n}", "n": n} for n in range(1_980)], [raw for raw, _ in POISON.values()]
    topic.send(*(each for n in range(20) for each in (*good[99 * n : 99 * n + 99], poison[n])))
    first = topic.ingest()
    assert (first["written"], first["dead_letters"]) == (len(good), len(poison))
    dead = topic.rows(DEAD_TABLE)
    assert {row.raw for row in dead} == set(poison)
    assert all(row.reason and row.sentence for row in dead)
    assert {row.event_id for row in topic.rows()} == {each["id"] for each in good}
    letters = DeadLetters(load(StoreSettings), load(KafkaSettings), f"{topic.place}/{DEAD_TABLE}")
    assert len(letters.redrive({})) == len(poison)
    again = topic.ingest()
    assert (again["written"], again["dead_letters"]) == (0, len(poison))
    assert {letter.row["tries"] for letter in letters.open({})} == {1}
