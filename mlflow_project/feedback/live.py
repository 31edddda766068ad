"""Reads the tables of live answers and feedback, and lists the event objects that are not in them yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow_project.adapters.delta_tables import batches, open_table
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.settings import StoreSettings

EVENTS = "events/"

Row = Mapping[str, Any]


def live_table(settings: StoreSettings, kind: str) -> str:
    """The address of the table `answers`, `feedback` or `objects`. `objects` names the event objects that the other two
    contain completely."""
    return f"s3a://{settings.curated_bucket}/live_{kind}"


def uncollected(store: ObjectStore) -> list[str]:
    """The event objects that have not been collected into the tables."""
    shipped = {one.key.removeprefix(EVENTS) for one in store.list(store.settings.raw_bucket, EVENTS)}
    return sorted(shipped - {row["source_file"] for row in _rows(store.settings, "objects", "SELECT * FROM live")})


def answers(settings: StoreSettings, name: str, since: str = "", digest: str | None = None) -> list[Row]:
    """The answers of a prompt since a time (UTC, ISO 8601), oldest first; with `digest`, of that release only."""
    of_release = "" if digest is None else f" AND digest = {_quoted(digest)}"
    condition = f"name = {_quoted(name)} AND at >= {_quoted(since)}{of_release}"
    return _rows(settings, "answers", f"SELECT * FROM live WHERE {condition} ORDER BY at, event_id")


def answers_where(settings: StoreSettings, values: Mapping[str, str]) -> list[Row]:
    """The answers that have one of these values in its column, oldest first."""
    condition = " OR ".join(f"{column} = {_quoted(value)}" for column, value in values.items())
    return _rows(settings, "answers", f"SELECT * FROM live WHERE {condition} ORDER BY at, event_id")


def every_fact(settings: StoreSettings) -> list[Row]:
    """All answers, oldest first, with what lineage follows and without texts. `chunks` is None in older tables."""
    names = "event_id, request_id, at, name, release, digest, error_type, source_file"
    try:
        return _rows(settings, "answers", f"SELECT {names}, chunks FROM live ORDER BY at, event_id")
    except InvalidData:  # no answer has been collected since servers record chunks
        return [{**row, "chunks": None} for row in _rows(settings, "answers", f"SELECT {names} FROM live ORDER BY at")]


def feedback(settings: StoreSettings) -> list[Row]:
    """For each answer the newest judgement by each judge."""
    rows = _rows(settings, "feedback", "SELECT * FROM live ORDER BY at, event_id")
    return list({row["feedback_id"]: row for row in rows}.values())


def every_answer(settings: StoreSettings) -> list[Row]:
    """All answers whose texts were kept, oldest first."""
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
