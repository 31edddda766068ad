"""The hosts that announce themselves in the coordination bucket: who lives, who does not, and who is to be forgotten.

In: the objects `hosts/<host>.json`. Out: a `Host` for each of them. Anybody with the stack's credentials can write such
an object, so a presence counts only if every field is within its bounds, its object is named after its host, and it
expires at most 60 seconds after the store wrote it.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from mlflow_project.adapters.object_store import ObjectStore, StoredObject
from mlflow_project.domain.receipt import LONGEST_LIFE_SECONDS, Presence
from mlflow_project.errors import InvalidData, NotFound

_HOSTS = "hosts/"
_LARGEST = 32_000_000
"""Bytes. The largest presence within its bounds is smaller."""


@dataclass(frozen=True)
class Host:
    """A presence record. `written` is when the store took it (seconds since the epoch); `odd` says why the record does
    not count, "" where it does; `presence` is None where it cannot be read."""

    name: str
    written: float
    presence: Presence | None
    odd: str = ""

    @property
    def lives(self) -> bool:
        """Whether flips wait for the workers of this host."""
        return self.presence is not None and not self.odd and self.presence.expires > time.time()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "host": self.name,
            "lives": self.lives,
            "workers": list(self.presence.workers) if self.presence else [],
            "receipts": len(self.presence.receipts) if self.presence else 0,
            "written": _iso(self.written),
            "odd": self.odd or None,
        }


def read_hosts(store: ObjectStore) -> list[Host]:
    """Every presence record, by the name of its host; also those that expired and those that do not count."""
    found = (_read(store, item) for item in store.list(store.settings.coordination_bucket, _HOSTS))
    return [host for host in found if host is not None]


def presences(store: ObjectStore) -> list[Presence]:
    """Every host that lives now."""
    return [host.presence for host in read_hosts(store) if host.lives and host.presence is not None]


def forget(store: ObjectStore, name: str) -> None:
    """Delete the presence record of a host. A host that still runs writes it again within seconds.

    Raises:
        NotFound: there is no such record.
    """
    if name not in {host.name for host in read_hosts(store)}:
        raise NotFound(f"No host {name!r} has announced itself. `switchyard hosts list` shows all.")
    store.delete(store.settings.coordination_bucket, _key(name))


def _read(store: ObjectStore, item: StoredObject) -> Host | None:
    """One record; None when it was deleted meanwhile."""
    name = item.key.removeprefix(_HOSTS).removesuffix(".json")
    if item.size > _LARGEST:
        return Host(name, item.modified, None, f"its record has {item.size:,} bytes, at most {_LARGEST:,} count")
    try:
        presence = Presence.from_dict(json.loads(store.get(store.settings.coordination_bucket, item.key)))
    except NotFound:
        return None
    except (InvalidData, ValueError, RecursionError) as error:
        return Host(name, item.modified, None, f"its record cannot be read: {error}")
    if item.key != _key(presence.host):
        return Host(name, item.modified, presence, f"its record names another host, {presence.host}")
    life = presence.expires - item.modified
    if life > LONGEST_LIFE_SECONDS:
        why = f"its record expires {life:,.0f} s after it was written, at most {LONGEST_LIFE_SECONDS:.0f} s count"
        return Host(name, item.modified, presence, f"{why}: a wrong clock, or no follower wrote it")
    return Host(name, item.modified, presence)


def _key(name: str) -> str:
    return f"{_HOSTS}{name}.json"


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
