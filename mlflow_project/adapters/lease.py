"""One writer a table: a lease in the object store, taken by conditional PUT, renewed while held, fenced by number.

In: an `ObjectStore` and what is to be held. Out: a context manager; `check()` before each commit says whether the lease
is still ours. A lease that was not renewed for `ttl` seconds may be taken over; its number grows, so a writer that
stalled and wakes up finds that it lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import threading
import time
import uuid
from types import TracebackType
from typing import Any

import psutil

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import NotFound, Refused, Unavailable

LEASE_SCHEMA = "switchyard.lease/v1"
LONGEST_SECONDS = 600.0
"""No lease of ours is valid for longer. A record that claims more holds nothing: somebody else wrote it."""


class Lease:
    """Hold `what` (a table's address) against every other writer: `with Lease(store, what): …`."""

    def __init__(self, store: ObjectStore, what: str, *, ttl: float = 30.0) -> None:
        self.what = what
        self.ttl = ttl
        self.number = 0
        self._store = store
        self._bucket = store.settings.coordination_bucket
        self._key = f"leases/{hashlib.sha256(what.encode()).hexdigest()[:32]}.json"
        self._nonce = uuid.uuid4().hex
        self._etag = ""
        self._since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._valid_until = 0.0
        self._lost: str | None = None
        self._outage: str | None = None
        self._stop = threading.Event()
        self._renewer = threading.Thread(target=self._keep, name=f"lease-{self._key}", daemon=True)

    def __enter__(self) -> Lease:
        self.acquire()
        self._renewer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._renewer.join(timeout=self.ttl)
        self.release()

    def acquire(self) -> None:
        """Take the lease. Where its holder was killed on this host, wait until it runs out: not refused, but safe.

        Raises:
            Refused: somebody else holds it; the message says who, since when.
        """
        asked = time.monotonic()
        try:
            data, etag = self._store.get_with_etag(self._bucket, self._key)
        except NotFound:
            self.number = 1
            self._store.put_new(self._bucket, self._key, self._record())
            data, self._etag = self._store.get_with_etag(self._bucket, self._key)
            if _read(data)["nonce"] != self._nonce:
                raise self._taken() from None
        else:
            held = _read(data)
            if held["expires"] > time.time():
                if not _was_killed_here(held):
                    raise self._taken(held)
                time.sleep(max(0.05, held["expires"] - time.time()))
                self.acquire()
                return
            self.number = held["number"] + 1
            self._etag = self._store.replace(self._bucket, self._key, self._record(), etag) or ""
            if not self._etag:
                raise self._taken()
        self._valid_until = asked + self.ttl

    def check(self) -> None:
        """Confirm that the lease is still ours; call it right before a commit.

        Raises:
            Refused: it expired, or somebody took it over. Unavailable: it expired because the store did not answer.
        """
        if self._lost is None and time.monotonic() >= self._valid_until:
            if self._outage is not None:
                raise Unavailable(
                    f"The lease on {self.what} ran out: {self._outage}. Nothing more is written. Run again."
                )
            self._lost = "it was not renewed in time"
        if self._lost is not None:
            raise Refused(f"The lease on {self.what} was lost ({self._lost}): nothing more is written. Run again.")

    def release(self) -> None:
        """Let the next writer in at once, if the lease is still ours; where the store is gone it runs out by itself."""
        if self._lost is None and self._etag:
            with contextlib.suppress(Unavailable):
                self._store.replace(self._bucket, self._key, self._record(expires=0.0), self._etag)
            self._etag = ""

    def _keep(self) -> None:
        while not self._stop.wait(self.ttl / 3):
            asked = time.monotonic()
            try:
                renewed = self._store.replace(self._bucket, self._key, self._record(), self._etag)
            except Unavailable as error:
                self._outage = str(error).rstrip(".")
                continue  # the next try may succeed; `check` refuses once the time is over
            if renewed is None:
                self._lost = "somebody else took it"
                return
            self._etag, self._valid_until, self._outage = renewed, asked + self.ttl, None

    def _record(self, expires: float | None = None) -> bytes:
        record: dict[str, Any] = {
            "schema": LEASE_SCHEMA,
            "what": self.what,
            "holder": f"{socket.gethostname()} process {os.getpid()}",
            "host": socket.gethostname(),
            "process": os.getpid(),
            "started": psutil.Process().create_time(),
            "since": self._since,
            "nonce": self._nonce,
            "number": self.number,
            "expires": time.time() + self.ttl if expires is None else expires,
        }
        return json.dumps(record).encode()

    def _taken(self, held: dict[str, Any] | None = None) -> Refused:
        held = held or _read(self._store.get(self._bucket, self._key))
        return Refused(
            f"{held['what']} is being written by {held['holder']} since {held['since']}; one writer a table. Wait for "
            f"it, or, if it died, {max(0.0, held['expires'] - time.time()):.0f} s for its lease to run out."
        )


def _read(data: bytes) -> dict[str, Any]:
    """The lease in a record. A record with a field that no holder writes is a lease that has run out."""
    none: dict[str, Any] = {
        "what": "It",
        "holder": "somebody",
        "since": "now",
        "nonce": "",
        "number": 0,
        "expires": 0.0,
    }
    try:
        held = json.loads(data)
    except (ValueError, RecursionError):
        return none
    texts = ("what", "holder", "since", "nonce")
    if not isinstance(held, dict) or not all(isinstance(held.get(key), str) for key in texts):
        return none
    number, expires = held.get("number"), held.get("expires")
    if not isinstance(number, int) or not 0 <= number < 2**53 or not isinstance(expires, int | float):
        return none
    return held if 0 <= expires - time.time() <= LONGEST_SECONDS else {**held, "expires": 0.0}


def _was_killed_here(held: dict[str, Any]) -> bool:
    """Whether the holder was a process of this host that is no more; a new process with its number is another one."""
    if held.get("host") != socket.gethostname():
        return False
    try:
        return bool(abs(psutil.Process(held["process"]).create_time() - held["started"]) > 1)
    except psutil.NoSuchProcess:
        return True
    except (KeyError, TypeError, ValueError):
        return False
