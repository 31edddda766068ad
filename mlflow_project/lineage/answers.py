"""Reads recorded answers by request id: from the table of live answers, and from event objects that are not in it yet.

In: the object store, and ids. Out: events as rows, each once. `source_file` names the object of a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.event import EVENT_SCHEMA
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.feedback.live import EVENTS, Row, answers_where, every_fact, uncollected
from mlflow_project.lineage.steps import Broken, Unrecorded

_AT_ONCE = 16


def find_answer(store: ObjectStore, request: str) -> Row:
    """The answer to a request, by its request id or by the id of its event.

    Raises:
        NotFound: there is no such event. InvalidData: several answers have this request id, which callers choose.
    """
    found = {row["event_id"]: row for row in _matching(store, request)}
    if request in found:
        return found[request]
    if not found:
        raise NotFound(
            f"No event says anything of request {request!r}. A server records a share of its requests "
            "(SWITCHYARD_EVENT_SHARE, SWITCHYARD_EVENTS_PER_SECOND), and uploads them every few seconds."
        )
    if len(found) > 1:
        several = ", ".join(f"{row['event_id']} ({row['release']} at {row['at']})" for row in found.values())
        raise InvalidData(f"{len(found)} answers have the request id {request!r}. Name one by its event: {several}.")
    return next(iter(found.values()))


def check_event(store: ObjectStore, row: Row) -> str:
    """Compare a row of the table with the object that the server uploaded.

    Raises:
        Broken: they differ. Unrecorded: the object is gone.
    """
    name = row["source_file"]
    try:
        data = store.get(store.settings.raw_bucket, f"{EVENTS}{name}")
    except NotFound as error:
        raise Unrecorded(f"the uploaded object {EVENTS}{name} is gone, so only the table has the event") from error
    written = next((event for event in _events(data, row["event_id"]) if event["event_id"] == row["event_id"]), None)
    if written is None:
        raise Broken(f"the uploaded object {EVENTS}{name} does not have the event {row['event_id']}")
    different = sorted(key for key, value in written.items() if key in row and _plain(row[key]) != _plain(value))
    if different:
        raise Broken(f"the table differs from the uploaded object {EVENTS}{name} in {', '.join(different)}")
    return f"event {row['event_id']}, as it was uploaded in {EVENTS}{name}"


def _matching(store: ObjectStore, request: str) -> Iterator[Row]:
    """Answers with this request id or event id."""
    yield from answers_where(store.settings, {"request_id": request, "event_id": request})
    for event in _uncollected_events(store, request):
        if request in (event["request_id"], event["event_id"]):
            yield event


def every_answer(store: ObjectStore) -> list[Row]:
    """What lineage follows of every answer, each once: ids, release, digest, `chunks`, and where it was uploaded."""
    found = {row["event_id"]: row for row in every_fact(store.settings)}
    for event in _uncollected_events(store):
        found.setdefault(event["event_id"], event)
    return sorted(found.values(), key=lambda row: (row["at"], row["event_id"]))


def _uncollected_events(store: ObjectStore, text: str = "") -> Iterator[Row]:
    """The answer events of objects that the table lacks, whose lines contain a text. `source_file` is the object."""
    bucket, objects = store.settings.raw_bucket, uncollected(store)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        read = pool.map(lambda name: store.get(bucket, f"{EVENTS}{name}"), objects)
        for name, data in zip(objects, read, strict=True):
            for event in _events(data, text):
                yield {**event, "source_file": name}


def _events(data: bytes, text: str) -> Iterator[dict[str, Any]]:
    """The answer events of an object whose lines contain a text."""
    wanted = orjson.dumps(text)[1:-1]
    if wanted not in data:  # most objects lack it, and parsing takes most of the time
        return
    for line in data.split(b"\n"):
        if wanted not in line:
            continue
        try:
            event = orjson.loads(line)
            if (event["schema"], event["kind"]) == (EVENT_SCHEMA, "answer") and event["event_id"]:
                yield {key: value for key, value in event.items() if key not in ("schema", "kind")}
        except (ValueError, TypeError, KeyError):
            continue


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value
