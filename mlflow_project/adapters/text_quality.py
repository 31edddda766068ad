"""Reads the quality of a knowledge base's texts from its Delta tables, each at the version that belongs to one version
of the chunk table.

In: a chunk table and a version of it. Out: a `TextQuality`. A preparation notes with each commit of the documents which
versions of the chunks and of the quarantine belong to it (`spark_jobs.table_state.Note`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from deltalake import DeltaTable

from mlflow_project.adapters.delta_tables import open_table, read
from mlflow_project.domain.text_quality import TextQuality
from mlflow_project.errors import NotFound
from mlflow_project.rules.chunking.records import DROPPED_ON_REQUEST, OF_PAGES


def text_quality(chunk_table: str, chunks_version: int) -> TextQuality:
    """Count documents, chunks and rows in quarantine, and name the columns with a profile.

    Raises:
        NotFound: a table or version is gone, or no preparation noted this version. InvalidData: a table cannot be read.
        Unavailable: the store does not answer.
    """
    found = documents_commit(chunk_table, chunks_version)
    if found is None:
        raise NotFound(f"no commit of {chunk_table}_documents says that it belongs to version {chunks_version}")
    documents, note = found
    quarantine = _quarantine(chunk_table, note.get("quarantine_version"))
    count = _count(open_table(f"{chunk_table}_documents", documents))
    pages = sum(rows for reason, rows in quarantine.items() if reason in OF_PAGES)
    dropped = sum(rows for reason, rows in quarantine.items() if reason in DROPPED_ON_REQUEST)
    every = sum(quarantine.values())
    return TextQuality(
        chunk_table,
        chunks_version,
        documents=count,
        chunks=_count(open_table(chunk_table, chunks_version)),
        quarantine=quarantine,
        rejected=every - pages - dropped,
        rows=count + every - pages,
        profiled=_profiled(chunk_table, chunks_version),
    )


def documents_commit(chunk_table: str, chunks_version: int) -> tuple[int, Mapping[str, Any]] | None:
    """The version of the document table that belongs to a version of the chunk table, and the note of its commit.
    Returns None if no preparation has noted this version of the chunk table.

    Raises:
        NotFound: there is no document table. InvalidData: it cannot be read. Unavailable: the store does not answer.
    """
    newest = open_table(f"{chunk_table}_documents")
    for back, commit in enumerate(newest.history()):
        note = _note(commit.get("userMetadata"))
        if note.get("chunks_version") == chunks_version:
            return int(newest.version()) - back, note
    return None


def _note(text: str | None) -> Mapping[str, Any]:
    """The note of a preparation; empty where a commit has none."""
    try:
        note = json.loads(text or "{}")
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


def _quarantine(chunk_table: str, version: Any) -> dict[str, int]:
    """The rows in quarantine by reason. Every preparation writes the table, also when no row is rejected."""
    if type(version) is not int:
        raise NotFound(
            f"the preparation noted no version of {chunk_table}_quarantine (but {version!r}): prepare the texts again"
        )
    table = open_table(f"{chunk_table}_quarantine", version)
    found = read("SELECT reason, count(*) AS rows FROM here GROUP BY reason ORDER BY reason", {"here": table})
    return {str(row["reason"]): int(row["rows"]) for row in found.to_pylist()}


def _count(table: DeltaTable) -> int:
    return int(read("SELECT count(*) AS rows FROM here", {"here": table})["rows"][0].as_py())


def _profiled(chunk_table: str, version: int) -> tuple[str, ...]:
    """The columns that `spark_jobs/profile_documents.py` has profiled at a version of the chunk table."""
    try:
        profiles = open_table(f"{chunk_table}_profiles")
    except NotFound:
        return ()
    query = f'SELECT DISTINCT "column" AS name FROM here WHERE corpus_version = {version} ORDER BY name'
    return tuple(str(row["name"]) for row in read(query, {"here": profiles}).to_pylist())
