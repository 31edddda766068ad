"""The tables of live answers and feedback, for reading, and what of the events they do not hold yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow_project.adapters.delta_tables import batches, open_table
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import NotFound
from mlflow_project.settings import StoreSettings

EVENTS = "events/"

Row = Mapping[str, Any]


def live_table(settings: StoreSettings, kind: str) -> str:
    """The address of `answers`, `feedback` or `objects`, which names the objects that the others hold whole."""
    return f"s3a://{settings.curated_bucket}/live_{kind}"


def uncollected(store: ObjectStore) -> list[str]:
    """The objects of events that have not been collected."""
    shipped = {one.key.removeprefix(EVENTS) for one in store.list(store.settings.raw_bucket, EVENTS)}
    return sorted(shipped - {row["source_file"] for row in _rows(store.settings, "objects", "SELECT * FROM live")})


def answers(settings: StoreSettings, name: str, since: str = "", digest: str | None = None) -> list[Row]:
    """The answers of a prompt from a time on (UTC, ISO 8601), the oldest first; of one release where it is named."""
    of_release = "" if digest is None else f" AND digest = {_quoted(digest)}"
    condition = f"name = {_quoted(name)} AND at >= {_quoted(since)}{of_release}"
    return _rows(settings, "answers", f"SELECT * FROM live WHERE {condition} ORDER BY at, event_id")


def feedback(settings: StoreSettings) -> list[Row]:
    """The newest judgement of each answer by each judge."""
    rows = _rows(settings, "feedback", "SELECT * FROM live ORDER BY at, event_id")
    return list({row["feedback_id"]: row for row in rows}.values())


def every_answer(settings: StoreSettings) -> list[Row]:
    """All answers that have texts, the oldest first."""
    return _rows(settings, "answers", "SELECT * FROM live WHERE question IS NOT NULL ORDER BY at, event_id")


def known_answers(settings: StoreSettings) -> set[str]:
    """The ids of all answers."""
    return {row["event_id"] for row in _rows(settings, "answers", "SELECT event_id FROM live")}


def _rows(settings: StoreSettings, kind: str, query: str) -> list[Row]:
    try:
        table = open_table(live_table(settings, kind))
    except NotFound:
        return []
    return [row for batch in batches(query, {"live": table}) for row in batch.to_pylist()]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
