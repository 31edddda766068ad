"""Follows the snapshot: has new releases warmed, swaps what is live, and writes receipts.

In: the serving folder. Out: the shelf, this worker's receipts, and the releases that it refuses. Until a release is
warm, and if it cannot be warmed (`serving/live/warming.py`), the release before it stays live. The follower wakes the
worker after each change; otherwise the worker looks when its heartbeat is due.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mlflow_project.adapters.providers import Providers
from mlflow_project.domain.receipt import Receipt
from mlflow_project.domain.rollout import CANARY
from mlflow_project.domain.times import utc_now
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.settings import ModelSettings
from mlflow_project.snapshot.contact import Contact, read_contact
from mlflow_project.snapshot.content import Placed, RefusedRelease, Snapshot
from mlflow_project.snapshot.folder import MISSING, ServingFolder, stamp
from mlflow_project.snapshot.verify import load_verified
from mlflow_project.snapshot.wake import WakePipe, wake
from mlflow_project.snapshot.workers import BEAT_SECONDS, WorkerReport, remove_report, write_report
from mlflow_project.telemetry.meters import Meters
from serving.live.shadows import Shadows
from serving.live.shelf import PRODUCTION, LiveRelease, LiveSplit, Shelf, identity
from serving.live.warming import FIRST_RETRY_SECONDS, Loader, Warming

logger = logging.getLogger(__name__)


class Worker:
    """One process of the server. `loaded` is true when it has read a snapshot, even an empty one."""

    def __init__(
        self,
        folder: ServingFolder,
        trusted: Path,
        providers: Providers,
        meters: Meters | None = None,
        first_retry: float = FIRST_RETRY_SECONDS,
        models: ModelSettings | None = None,
        shadow_providers: Providers | None = None,
    ) -> None:
        """
        Args:
            shadow_providers: what shadows ask, so that their failures and connections are not those of callers.
        """
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self.shelf = Shelf()
        self.loaded = False
        self.refused: tuple[RefusedRelease, ...] = ()
        self.contact: Contact | None = None
        self.changed = asyncio.Event()
        self._folder = folder
        self._trusted = trusted
        self._meters = meters
        self._scratch = folder.scratch / self.name
        self._wanted = Snapshot()
        loader = Loader(folder, trusted, providers, meters, models or ModelSettings(), self._scratch)
        self._warming = Warming(loader, self.shelf.held, self._settle, first_retry)
        self._seen = self._contacted = MISSING
        self._beaten = 0.0
        self._watch: asyncio.Task[None] | None = None
        self._pipe: WakePipe | None = None
        self._woken = asyncio.Event()
        self._reported: object = None
        self.shadows = Shadows(lambda shadow: loader.load(shadow.release, shadow_providers), self._report)

    def stale_seconds(self) -> float:
        """Seconds since the registry answered this host's follower, or, if that is not known, since the snapshot was
        written.
        """
        if self.contact is not None:
            return self.contact.age_ms() / 1000
        return max(0.0, time.time() - self._seen[1] / 1e9)

    async def start(self) -> None:
        """Serve the snapshot that is on disk, then follow it."""
        try:
            self._folder.prepare()
        except OSError as error:
            logger.error("the serving folder cannot be written", extra={"error": str(error)})
        self._pipe = WakePipe(self._folder.pipe_of(self.name))
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._called, self._pipe)
        self._look()
        await self._warming.first_tries(pause=BEAT_SECONDS)
        self._watch = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop following, close the releases, and delete this worker's report."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self._warming.stop()
        await self.shadows.close()
        await self.shelf.close()
        if self._pipe is not None:
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            self._pipe.close(remove=True)
        remove_report(self._folder.workers, self.name)
        shutil.rmtree(self._scratch, ignore_errors=True)

    async def _run(self) -> None:
        while True:
            await self._rest()
            try:
                self._look()
                if self._warming.has_failures:
                    self._warm_wanted()
                if time.monotonic() - self._beaten >= BEAT_SECONDS:
                    self._report()
            except Exception:
                logger.exception("this worker cannot read the snapshot; what is live stays live")
                await asyncio.sleep(BEAT_SECONDS)

    async def _rest(self) -> None:
        """Sleep until the follower wakes this worker or the heartbeat is due."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self._beaten + BEAT_SECONDS - time.monotonic())):
                await self._woken.wait()
        self._woken.clear()

    def _called(self, pipe: WakePipe) -> None:
        pipe.clear()  # at once, or the event loop would call this again and again until `_rest` runs
        self._woken.set()

    def _look(self) -> None:
        contacted, now = stamp(self._folder.contact_file), stamp(self._folder.snapshot_file)
        if contacted != self._contacted:
            self._contacted = contacted
            self.contact = read_contact(self._folder.contact_file) or self.contact
        if now == self._seen and (self.loaded or now != MISSING):
            return
        self._seen = now
        try:
            self._adopt(
                self._folder.read_snapshot()
                if self.loaded
                else load_verified(self._folder, self._trusted, self._meters)
            )
        except NotFound:
            return
        except InvalidData as error:
            logger.error("the snapshot is damaged; what was live stays live", extra={"error": str(error)})

    def _adopt(self, snapshot: Snapshot) -> None:
        """Make a snapshot the wanted state. An alias that is missing from it keeps its release."""
        self._wanted = snapshot.with_lost(self._wanted)
        self._warm_wanted()
        self.shadows.adopt(self._wanted.shadows)
        self.loaded = True
        self._settle()

    def _warm_wanted(self) -> None:
        self._warming.warm((*self._wanted.live, *self._wanted.warm))

    def _settle(self) -> None:
        """Make the wanted releases live that are warm. An alias whose release is not warm keeps the one before."""
        live: dict[tuple[str, str], LiveRelease] = {}
        for placed in self._wanted.live:
            before = self.shelf.live.get(placed.key)
            held = self.shelf.held.get(identity(placed))
            if before is not None and (held is None or before.held is held):
                live[placed.key] = before
            elif held is not None:
                checked = replace(held.placed, alias=placed.alias, since=placed.since)
                live[placed.key] = LiveRelease(checked, held, utc_now())
        self.shelf.live, self.shelf.splits = live, self._splits(live)
        refusals = self._warming.refusals(self._wanted.live)
        self.shelf.not_loaded = {(no.name, no.alias): no.reason for no in refusals if no.cause == "not_warmed"}
        self.shelf.retire({identity(placed) for placed in (*self._wanted.live, *self._wanted.warm)})
        self.refused = (*self._wanted.refused, *refusals)
        self.changed.set()
        self.changed = asyncio.Event()
        self._report()

    def _splits(self, live: Mapping[tuple[str, str], LiveRelease]) -> dict[str, LiveSplit]:
        """The rollouts whose canary is ready here, and whose baseline is live in Production."""
        found = {}
        for split in self._wanted.splits:
            canary, production = live.get((split.name, CANARY)), live.get((split.name, PRODUCTION))
            if canary is None or production is None or production.placed.digest != split.baseline_digest:
                continue
            if (canary.placed.version, canary.placed.digest) == (split.version, split.digest):
                found[split.name] = LiveSplit(split, canary)
        return found

    def _report(self) -> None:
        self._beaten = time.monotonic()
        receipts = [
            _receipt(self.name, live.placed, "serving", live.since, self._share(live.placed))
            for live in self.shelf.live.values()
        ]
        warm = [placed for placed in self._wanted.warm if identity(placed) in self.shelf.held]
        warm += [shadow.placed.release for shadow in self.shadows.loaded.values()]
        receipts += [_receipt(self.name, placed, "warm", "") for placed in warm]
        report = WorkerReport(
            self.name, os.getpid(), self._beaten, tuple(receipts), self._warming.refusals(self._wanted.live)
        )
        try:
            write_report(self._folder.workers, report)
        except OSError as error:
            logger.error("the receipts cannot be written", extra={"error": str(error)})
            return
        if self._reported != receipts:
            self._reported = receipts
            wake(self._folder.receipts_pipe)

    def _share(self, placed: Placed) -> float | None:
        """The share of the units that a canary answers here; None for any other release."""
        divided = self.shelf.splits.get(placed.name) if placed.alias == CANARY else None
        return divided.split.share if divided is not None else None


def _receipt(worker: str, placed: Placed, state: str, since: str, share: float | None = None) -> Receipt:
    kind, name = placed.manifest.kind, placed.name
    return Receipt(worker, kind, name, placed.alias, placed.version, placed.digest, state, since, share)
