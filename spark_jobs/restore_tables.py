"""Puts the tables of a knowledge base back to an earlier Delta version.

    python spark_jobs/restore_tables.py <chunk_table> [--version N]

In: the chunk table, and a version of it that a preparation left. Out: a new version of each table (chunks, quarantine,
documents) with that content; without --version, a list of the versions. Also prints which releases pin which version: a
release answers from its own index, so restoring changes no answer. Needs no Spark.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import DeltaError

from mlflow_project.adapters.delta_tables import open_table, translated
from mlflow_project.adapters.registry import Registry
from mlflow_project.errors import InvalidData, NotFound, Unavailable
from mlflow_project.rules.content import manifest_of
from mlflow_project.settings import RegistrySettings, load
from spark_jobs import tables
from spark_jobs.lease import one_writer
from spark_jobs.program import Arguments, run
from spark_jobs.table_log import notes
from spark_jobs.table_state import Note
from spark_jobs.tables import Tables

USAGE = "restore_tables.py <chunk_table> [--version N]"


class Preparation(NamedTuple):
    """The tables as one run left them: the version of the documents and, in `note`, those of chunks and quarantine."""

    prepared_at: str
    documents_version: int
    note: Note


def preparations(at: Tables) -> list[Preparation]:
    """The preparations that can be restored, the newest first; one for each version of the chunk table.

    Raises:
        NotFound: there is no knowledge base at this address.
    """
    documents = open_table(at.documents)
    found: dict[int, Preparation] = {}
    for (version, text), commit in zip(notes(documents), documents.history(), strict=True):
        note = Note.parse(text)
        if note.chunks_version is not None and note.quarantine_version is not None:
            prepared_at = datetime.fromtimestamp(commit["timestamp"] / 1000, UTC).isoformat(timespec="seconds")
            found.setdefault(note.chunks_version, Preparation(prepared_at, version, note))
    return list(found.values())


def restore(at: Tables, version: int, may_commit: Callable[[], None]) -> Note:
    """Put the three tables back, the documents last; their commit notes the new versions.

    Raises:
        NotFound: no preparation left this version. InvalidData: its files were removed by VACUUM.
        Refused: another writer holds the table.
    """
    every = preparations(at)
    wanted = next((each for each in every if each.note.chunks_version == version), None)
    if wanted is None:
        versions = ", ".join(str(each.note.chunks_version) for each in every)
        raise NotFound(f"No preparation left {at.chunks} at version {version}. These can be restored: {versions}.")
    chunks = _restore(at.chunks, version, may_commit)
    quarantine = _restore(at.quarantine, wanted.note.quarantine_version or 0, may_commit)
    note = replace(wanted.note, chunks_version=chunks, quarantine_version=quarantine)
    _restore(at.documents, wanted.documents_version, may_commit, str(note))
    return note


def pins(registry: Registry, table: str) -> Iterator[dict[str, Any]]:
    """The registered versions that pin a version of this table, with the aliases that point at them."""
    for _, name in registry.names():
        entry = registry.entry(name)
        for each in registry.versions(name) if entry else ():
            with suppress(InvalidData):
                base = manifest_of(each).knowledge_base
                if entry and base and base.table == table:
                    aliases = sorted(alias for alias, version in entry.aliases.items() if version == each.version)
                    release = f"{name}/{each.version}"
                    yield {"release": release, "aliases": aliases, "delta_version": base.delta_version}


def _restore(address: str, version: int, may_commit: Callable[[], None], note: str | None = None) -> int:
    """Restore one table. Returns its new version. A table that is at this version already stays as it is."""
    table: DeltaTable = open_table(address)
    if table.version() == version and note is None:
        return version
    properties = CommitProperties({"userMetadata": note} if note else None, max_commit_retries=0)
    may_commit()
    try:
        if table.version() == version:
            table.create_write_transaction([], "append", table.schema(), commit_properties=properties)
        else:
            table.restore(version, commit_properties=properties)
    except (DeltaError, OSError) as error:
        raise translated(f"{address} cannot be put back to version {version} (was it vacuumed?)", error) from error
    return int(open_table(address).version())


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line. Anything wrong ends with the usage line and exit code 2."""
    parser = Arguments(USAGE, __doc__ or "")
    parser.add_argument("chunk_table")
    parser.add_argument("--version", type=int, help="the Delta version of the chunk table; without it, list versions")
    return parser.parse_args(argv)


def job(options: argparse.Namespace) -> dict[str, Any]:
    """Restore, or list; the result as JSON-ready data."""
    at = Tables(tables.address(options.chunk_table))
    if options.version is None:
        names = ("version", "prepared_at", "chunks")
        every = [(each.note.chunks_version, each.prepared_at, each.note.chunks) for each in preparations(at)]
        return {"table": at.chunks, "versions": [dict(zip(names, each, strict=True)) for each in every]}
    with one_writer(at.chunks) as still_ours:
        note = restore(at, options.version, still_ours)
    return {
        "table": at.chunks,
        "restored": options.version,
        "delta_version": note.chunks_version,
        "chunks": note.chunks,
        "pins": _pins(at.chunks),
    }


def _pins(table: str) -> list[dict[str, Any]] | None:
    """The pins, or None if MLflow does not answer, because the tables can be restored without it."""
    try:
        return list(pins(Registry(load(RegistrySettings)), table))
    except Unavailable as error:
        sys.stderr.write(f"Cannot tell which releases pin which version: {error}\n")
        return None


def main(argv: list[str]) -> int:
    """The program; returns the exit code."""
    options = arguments(argv)
    return run(job, options, f"Tables of {options.chunk_table}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
