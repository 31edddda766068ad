"""Makes releases ready to answer: verifies and loads each in a thread, and tries the ones that failed again later.

In: the releases that the snapshot wants. Out: each loaded release, and the reason of each failure. The pause before the
next try doubles each time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mlflow_project import answering
from mlflow_project.adapters.providers import Providers
from mlflow_project.answering import WarmRelease
from mlflow_project.domain.model import Loading
from mlflow_project.domain.refusal import Cause, cause_of
from mlflow_project.errors import WorkspaceError
from mlflow_project.models.trial import try_model
from mlflow_project.settings import ModelSettings
from mlflow_project.snapshot.content import Placed, RefusedRelease
from mlflow_project.snapshot.folder import ServingFolder
from mlflow_project.snapshot.verify import verify
from mlflow_project.telemetry.meters import Meters
from serving.live.shelf import Identity, LoadedRelease, identity
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


class Loader:
    """Verifies a release and loads it. `load` blocks, so it is called in a thread."""

    def __init__(
        self,
        folder: ServingFolder,
        trusted: Path,
        providers: Providers,
        meters: Meters | None,
        models: ModelSettings,
        scratch: Path,
    ) -> None:
        """
        Args:
            trusted: the folder of the public keys whose seals are believed.
            scratch: this worker's own folder for files that a loaded release needs.
        """
        self.models = models
        self._folder = folder
        self._trusted = trusted
        self._providers = providers
        self._meters = meters
        self._scratch = scratch
        self._harmless: set[str] = set()

    def load(self, placed: Placed, providers: Providers | None = None) -> WarmRelease | WarmModel:
        """A release that is ready to answer.

        Args:
            providers: what it asks; None means the providers that callers' requests go to.

        Raises:
            WorkspaceError: it is not what its seal says, or cannot be loaded within its limits.
        """
        stated = verify(placed, self._trusted, self._meters)
        if placed.manifest.kind == "model":
            return self._load_model(placed, stated.loading)
        base = placed.manifest.knowledge_base
        return answering.warm(
            placed.release,
            index_folder=self._folder.index_folder(base.index) if base else None,
            scratch=self._scratch,
            providers=providers or self._providers,
            words_if_endpoint_fails=True,
        )

    def _load_model(self, placed: Placed, loading: Loading) -> WarmModel:
        """Load a model, after another process has loaded the same files without harm. Tried once per digest."""
        folder, settings = self._folder.model_folder(placed.digest), self.models
        if settings.model_trial and placed.digest not in self._harmless:
            limit = settings.max_model_mb * 1_000_000
            try_model(folder, placed.manifest, loading, limit, settings.model_warm_seconds)
            self._harmless.add(placed.digest)
        return warm_model(placed.release, folder, loading, settings)


class Warming:
    """The releases that are being loaded, and those whose last try failed.

    All methods run on the event loop. `changed` is called after each release that was loaded or failed.
    """

    def __init__(
        self,
        loader: Loader,
        held: dict[Identity, LoadedRelease],
        changed: Callable[[], None],
        first_retry: float = FIRST_RETRY_SECONDS,
    ) -> None:
        """
        Args:
            held: where loaded releases are put.
            first_retry: seconds until a release that failed is tried again for the first time.
        """
        self._loader = loader
        self._held = held
        self._changed = changed
        self._first_retry = first_retry
        self._failed: dict[Identity, Failure] = {}
        self._tasks: dict[Identity, asyncio.Task[WarmRelease | WarmModel]] = {}

    def warm(self, placed: Iterable[Placed]) -> None:
        """Begin to load the wanted releases that are neither loaded nor being loaded. One that failed waits for its
        pause. Failures of releases that are no longer wanted are forgotten.
        """
        wanted = {identity(each): each for each in placed}
        self._failed = {key: failure for key, failure in self._failed.items() if key in wanted}
        now = time.monotonic()
        for key, each in wanted.items():
            due = key not in self._failed or self._failed[key].again_at <= now
            if due and key not in self._held and key not in self._tasks:
                self._begin(key, each)

    @property
    def has_failures(self) -> bool:
        """Whether a release waits to be tried again."""
        return bool(self._failed)

    def refusals(self, placed: Iterable[Placed]) -> tuple[RefusedRelease, ...]:
        """Those of the releases whose last try failed, each with its reason."""
        return tuple(
            RefusedRelease(
                each.manifest.kind, each.name, each.alias, each.version, each.digest, failure.why, failure.cause
            )
            for each in placed
            if (failure := self._failed.get(identity(each))) is not None
        )

    async def first_tries(self, pause: float) -> None:
        """Wait until each release that is being loaded is loaded or has failed; look every `pause` seconds."""
        while waiting := [task for key, task in self._tasks.items() if key not in self._failed]:
            await asyncio.wait(waiting, timeout=pause)

    async def stop(self) -> None:
        """Give up what is being loaded."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, key: Identity, placed: Placed) -> None:
        task = asyncio.create_task(asyncio.to_thread(self._loader.load, placed))
        self._tasks[key] = task
        task.add_done_callback(partial(self._ended, key, placed))
        if placed.manifest.kind == "model":
            limit = self._loader.models.model_warm_seconds
            asyncio.get_running_loop().call_later(limit, self._refuse_late, key, placed, task)

    def _refuse_late(self, key: Identity, placed: Placed, task: asyncio.Task[WarmRelease | WarmModel]) -> None:
        """Refuse a model whose loading does not end. Its thread cannot be stopped, so it is not tried again before."""
        if self._tasks.get(key) is task and not task.done():
            limit = self._loader.models.model_warm_seconds
            self._fail(key, f"{placed.release.label} is still not loaded after {limit:g} s.", "not_warmed")
            self._changed()

    def _ended(self, key: Identity, placed: Placed, task: asyncio.Task[WarmRelease | WarmModel]) -> None:
        """Take a loaded release. After any error, also one from a library, the release is refused for now."""
        del self._tasks[key]
        if task.cancelled():
            return
        if (error := task.exception()) is None:
            self._held[key] = LoadedRelease(placed, task.result())
            self._failed.pop(key, None)
        else:
            logger.error("a release cannot be warmed", extra={"release": placed.release.label, "error": str(error)})
            why = str(error) if isinstance(error, WorkspaceError | OSError) else f"Warming it failed: {error!r}."
            self._fail(key, why, cause_of(error, "not_warmed"))
        self._changed()

    def _fail(self, key: Identity, why: str, cause: Cause) -> None:
        self._failed[key] = Failure.after(self._failed.get(key), why, cause, self._first_retry)
