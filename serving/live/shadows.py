"""The releases that this worker has loaded as shadows.

In: the snapshot's shadows, and a way to warm a release. Out: by name, the loaded shadow. A shadow is warmed in a thread
of its own and with connections of its own. One that cannot be warmed is logged and tried again; nothing waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

from mlflow_project.answering import WarmRelease
from mlflow_project.snapshot.content import PlacedShadow
from serving.live.shelf import LiveRelease, LoadedRelease
from serving.live.warm_model import WarmModel

logger = logging.getLogger(__name__)

RETRY_SECONDS = 60.0

Warm = Callable[[PlacedShadow], WarmRelease | WarmModel]


@dataclass(frozen=True)
class LoadedShadow:
    """A shadow that is ready to answer."""

    placed: PlacedShadow
    live: LiveRelease

    @classmethod
    def of(cls, placed: PlacedShadow, warm: WarmRelease | WarmModel) -> LoadedShadow:
        """A shadow with its warm release."""
        return cls(placed, LiveRelease(placed.release, LoadedRelease(placed.release, warm), ""))


class Shadows:
    """All shadows of a worker. Only the worker's event loop uses it."""

    def __init__(self, warm: Warm, changed: Callable[[], None] = lambda: None) -> None:
        """`changed` is called when a shadow has been loaded."""
        self.loaded: dict[str, LoadedShadow] = {}
        self._warm = warm
        self._changed = changed
        self._wanted: dict[str, PlacedShadow] = {}
        self._warming: dict[str, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._thread: Executor | None = None

    def adopt(self, wanted: Iterable[PlacedShadow]) -> None:
        """Begin to load what is new, and close what is no longer wanted. Requests that run on it fail."""
        self._wanted = {placed.name: placed for placed in wanted}
        for name in [name for name, each in self.loaded.items() if self._wanted.get(name) != each.placed]:
            self._close(self.loaded.pop(name).live.held.warm)
        for name in self._wanted.keys() - self.loaded.keys():
            self._begin(name)

    async def close(self) -> None:
        """Close every shadow. One that is being warmed is left behind."""
        self.adopt(())
        for task in self._warming.values():
            task.cancel()
        await asyncio.gather(*self._warming.values(), *self._closing, return_exceptions=True)
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _begin(self, name: str) -> None:
        if name in self._wanted and name not in self.loaded and name not in self._warming:
            self._warming[name] = asyncio.create_task(self._load(name, self._wanted[name]))

    async def _load(self, name: str, placed: PlacedShadow) -> None:
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="shadow")
        again = 0.0
        try:
            warm = await asyncio.get_running_loop().run_in_executor(self._thread, self._warm, placed)
        except Exception as error:
            label, again = placed.release.release.label, RETRY_SECONDS
            logger.error("a shadow cannot be warmed", extra={"release": label, "error": str(error)})
        else:
            if self._wanted.get(name) == placed:
                self.loaded[name] = LoadedShadow.of(placed, warm)
                self._changed()
            else:
                self._close(warm)
        del self._warming[name]
        asyncio.get_running_loop().call_later(again, self._begin, name)

    def _close(self, warm: WarmRelease | WarmModel) -> None:
        task = asyncio.create_task(warm.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
