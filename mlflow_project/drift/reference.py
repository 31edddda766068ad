"""The reference of a release: its first window of live answers, kept once and never changed.

In: the table of live answers. Out: the rows, in `drift/<name>/<digest>.jsonl` of the artifacts bucket.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import NotFound
from mlflow_project.feedback.live import Row, answers
from mlflow_project.rules.drift.windows import LEAST_REFERENCE


def pinned(store: ObjectStore, name: str, digest: str) -> list[Row]:
    """The reference's rows; empty before there is a reference."""
    try:
        data = store.get(store.settings.artifacts_bucket, _key(name, digest))
    except NotFound:
        return []
    return [json.loads(line) for line in data.splitlines()]


def pin(
    store: ObjectStore, name: str, digest: str, window: timedelta, until: datetime, *, early: bool = False
) -> list[Row]:
    """Keep the rows of the release's first window as its reference.

    Returns no rows while the window is not over (unless `early` is set), or has too few answers.
    """
    rows = answers(store.settings, name, "", digest)
    end = datetime.fromisoformat(rows[0]["at"]) + window
    first = [row for row in rows if datetime.fromisoformat(row["at"]) < min(end, until)]
    if len(first) < LEAST_REFERENCE or (until < end and not early):
        return []
    lines = (json.dumps({key: row[key] for key in row if key != "day"}, ensure_ascii=False) + "\n" for row in first)
    store.put_new(store.settings.artifacts_bucket, _key(name, digest), "".join(lines).encode())
    return pinned(store, name, digest)


def _key(name: str, digest: str) -> str:
    return f"drift/{name}/{digest.removeprefix('sha256:')}.jsonl"
