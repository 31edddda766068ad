"""A SQLite file of records that Kafka could not take yet. `add` returns when the disk has them (fsync).

The file is bounded. Records leave it in the order in which they came, and only after Kafka has confirmed them; a record
that was delivered and not removed before a crash is delivered again, with the same event id.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ingestion.record import Record
from mlflow_project.errors import ConfigError, Unavailable
from mlflow_project.private_files import make_private_folder

_TABLE = """
CREATE TABLE IF NOT EXISTS records (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, key BLOB, value BLOB, headers TEXT NOT NULL,
  size INTEGER NOT NULL)
"""
_OVERHEAD = 200
"""About what SQLite adds to a record, in bytes."""


class SpoolFull(Unavailable):
    """The spool has no room: Kafka does not answer, and has not for long."""

    retry_after = 5.0


class Spool:
    """The spool of one service. Calls come from any thread, one at a time."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        """Open the spool of a folder.

        Raises:
            ConfigError: another process uses it, or the file cannot be opened.
        """
        self._path = folder / "spool.sqlite"
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        try:
            make_private_folder(folder)
            self._guard = (folder / "spool.lock").open("a")
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            self._path.chmod(0o600)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(_TABLE)
        except BlockingIOError as error:
            raise ConfigError(
                f"Another ingestion service uses {folder}: give each its own SWITCHYARD_INGEST_FOLDER."
            ) from error
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"The spool {self._path} cannot be opened: {error}.") from error
        self.count, self.bytes = self._connection.execute(
            f"SELECT count(*), coalesce(sum(size), 0) + count(*) * {_OVERHEAD} FROM records"
        ).fetchone()

    def add(self, records: Sequence[Record]) -> int:
        """Write records at the end, all or none, as far as there is room. Returns how many of them were written.

        Raises:
            Unavailable: the disk cannot be written.
        """
        taken, size = 0, self.bytes
        for record in records:
            size += record.size + _OVERHEAD
            if size > self._most_bytes:
                size -= record.size + _OVERHEAD
                break
            taken += 1
        rows = [(record.topic, record.key, record.value, _text(record), record.size) for record in records[:taken]]
        with self._writing():
            self._connection.executemany(
                "INSERT INTO records (topic, key, value, headers, size) VALUES (?,?,?,?,?)", rows
            )
        self.count, self.bytes = self.count + taken, size
        return taken

    def first(self, most: int) -> list[tuple[int, Record]]:
        """The oldest records, each with its number."""
        with self._lock, _translated(self._path):
            rows = self._connection.execute(
                "SELECT seq, topic, key, value, headers FROM records ORDER BY seq LIMIT ?", (most,)
            ).fetchall()
        return [(seq, Record(topic, key, value, _headers(text))) for seq, topic, key, value, text in rows]

    def remove(self, delivered: Sequence[tuple[int, Record]]) -> None:
        """Delete records that Kafka has confirmed."""
        with self._writing():
            self._connection.executemany("DELETE FROM records WHERE seq = ?", [(seq,) for seq, _ in delivered])
        self.count -= len(delivered)
        self.bytes = max(0, self.bytes - sum(record.size + _OVERHEAD for _, record in delivered))

    def close(self) -> None:
        """Close the file; the next service may open it."""
        with self._lock:
            self._connection.close()
            self._guard.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock, _translated(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.commit()


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise Unavailable(f"The spool {path} cannot be used: {error}.") from error


def _text(record: Record) -> str:
    """The headers as JSON. Bytes that are no UTF-8 become lone surrogates, which orjson neither writes nor reads."""
    return json.dumps([[name, value.decode("utf-8", "surrogateescape")] for name, value in record.headers])


def _headers(text: str) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, value.encode("utf-8", "surrogateescape")) for name, value in json.loads(text))
