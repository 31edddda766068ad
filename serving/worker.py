"""A worker's watch: sees that the follower replaced the snapshot, warms what is new, swaps what is live, says so.

In: the serving folder. Out: the shelf, this worker's receipts, and the releases that it refuses. A release is warmed in
a thread and verified again before that; until it is warm, and when it cannot be warmed, what was live stays live.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

from mlflow_project import answering
from mlflow_project.domain.receipt import Receipt
from mlflow_project.errors import InvalidData, NotFound, WorkspaceError
from mlflow_project.settings import ProviderSettings
from mlflow_project.snapshot.contact import Contact, read_contact
from mlflow_project.snapshot.content import Placed, RefusedRelease, Snapshot
from mlflow_project.snapshot.folder import ServingFolder, stamp
from mlflow_project.snapshot.verify import load_verified, verify
from mlflow_project.snapshot.workers import BEAT_SECONDS, WorkerReport, remove_report, write_report
from serving.shelf import Held, Identity, Live, Shelf, identity

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.02


class Worker:
    """One process of the server. `loaded` is true once it has read a snapshot, whatever stood in it."""

    def __init__(self, folder: ServingFolder, trusted: Path, providers: ProviderSettings) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self.shelf = Shelf()
        self.loaded = False
        self.refused: tuple[RefusedRelease, ...] = ()
        self.contact: Contact | None = None
        self.changed = asyncio.Event()
        self._folder = folder
        self._trusted = trusted
        self._providers = providers
        self._scratch = folder.scratch / self.name
        self._wanted = Snapshot()
        self._failed: dict[Identity, str] = {}
        self._warming: dict[Identity, asyncio.Task[None]] = {}
        self._seen = self._contacted = (0, 0)
        self._beaten = 0.0
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serve what is on disk, then watch."""
        self._folder.prepare()
        self._look()
        while self._warming:
            await asyncio.wait(self._warming.values())
        self._watch = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop watching, close the releases, take the report away."""
        for task in [self._watch, *self._warming.values()]:
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        await self.shelf.close()
        remove_report(self._folder.workers, self.name)
        shutil.rmtree(self._scratch, ignore_errors=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._look()
            if time.monotonic() - self._beaten >= BEAT_SECONDS:
                self._report()

    def _look(self) -> None:
        contacted, now = stamp(self._folder.contact_file), stamp(self._folder.snapshot_file)
        if contacted != self._contacted:
            self._contacted = contacted
            self.contact = read_contact(self._folder.contact_file) or self.contact
        if now == self._seen:
            return
        self._seen = now
        try:
            self._adopt(self._folder.read_snapshot() if self.loaded else load_verified(self._folder, self._trusted))
        except NotFound:
            return
        except InvalidData as error:
            logger.error("the snapshot is damaged; what was live stays live", extra={"error": str(error)})

    def _adopt(self, snapshot: Snapshot) -> None:
        self._wanted = snapshot
        wanted = {identity(placed): placed for placed in (*snapshot.live, *snapshot.warm)}
        self._failed = {key: why for key, why in self._failed.items() if key in wanted}
        for key, placed in wanted.items():
            if key not in self.shelf.held and key not in self._warming and key not in self._failed:
                self._warming[key] = asyncio.create_task(self._warm(key, placed))
        self.loaded = True
        self._settle()

    async def _warm(self, key: Identity, placed: Placed) -> None:
        try:
            warm = await asyncio.to_thread(self._warmed, placed)
            self.shelf.held[key] = Held(placed, warm)
        except (WorkspaceError, OSError) as error:
            logger.error("a release cannot be warmed", extra={"release": placed.release.label, "error": str(error)})
            self._failed[key] = str(error)
        finally:
            del self._warming[key]
        self._settle()

    def _warmed(self, placed: Placed) -> answering.WarmRelease:
        verify(placed, self._trusted)
        base = placed.manifest.knowledge_base
        return answering.warm(
            placed.release,
            index_folder=self._folder.index_folder(base.index) if base else None,
            scratch=self._scratch,
            providers=self._providers,
        )

    def _settle(self) -> None:
        """Swap to what is wanted and warm; what is wanted and not warm leaves its alias as it was."""
        live: dict[tuple[str, str], Live] = {}
        for placed in self._wanted.live:
            before = self.shelf.live.get(placed.key)
            held = self.shelf.held.get(identity(placed))
            if before is not None and (held is None or before.held is held):
                live[placed.key] = before
            elif held is not None:
                live[placed.key] = Live(placed, held, _now())
        self.shelf.live = live
        self.shelf.retire({identity(placed) for placed in (*self._wanted.live, *self._wanted.warm)})
        self.refused = (*self._wanted.refused, *self._own_refusals())
        self.changed.set()
        self.changed = asyncio.Event()
        self._report()

    def _own_refusals(self) -> tuple[RefusedRelease, ...]:
        return tuple(
            RefusedRelease(placed.manifest.kind, placed.name, placed.alias, placed.version, placed.digest, why)
            for placed in self._wanted.live
            if (why := self._failed.get(identity(placed))) is not None
        )

    def _report(self) -> None:
        self._beaten = time.monotonic()
        receipts = [_receipt(self.name, live.placed, "serving", live.since) for live in self.shelf.live.values()]
        warm = [placed for placed in self._wanted.warm if identity(placed) in self.shelf.held]
        receipts += [_receipt(self.name, placed, "warm", "") for placed in warm]
        report = WorkerReport(self.name, os.getpid(), self._beaten, tuple(receipts), self._own_refusals())
        try:
            write_report(self._folder.workers, report)
        except OSError as error:
            logger.error("the receipts cannot be written", extra={"error": str(error)})


def _receipt(worker: str, placed: Placed, state: str, since: str) -> Receipt:
    kind, name = placed.manifest.kind, placed.name
    return Receipt(worker, kind, name, placed.alias, placed.version, placed.digest, state, since)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
