"""The tables that have a search index, their versions, what was rejected, and a search that says why each chunk was
found. In: the indexes of the object store, and the commands `sql` and `search`. Out: what the page shows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from console.commands import asked
from mlflow_project.adapters.retrieval import index_store
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.parts import Parts

POINTERS = "index-of/"
WAYS = ("hybrid", "words", "vectors")
_MOST_TABLES, _MOST_VERSIONS = 50, 10
LONGEST = 2_000
"""Characters of a question."""


@dataclass(frozen=True)
class IndexVersion:
    """An index of one Delta version. `health` is "" where its manifest is there and whole."""

    delta_version: int
    index: str
    made: float
    chunks: int | None
    documents: int | None
    vectors: bool
    health: str


@dataclass(frozen=True)
class Table:
    """A chunk table, with its newest indexes, newest first."""

    address: str
    versions: Sequence[IndexVersion]


def tables(parts: Parts) -> list[Table]:
    """Every table with an index, by address.

    Raises:
        Unavailable: the store does not answer.
    """
    store, bucket = parts.store, parts.store.settings.artifacts_bucket
    found: dict[str, list[IndexVersion]] = {}
    newest = sorted(store.list(bucket, POINTERS), key=lambda item: -item.modified)
    for item in newest[: _MOST_TABLES * _MOST_VERSIONS]:
        try:
            pointer = json.loads(store.get(bucket, item.key))
            versions = found.setdefault(str(pointer["table"]), [])
            if len(versions) < _MOST_VERSIONS:
                versions.append(_version(parts, pointer, item.modified))
        except (NotFound, KeyError, TypeError, ValueError):
            continue
    return [Table(address, versions) for address, versions in sorted(found.items())]


def rejected(table: str) -> list[Mapping[str, Any]]:
    """How many records of a table are in its quarantine, by reason.

    Raises:
        NotFound: the table has no quarantine. Unavailable: it cannot be read.
    """
    query = f"SELECT reason, count(*) AS records FROM delta.`{_plain(table)}_quarantine` GROUP BY reason"
    return sorted(asked("sql", query), key=lambda row: -int(row["records"]))


def search(table: str, question: str, way: str) -> Mapping[str, Any]:
    """What `switchyard search` finds, with the explanation of each rank.

    Raises:
        InvalidData: the question is empty or too long; there is no such way. NotFound: the table has no index.
    """
    if not question.strip() or len(question) > LONGEST:
        raise InvalidData(f"A question has 1 to {LONGEST:,} characters.")
    if way not in WAYS:
        raise InvalidData(f"Search by {', '.join(WAYS)}, not by {way!r}.")
    found: Mapping[str, Any] = asked("search", f"--{way}", _plain(table), "--", question)
    return found


def _version(parts: Parts, pointer: Mapping[str, Any], made: float) -> IndexVersion:
    number, index = int(pointer["delta_version"]), str(pointer["index"])
    try:
        manifest = index_store.manifest_of(parts.store, index)
    except (NotFound, InvalidData) as error:
        return IndexVersion(number, index, made, None, None, False, str(error))
    counts, specification = manifest.get("counts", {}), manifest.get("specification", {})
    vectors = specification.get("vectors") is not None
    return IndexVersion(number, index, made, counts.get("chunks"), counts.get("documents"), vectors, "")


def _plain(table: str) -> str:
    """A table's address that can stand in a query and on a command line."""
    if not table.startswith("s3a://") or any(sign in table for sign in "`'\";\\\n\r "):
        raise InvalidData("A table is named by its address, as in s3a://curated-data-bucket/sample.")
    return table
