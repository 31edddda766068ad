"""Records runs of jobs for lineage: `with recorded_run("prepare", ...) as running:`.

A record is one object in the outbox, a prefix in the object store. `switchyard lineage publish` sends it from there.
The job never speaks with a catalogue, so a catalogue that is down cannot delay it. If the store does not take a record
within `PATIENCE_SECONDS`, the record goes to a folder of this host, and the next publish takes it from there.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.run_flows import Flow
from mlflow_project.domain.run import Dataset, RunRecord, read_parents
from mlflow_project.domain.times import utc_text
from mlflow_project.errors import InvalidData, WorkspaceError
from mlflow_project.private_files import write_private
from mlflow_project.rules.canonical import canonical
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import LineageSettings, StoreSettings, load, state_folder

OUTBOX = "lineage/outbox/"
"""Records that no catalogue has yet, in the coordination bucket."""
PATIENCE_SECONDS = 0.8
MOST_FILES = 10_000
"""How many records the folder of a host keeps. A job records nothing more there, and says so."""
_log = logging.getLogger(__name__)


@dataclass
class Running:
    """A run that is under way. The job sets what it learns: inputs and outputs with versions, and the evaluation."""

    started: RunRecord
    inputs: Sequence[Dataset] = ()
    outputs: Sequence[Dataset] = ()
    evaluation: dict[str, Any] | None = None
    describe: Callable[[], None] = field(default=lambda: None)
    """Called at the end of a run that went well; sets the above. What it raises is logged, and fails nothing."""

    def learn(self, flow: Flow) -> None:
        """Take over what is known now."""
        self.inputs, self.outputs, self.evaluation = flow.inputs, flow.outputs, flow.evaluation


class RunLog:
    """Writes records. `store` None: the store of the settings."""

    def __init__(self, store: ObjectStore | None = None, folder: Path | None = None) -> None:
        self._store = store
        self._folder = folder or outbox_folder()
        self._store_is_slow = False

    def write(self, record: RunRecord) -> None:
        """Put a record into the outbox. Never raises, and takes a second at most."""
        try:
            name, data = record_name(record), canonical(record.to_dict())
        except InvalidData as error:  # a metric that is not a number
            _log.warning("A run is missing in lineage, because its record cannot be written: %s", error)
            return
        if not self._store_is_slow and self._is_put(name, data):
            return
        self._store_is_slow = True
        try:
            if self._folder.is_dir() and sum(1 for _ in self._folder.iterdir()) >= MOST_FILES:
                raise WorkspaceError(f"{self._folder} has {MOST_FILES:,} records already")
            write_private(self._folder / name, data.decode())
        except (WorkspaceError, OSError) as error:
            _log.warning("A run is missing in lineage, because its record cannot be kept: %s", error)

    def _is_put(self, name: str, data: bytes) -> bool:
        """Whether the store has the record in time. A request that comes later puts the same bytes again."""
        done = threading.Event()

        def put() -> None:
            try:
                store = self._store or ObjectStore(load(StoreSettings), connect_timeout=PATIENCE_SECONDS)
                store.put(store.settings.coordination_bucket, f"{OUTBOX}{name}", data, "application/json")
                done.set()
            except Exception as error:  # the record then goes to the folder
                _log.debug("The store did not take a record of a run: %s", error)
            finally:
                ended.set()

        ended = threading.Event()
        threading.Thread(target=put, daemon=True).start()
        ended.wait(PATIENCE_SECONDS)
        return done.is_set()


@contextmanager
def recorded_run(
    job: str,
    inputs: Sequence[Dataset] = (),
    outputs: Sequence[Dataset] = (),
    *,
    description: str = "",
    streams: bool = False,
    started_by: Mapping[str, str] | None = None,
    log: RunLog | None = None,
) -> Iterator[Running]:
    """Record a run: its start now, and its end when the block ends. An exception is recorded and raised again.

    `started_by` names the runs that started this one, as `parent` and `root`; None: those of the settings.
    """
    log = log or RunLog()
    at = datetime.now(UTC)
    parent, root = read_parents(load(LineageSettings).started_by() if started_by is None else started_by)
    started = RunRecord(
        key=f"{job} {utc_text(at, timespec='microseconds')} {socket.gethostname()} {os.getpid()}",
        job=job,
        state="START",
        time=utc_text(at),
        description=description,
        streams=streams,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        parent=parent,
        root=root,
    )
    log.write(started)
    running = Running(started, inputs, outputs)
    try:
        yield running
    except BaseException as error:
        log.write(_ended(running, "ABORT" if isinstance(error, KeyboardInterrupt) else "FAIL", error))
        raise
    try:
        running.describe()
    except Exception as error:
        _log.warning("Lineage of %s lacks versions or columns: %s", job, error)
    log.write(_ended(running, "COMPLETE"))


def outbox_folder() -> Path:
    """Where this host keeps records that the store did not take."""
    return state_folder() / "lineage" / "outbox"


def record_name(record: RunRecord) -> str:
    """The name of a record's object: its time first, so that names sort by time."""
    return f"{record.time}-{record.run_id}-{record.state}.json"


def _ended(running: Running, state: str, error: BaseException | None = None) -> RunRecord:
    said = None
    if error is not None:
        said = Masker().mask(str(error) if isinstance(error, WorkspaceError) else type(error).__name__).text
    return replace(
        running.started,
        state=state,
        time=utc_text(datetime.now(UTC)),
        inputs=tuple(running.inputs),
        outputs=tuple(running.outputs),
        evaluation=running.evaluation,
        error=said,
    )
