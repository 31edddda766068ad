"""Reads events of live traffic from the objects that followers uploaded, without Spark.

In: the object store, a kind of event, a name, and a time. Out: the events as rows, in no particular order, each once.
Events that were uploaded twice have the same `event_id`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import islice

import orjson

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.event import EVENT_SCHEMA
from mlflow_project.domain.times import utc_text
from mlflow_project.feedback.live import EVENTS, Row

_AT_ONCE = 8
"""Objects that are fetched at the same time. Each has at most 5,000 events."""

logger = logging.getLogger(__name__)


def recorded(store: ObjectStore, kind: str, name: str, since: datetime) -> Iterator[Row]:
    """The events of a prompt or a model since a time.

    Raises:
        Unavailable: the store does not answer.
    """
    first = since - timedelta(days=1)  # objects lie under the day of their upload, by the clock of their host
    bucket = store.settings.raw_bucket
    keys = (item.key for item in store.list(bucket, EVENTS, f"{EVENTS}day={first:%Y-%m-%d}"))
    seen: set[str] = set()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while some := list(islice(keys, _AT_ONCE)):
            for key, data in zip(some, pool.map(lambda key: store.get(bucket, key), some), strict=True):
                for row in _rows(key, data, kind, name):
                    if row["at"] >= utc_text(since) and row["event_id"] not in seen:
                        seen.add(row["event_id"])
                        yield row


def _rows(key: str, data: bytes, kind: str, name: str) -> Iterator[Row]:
    for line in data.split(b"\n"):
        if name.encode() not in line:  # most lines are of other names, and parsing takes most of the time
            continue
        try:
            row = orjson.loads(line)
            wanted = (row["schema"], row["kind"], row["name"]) == (EVENT_SCHEMA, kind, name)
            complete = isinstance(row["at"], str) and isinstance(row["event_id"], str)
        except (ValueError, TypeError, KeyError):
            wanted, complete = True, False
        if wanted and not complete:
            logger.warning("a line of the events cannot be read, and is passed over", extra={"object": key})
        elif wanted:
            yield row
