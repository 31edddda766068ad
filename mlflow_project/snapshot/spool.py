"""A SQLite queue of answered requests, events and feedback. Workers append; the follower uploads and deletes.

The follower takes events in batches. A batch keeps its name and its rows until it was uploaded, so that a follower that
died in between uploads the same object again. The file is bounded: a full one takes no more rows. Several processes may
use it at once.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from mlflow_project.domain.event import AnswerEvent, FeedbackEvent, ShadowEvent
from mlflow_project.domain.rollout import Arm
from mlflow_project.errors import Unavailable

_BUSY_SECONDS = 2.0
_TABLES = """
CREATE TABLE IF NOT EXISTS answered (
  seq INTEGER PRIMARY KEY, request_id TEXT, key_id TEXT, at TEXT, name TEXT, "release" TEXT, digest TEXT, event_id TEXT,
  trace_id TEXT, arm TEXT DEFAULT 'production');
CREATE INDEX IF NOT EXISTS answered_id ON answered (request_id);
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY, kind TEXT, at TEXT, subject TEXT, said TEXT, body BLOB, batch TEXT, done INTEGER DEFAULT 0,
  told INTEGER DEFAULT 1);
CREATE INDEX IF NOT EXISTS events_batch ON events (done, batch);
CREATE INDEX IF NOT EXISTS events_untold ON events (told) WHERE told = 0;
CREATE INDEX IF NOT EXISTS events_subject ON events (subject);
"""
_FIRST_COLUMNS = 'request_id, key_id, at, name, "release", digest, event_id, trace_id'
_COLUMNS = f"{_FIRST_COLUMNS}, arm"
_NOTE = f"INSERT INTO answered ({_COLUMNS}) VALUES "
"""Rows are appended, with an index on the request id. A table sorted by a random id, with another index by time, took
three times as long. The order of the rows is the order of the workers' batches, which is nearly that of time."""
_ROW = "(?,?,?,?,?,?,?,?,?)"
_EVENT = "INSERT INTO events (kind, at, subject, said, body) VALUES (?,?,?,?,?)"
_ROWS = 100
"""Rows per statement. SQLite releases the interpreter's lock for each statement, and in a busy worker getting it back
takes longer than inserting a row."""


class Asked(NamedTuple):
    """A request that was answered here. `key_id` is "" if the server requires no keys; `event_id` None: not sampled.
    `arm` is which share of a rollout the request belonged to.
    """

    request_id: str
    key_id: str
    at: str
    name: str
    release: str
    digest: str
    event_id: str | None
    trace_id: str | None
    arm: Arm = "production"


@dataclass(frozen=True)
class Batch:
    """Events to upload together. `rows` are JSON documents. A batch of the same name always has the same rows."""

    name: str
    rows: tuple[bytes, ...]


class Spool:
    """The queue of one host. Every call may raise `Unavailable`: the disk cannot be written, or the file is full."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._local = threading.local()

    def add(self, asked: Sequence[Asked], events: Sequence[AnswerEvent]) -> None:
        """Add requests, and the events of those that were sampled."""
        rows = [(event.kind, event.at, "", "", orjson.dumps(event.to_dict())) for event in events]
        with self._writing() as connection:
            self._check_room(connection)
            for start in range(0, len(asked), _ROWS):
                some = asked[start : start + _ROWS]
                connection.execute(_NOTE + ",".join([_ROW] * len(some)), list(chain.from_iterable(some)))
            connection.executemany(_EVENT, rows)

    def add_pairs(self, pairs: Sequence[ShadowEvent]) -> None:
        """Add the pairs of a shadow. They may fill half of the file, so that they never keep other events out."""
        rows = [(pair.kind, pair.at, "", "", orjson.dumps(pair.to_dict())) for pair in pairs]
        with self._writing() as connection:
            self._check_room(connection, share=0.5)
            connection.executemany(_EVENT, rows)

    def asked(self, request_id: str) -> tuple[Asked, ...]:
        """The newest request of this id for each API key, the newest first. Callers choose ids, and two callers may
        choose the same one.
        """
        newest = "SELECT max(seq) FROM answered WHERE request_id = ? GROUP BY key_id"
        with self._open() as connection:
            found = connection.execute(
                f"SELECT {_COLUMNS} FROM answered WHERE seq IN ({newest}) ORDER BY seq DESC", (request_id,)
            )
            return tuple(Asked(*row) for row in found)

    def note_feedback(self, event: FeedbackEvent, said: str) -> bool:
        """Add a judgement. Returns False if the last one with its `feedback_id` has the same digest, `said`."""
        with self._writing() as connection:
            last = "SELECT said FROM events WHERE subject = ? ORDER BY seq DESC LIMIT 1"
            if connection.execute(last, (event.feedback_id,)).fetchone() == (said,):
                return False
            self._check_room(connection)
            told = event.trace_id is None
            row = (event.kind, event.at, event.feedback_id, said, orjson.dumps(event.to_dict()), told)
            connection.execute("INSERT INTO events (kind, at, subject, said, body, told) VALUES (?,?,?,?,?,?)", row)
            return True

    def unassessed(self) -> tuple[FeedbackEvent, ...]:
        """The judgements that are not attached to their traces in MLflow yet, the oldest first."""
        with self._open() as connection:
            found = connection.execute("SELECT body FROM events WHERE told = 0 ORDER BY seq LIMIT 100")
            return tuple(FeedbackEvent.from_dict(orjson.loads(row[0])) for row in found)

    def mark_assessed(self, event: FeedbackEvent) -> None:
        """Note that a judgement is attached to its trace, or will never be."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE events SET told = 1 WHERE subject = ? AND at <= ?", (event.feedback_id, event.at)
            )

    def batch(self, name: str, most: int) -> Batch | None:
        """The next batch to upload: one that was begun before, or a new one of this name. None: there are no events."""
        with self._writing() as connection:
            begun = connection.execute(
                "SELECT batch FROM events WHERE done = 0 AND batch IS NOT NULL LIMIT 1"
            ).fetchone()
            if begun is None:
                chosen = "SELECT seq FROM events WHERE done = 0 AND batch IS NULL ORDER BY seq LIMIT ?"
                connection.execute(f"UPDATE events SET batch = ? WHERE seq IN ({chosen})", (name, most))
            taken = begun[0] if begun is not None else name
            rows = connection.execute("SELECT body FROM events WHERE done = 0 AND batch = ? ORDER BY seq", (taken,))
            bodies = tuple(bytes(row[0]) for row in rows)
        return Batch(taken, bodies) if bodies else None

    def shipped(self, batch: str) -> None:
        """Delete a batch that was uploaded. Judgements stay, so that one that comes again is recognised."""
        with self._writing() as connection:
            connection.execute("DELETE FROM events WHERE batch = ? AND kind <> ?", (batch, FeedbackEvent.kind))
            connection.execute("UPDATE events SET done = 1 WHERE batch = ?", (batch,))

    def trim(self, before: str) -> None:
        """Delete what is older than a time and was uploaded; if the file is nearly full, also the oldest requests."""
        with self._writing() as connection:
            young = "SELECT seq FROM answered WHERE at >= ? ORDER BY seq LIMIT 1"
            after_all = "SELECT max(seq) + 1 FROM answered"
            connection.execute(f"DELETE FROM answered WHERE seq < coalesce(({young}), ({after_all}))", (before,))
            connection.execute("DELETE FROM events WHERE done = 1 AND at < ?", (before,))
            if _used(connection) > 0.8 * self._most_bytes:
                quarter = "SELECT seq FROM answered ORDER BY seq LIMIT 1 OFFSET (SELECT count(*) / 4 FROM answered)"
                connection.execute(f"DELETE FROM answered WHERE seq <= ({quarter})")

    def _check_room(self, connection: sqlite3.Connection, share: float = 1.0) -> None:
        if _used(connection) > share * self._most_bytes:
            raise Unavailable(
                f"{self._path} is full ({self._most_bytes:,} bytes): does the follower run, and is the object store up?"
            )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection. Opened at its first call, and again after an error."""
        try:
            if getattr(self._local, "connection", None) is None:
                self._local.connection = self._connect()
            yield self._local.connection
        except sqlite3.Error as error:
            self._local.connection = None
            raise Unavailable(f"The events of this host cannot be kept in {self._path}: {error}.") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
        self._path.chmod(0o600)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_TABLES)
        _take_over(connection)
        return connection


def _take_over(connection: sqlite3.Connection) -> None:
    """Take over the requests that an older version of this program recorded, and add columns that it did not have."""
    if "arm" not in {row[1] for row in connection.execute("PRAGMA table_info(answered)")}:
        with contextlib.suppress(sqlite3.OperationalError):  # another process has added it
            connection.execute("ALTER TABLE answered ADD COLUMN arm TEXT DEFAULT 'production'")
    older = "SELECT 1 FROM sqlite_master WHERE name = 'asked'"
    if connection.execute(older).fetchone() is None:
        return
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute(older).fetchone() is not None:  # no other process has done it
        connection.execute(f"INSERT INTO answered ({_FIRST_COLUMNS}) SELECT {_FIRST_COLUMNS} FROM asked ORDER BY at")
        connection.execute("DROP TABLE asked")
    connection.commit()


def _used(connection: sqlite3.Connection) -> int:
    def ask(what: str) -> Any:
        return connection.execute(f"PRAGMA {what}").fetchone()[0]

    return int((ask("page_count") - ask("freelist_count")) * ask("page_size"))
