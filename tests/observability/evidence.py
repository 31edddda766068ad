"""Everything that a running site has written, laid out in one folder; and a search of it with grep.

Files are taken as they are, SQLite databases as rows, objects in every version, Parquet as rows, and what Prometheus
answers as JSON. A secret is looked for as it was spelt, escaped as JSON and as URLs escape it.
"""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pyarrow.parquet as parquet

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.settings import StoreSettings, load

LEAST_CHARS = 9
"""Shorter pieces stand in ids and times by chance."""


def of_folder(source: Path, into: Path, without: Iterable[str] = ()) -> None:
    """Each file below a folder but those below the folders named; databases as rows."""
    skipped = {source / name for name in without}
    for number, path in enumerate(sorted(source.rglob("*"))):
        if not path.is_file() or skipped & {*path.parents}:
            continue
        copy = into / f"{source.name}-{number}-{path.name}"
        copy.write_bytes(path.read_bytes())
        if copy.read_bytes().startswith(b"SQLite format 3"):
            copy.write_text("\n".join(rows_of(path)))


def rows_of(path: Path) -> Iterator[str]:
    """Every row of every table of an SQLite database. Values of type BLOB are shown as text."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in database.execute(f'SELECT * FROM "{table}"'):
                shown = [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in row]
                yield f"{table}: {' | '.join(shown)}"


def of_store(into: Path) -> None:
    """Every version of every object in every bucket, under its key."""
    store = ObjectStore(load(StoreSettings))
    for bucket in (value for name, value in store.settings.model_dump().items() if name.endswith("_bucket")):
        for number, one in enumerate(store.versions(bucket)):
            if not one.deleted:
                data = _plain(store.get(bucket, one.key, one.version_id))
                (into / f"{bucket}-{number}").write_bytes(f"{one.key}\n".encode() + data)


def of_prometheus(address: str, into: Path) -> None:
    """Every series with its labels, every value of a label, every rule and alert."""
    every = '{__name__=~".+"}'
    asked = [("series", {"match[]": every}), ("query", {"query": every})]
    asked += [(path, {}) for path in ("labels", "rules", "alerts", "metadata")]
    for path, params in asked:
        answer = httpx.get(f"{address}/api/v1/{path}", params=params, timeout=60)
        assert answer.status_code == 200, answer.text
        (into / f"prometheus-{path}").write_bytes(answer.content)


def found(secrets: Iterable[str], folder: Path) -> set[str]:
    """The spellings that stand somewhere below the folder."""
    patterns = folder.with_suffix(".patterns")
    patterns.write_text("\n".join(sorted({spelt for secret in secrets for spelt in _spellings(secret)})) + "\n")
    grep = ["grep", "-raohFf", str(patterns), str(folder)]
    done = subprocess.run(grep, env={**os.environ, "LC_ALL": "C"}, capture_output=True)
    assert done.returncode in (0, 1), done.stderr
    return set(done.stdout.decode(errors="replace").splitlines())


def _spellings(secret: str) -> Iterator[str]:
    """The whole, and each word of it that says something alone."""
    lines = [line for line in secret.splitlines() if "-----" not in line]
    words = [word for word in secret.split() if "-----" not in word and any(letter.isdigit() for letter in word)]
    for piece in {*lines, *words}:
        if len(piece) >= LEAST_CHARS:
            yield from {piece, json.dumps(piece)[1:-1], json.dumps(json.dumps(piece))[3:-3], quote(piece)}


def _plain(data: bytes) -> bytes:
    """A Parquet file as its rows, anything else as it is."""
    if data[:4] != b"PAR1":
        return data
    return json.dumps(parquet.read_table(io.BytesIO(data)).to_pylist(), default=str, ensure_ascii=False).encode()
