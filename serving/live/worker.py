"""Follows the snapshot: warms new releases, swaps what is live, and writes receipts.

In: the serving folder. Out: the shelf, this worker's receipts, and the releases that it refuses. A release is verified
and warmed in a thread. Until it is warm, and if it cannot be warmed, the release before it stays live. The follower
wakes the worker after each change; otherwise the worker looks when its heartbeat is due.
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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from mlflow_project import answering
from mlflow_project.adapters.providers import Providers
from mlflow_project.answering import WarmRelease
from mlflow_project.domain.model import Loading
from mlflow_project.domain.receipt import Receipt
from mlflow_project.domain.refusal import Cause, cause_of
from mlflow_project.domain.rollout import CANARY
from mlflow_project.domain.times import utc_now
from mlflow_project.errors import InvalidData, NotFound, WorkspaceError
from mlflow_project.models.trial import try_model
from mlflow_project.settings import ModelSettings
from mlflow_project.snapshot.contact import Contact, read_contact
from mlflow_project.snapshot.content import Placed, RefusedRelease, Snapshot
from mlflow_project.snapshot.folder import MISSING, ServingFolder, stamp
from mlflow_project.snapshot.verify import load_verified, verify
from mlflow_project.snapshot.wake import WakePipe, wake
from mlflow_project.snapshot.workers import BEAT_SECONDS, WorkerReport, remove_report, write_report
from mlflow_project.telemetry.meters import Meters
from serving.live.shadows import Shadows
from serving.live.shelf import PRODUCTION, Identity, LiveRelease, LiveSplit, LoadedRelease, Shelf, identity
from serving.live.warm_model import WarmModel, warm_model

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 2.0
LONGEST_RETRY_SECONDS = 60.0


@dataclass(frozen=True)
class Failure:
    """Why a release could not be warmed, how often it was tried, and when it is tried again (`time.monotonic`)."""

    why: str
    cause: Cause
    tries: int
    again_at: float

    @classmethod
    def after(cls, before: Failure | None, why: str, cause: Cause, first_pause: float) -> Failure:
        """The next failure: each pause is twice the one before."""
        tries = before.tries + 1 if before is not None else 1
        pause = min(LONGEST_RETRY_SECONDS, first_pause * 2 ** (tries - 1))
        return cls(why, cause, tries, time.monotonic() + pause)


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
        self._providers = providers
        self._meters = meters
        self._first_retry = first_retry
        self._models = models or ModelSettings()
        self._scratch = folder.scratch / self.name
        self._wanted = Snapshot()
        self._failed: dict[Identity, Failure] = {}
        self._warming: dict[Identity, asyncio.Task[WarmRelease | WarmModel]] = {}
        self._harmless: set[str] = set()
        self._seen = self._contacted = MISSING
        self._beaten = 0.0
        self._watch: asyncio.Task[None] | None = None
        self._pipe: WakePipe | None = None
        self._woken = asyncio.Event()
        self._reported: object = None
        self.shadows = Shadows(lambda shadow: self._warmed(shadow.release, shadow_providers), self._report)

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
        while waiting := [task for key, task in self._warming.items() if key not in self._failed]:
            await asyncio.wait(waiting, timeout=BEAT_SECONDS)
        self._watch = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop following, close the releases, and delete this worker's report."""
        running = [task for task in (self._watch, *self._warming.values()) if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
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
                if self._failed:
                    self._warm_missing()
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
        self._warm_missing()
        self.shadows.adopt(self._wanted.shadows)
        self.loaded = True
        self._settle()

    def _warm_missing(self) -> None:
        """Begin to warm the wanted releases that are neither warm nor being warmed. One that failed waits for its
        pause.
        """
        wanted = {identity(placed): placed for placed in (*self._wanted.live, *self._wanted.warm)}
        self._failed = {key: failure for key, failure in self._failed.items() if key in wanted}
        now = time.monotonic()
        for key, placed in wanted.items():
            due = key not in self._failed or self._failed[key].again_at <= now
            if due and key not in self.shelf.held and key not in self._warming:
                self._warm(key, placed)

    def _warm(self, key: Identity, placed: Placed) -> None:
        task = asyncio.create_task(asyncio.to_thread(self._warmed, placed))
        self._warming[key] = task
        task.add_done_callback(partial(self._tried, key, placed))
        if placed.manifest.kind == "model":
            limit = self._models.model_warm_seconds
            asyncio.get_running_loop().call_later(limit, self._refuse_late, key, placed, task)

    def _refuse_late(self, key: Identity, placed: Placed, task: asyncio.Task[WarmRelease | WarmModel]) -> None:
        """Refuse a model whose loading does not end. Its thread cannot be stopped, so it is not tried again before."""
        if self._warming.get(key) is task and not task.done():
            why = f"{placed.release.label} is still not loaded after {self._models.model_warm_seconds:g} s."
            self._failed[key] = Failure.after(self._failed.get(key), why, "not_warmed", self._first_retry)
            self._settle()

    def _tried(self, key: Identity, placed: Placed, task: asyncio.Task[WarmRelease | WarmModel]) -> None:
        """Take a warmed release. After any error, also one from a library, the release is refused for now."""
        del self._warming[key]
        if task.cancelled():
            return
        if (error := task.exception()) is None:
            self.shelf.held[key] = LoadedRelease(placed, task.result())
            self._failed.pop(key, None)
        else:
            logger.error("a release cannot be warmed", extra={"release": placed.release.label, "error": str(error)})
            why = str(error) if isinstance(error, WorkspaceError | OSError) else f"Warming it failed: {error!r}."
            cause = cause_of(error, "not_warmed")
            self._failed[key] = Failure.after(self._failed.get(key), why, cause, self._first_retry)
        self._settle()

    def _warmed(self, placed: Placed, providers: Providers | None = None) -> WarmRelease | WarmModel:
        stated = verify(placed, self._trusted, self._meters)
        if placed.manifest.kind == "model":
            return self._warmed_model(placed, stated.loading)
        base = placed.manifest.knowledge_base
        return answering.warm(
            placed.release,
            index_folder=self._folder.index_folder(base.index) if base else None,
            scratch=self._scratch,
            providers=providers or self._providers,
            words_if_endpoint_fails=True,
        )

    def _warmed_model(self, placed: Placed, loading: Loading) -> WarmModel:
        """Load a model, after another process has loaded the same files without harm. Tried once per digest."""
        folder, settings = self._folder.model_folder(placed.digest), self._models
        if settings.model_trial and placed.digest not in self._harmless:
            limit = settings.max_model_mb * 1_000_000
            try_model(folder, placed.manifest, loading, limit, settings.model_warm_seconds)
            self._harmless.add(placed.digest)
        return warm_model(placed.release, folder, loading, settings)

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
        refusals = self._own_refusals()
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

    def _own_refusals(self) -> tuple[RefusedRelease, ...]:
        return tuple(
            RefusedRelease(
                placed.manifest.kind,
                placed.name,
                placed.alias,
                placed.version,
                placed.digest,
                failure.why,
                failure.cause,
            )
            for placed in self._wanted.live
            if (failure := self._failed.get(identity(placed))) is not None
        )

    def _report(self) -> None:
        self._beaten = time.monotonic()
        receipts = [
            _receipt(self.name, live.placed, "serving", live.since, self._share(live.placed))
            for live in self.shelf.live.values()
        ]
        warm = [placed for placed in self._wanted.warm if identity(placed) in self.shelf.held]
        warm += [shadow.placed.release for shadow in self.shadows.loaded.values()]
        receipts += [_receipt(self.name, placed, "warm", "") for placed in warm]
        report = WorkerReport(self.name, os.getpid(), self._beaten, tuple(receipts), self._own_refusals())
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
