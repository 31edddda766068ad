"""Sends OpenLineage events to the catalogue that OpenLineage's own configuration names.

In: the ledger, and the outbox, where jobs put the records of their runs. Out: events, oldest first. What a catalogue
does not take stays, and is sent next time. What was sent is kept under `lineage/runs/`: `--since` sends the same bytes
again to a catalogue that was wiped. Two publishers at once send some events twice, which every catalogue takes
for the same: they have the same run id and the same content.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from openlineage.client import OpenLineageClient
from openlineage.client.transport.file import FileConfig, FileTransport
from openlineage.client.transport.noop import NoopConfig, NoopTransport

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.run_log import OUTBOX, outbox_folder, record_name
from mlflow_project.catalog.events import event_of
from mlflow_project.catalog.ledger_runs import runs_of
from mlflow_project.domain.run import STATES, RunRecord, read_run_record
from mlflow_project.errors import ConfigError, InvalidData, NotFound, Unavailable
from mlflow_project.ledger import Ledger
from mlflow_project.rules.canonical import canonical
from mlflow_project.settings import state_folder

SENT = "lineage/runs/"
"""Records that were sent, in the bucket of artifacts."""
REFUSED = "lineage/refused/"
"""Records whose events a catalogue refused, in the coordination bucket."""
CURSOR = "lineage/ledger.json"
"""Up to which record of the ledger everything was sent, in the coordination bucket."""
_LATER = (401, 403, 404, 408, 429)
"""Statuses below 500 that say nothing against an event: the address or the key is wrong, or the catalogue is busy."""

Emit = Callable[[Any], None]


@dataclass(frozen=True)
class Published:
    """What a publish did. `waiting` counts events that the catalogue did not take; `why` says what it answered."""

    sent: int
    waiting: int
    transport: str
    refused: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    why: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dict(vars(self))


@dataclass(frozen=True)
class _Waiting:
    """A record to send. Either `key` names its object in the outbox, or `serial` the ledger's record."""

    name: str
    record: RunRecord
    key: str | None = None
    serial: int | None = None


def openlineage_client() -> OpenLineageClient:
    """The client with the transport of OpenLineage's own configuration: `openlineage.yml`, `OPENLINEAGE_CONFIG`,
    `OPENLINEAGE_URL` or `OPENLINEAGE__...`. Without any, events go to `lineage/events.jsonl` of the state folder.

    Raises:
        ConfigError: the configuration cannot be used, or its transport does not say whether an event arrived.
    """
    try:
        configured = OpenLineageClient(transport=NoopTransport(NoopConfig())).config.transport
        if not (configured and configured.get("type")) and not os.environ.get("OPENLINEAGE_URL"):
            file = state_folder() / "lineage" / "events.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return OpenLineageClient(transport=FileTransport(FileConfig(str(file), append=True)))
        client = OpenLineageClient()
    except (ValueError, TypeError, RuntimeError, KeyError, ImportError) as error:
        raise ConfigError(f"OpenLineage's configuration cannot be used: {error}") from error
    forgets = client.transport.kind == "composite" and (configured or {}).get("continue_on_failure", True)
    if client.transport.kind == "async_http" or forgets:
        raise ConfigError(
            f"The OpenLineage transport {client.transport.kind!r} does not say whether an event arrived, so events "
            "could be lost. Use `http`; for several catalogues use `composite` with `continue_on_failure: false`."
        )
    return client


def publish(store: ObjectStore, ledger: Ledger, client: OpenLineageClient, since: str | None = None) -> Published:
    """Send every event that was not sent yet; with `since`, every event from that time on, whether sent or not.

    Raises:
        Unavailable: the store does not answer. InvalidData: the ledger cannot be read.
    """
    _collect_folder(store, outbox_folder())
    cursor = _read_cursor(store)
    unreadable: list[str] = []
    found: dict[str, _Waiting] = {}
    for each in chain(
        _read(store, store.settings.coordination_bucket, OUTBOX, "", unreadable, in_outbox=True),
        _from_ledger(ledger, cursor, since),
        _read(store, store.settings.artifacts_bucket, SENT, since, unreadable) if since is not None else (),
        _read(store, store.settings.coordination_bucket, REFUSED, since, unreadable) if since is not None else (),
    ):
        found.setdefault(each.name, each)
    order = sorted(found.values(), key=lambda each: (each.record.time, STATES.index(each.record.state), each.name))
    sent, refused, why = 0, list[str](), None
    unsent = {each.serial for each in order if each.serial is not None}
    for each in order:
        problem = _problem(client.emit, each.record)
        if problem is not None and problem[0] is False:
            why = problem[1]
            break
        _settle(store, each, is_refused=problem is not None)
        unsent.discard(each.serial)
        if problem is None:
            sent += 1
        else:
            refused.append(f"{each.name}: {problem[1]}")
    reached = ledger.head()[0] if not unsent else min(serial for serial in unsent if serial is not None) - 1
    if reached > cursor:
        store.put(store.settings.coordination_bucket, CURSOR, canonical({"serial": reached}), "application/json")
    left = len(order) - sent - len(refused)
    return Published(sent, left, client.transport.kind or "", refused, unreadable, why)


def _problem(emit: Emit, record: RunRecord) -> tuple[bool, str] | None:
    """Send an event. None: it arrived. Else whether sending it again is useless, and what was said."""
    try:
        event = event_of(record)
    except InvalidData as error:
        return True, str(error)
    try:
        emit(event)
    except Exception as error:  # each transport raises the errors of its own library
        status = getattr(getattr(error, "response", None), "status_code", None)
        useless = status is not None and 400 <= status < 500 and status not in _LATER
        return useless, f"{type(error).__name__}: {error}"[:500]
    return None


def _settle(store: ObjectStore, each: _Waiting, *, is_refused: bool) -> None:
    """Keep a record that was sent or refused, and take it out of the outbox."""
    settings, data = store.settings, canonical(each.record.to_dict())
    if is_refused:
        store.put(settings.coordination_bucket, f"{REFUSED}{each.name}", data, "application/json")
    elif each.key is not None:
        store.put(settings.artifacts_bucket, f"{SENT}{each.name}", data, "application/json")
    if each.key is not None:
        store.delete(settings.coordination_bucket, each.key)


def _from_ledger(ledger: Ledger, cursor: int, since: str | None) -> Iterator[_Waiting]:
    """What the ledger says and was not sent, or is not older than `since`. A cursor beyond the ledger's end belongs to
    another ledger, and everything is sent."""
    after = cursor if cursor <= ledger.head()[0] else 0
    for made in runs_of(ledger.records()):
        if made.serial > after or (since is not None and made.run.time >= since):
            yield _Waiting(record_name(made.run), made.run, serial=made.serial)


def _read(
    store: ObjectStore, bucket: str, prefix: str, since: str, unreadable: list[str], *, in_outbox: bool = False
) -> Iterator[_Waiting]:
    for found in store.list(bucket, prefix, f"{prefix}{since}" if since else ""):
        try:
            record = read_run_record(json.loads(store.get(bucket, found.key)))
        except NotFound:
            continue  # another publisher has sent it
        except (ValueError, InvalidData) as error:
            unreadable.append(f"{found.key}: {error}")
            continue
        yield _Waiting(found.key.removeprefix(prefix), record, key=found.key if in_outbox else None)


def _collect_folder(store: ObjectStore, folder: Path) -> None:
    """Bring records that this host kept, while the store did not answer, into the outbox."""
    for file in sorted(folder.glob("[!.]*.json")):
        data = file.read_bytes()
        store.put(store.settings.coordination_bucket, f"{OUTBOX}{file.name}", data, "application/json")
        with suppress(FileNotFoundError):
            file.unlink()


def _read_cursor(store: ObjectStore) -> int:
    try:
        serial = json.loads(store.get(store.settings.coordination_bucket, CURSOR))["serial"]
    except (NotFound, ValueError, KeyError, TypeError):
        return 0
    return serial if isinstance(serial, int) else 0


def unavailable(done: Published) -> Unavailable | None:
    """The error of a publish that left events waiting."""
    if not done.waiting:
        return None
    return Unavailable(
        f"{done.waiting:,} events wait, because the catalogue did not take one ({done.why}). Nothing is lost: "
        "`switchyard lineage publish` sends them when it answers again."
    )
