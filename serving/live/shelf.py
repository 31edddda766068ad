"""The releases that this worker has loaded, and which of them are live under which alias.

A flip replaces the whole mapping by one assignment, so a request sees all of a flip or nothing of it. A release that is
no longer wanted is closed when the last request that uses it has ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mlflow_project.answering import WarmRelease
from mlflow_project.errors import NotFound, Unavailable
from mlflow_project.snapshot.content import Placed
from serving.live.warm_model import WarmModel

logger = logging.getLogger(__name__)

Identity = tuple[str, int, str]
"""Name, version and digest. A release under two aliases is loaded once."""


def identity(placed: Placed) -> Identity:
    """The key of a loaded release."""
    return placed.name, placed.version, placed.digest


@dataclass
class LoadedRelease:
    """A release that is ready to answer, and the number of requests that use it. `retired`: close it after the last."""

    placed: Placed
    warm: WarmRelease | WarmModel
    users: int = 0
    retired: bool = False


@dataclass(frozen=True)
class LiveRelease:
    """A release under its alias; `since` is when this worker began to serve it, UTC in ISO 8601."""

    placed: Placed
    held: LoadedRelease = field(repr=False)
    since: str

    @property
    def prompt(self) -> WarmRelease:
        """The release of a prompt, ready to answer.

        Raises:
            NotFound: it is a model.
        """
        if isinstance(self.held.warm, WarmModel):
            raise NotFound(f"{self.placed.name} is a model: ask it at POST /models/{self.placed.name}/invocations.")
        return self.held.warm

    @property
    def model(self) -> WarmModel:
        """The release of a model, ready to predict.

        Raises:
            NotFound: it is a prompt.
        """
        if not isinstance(self.held.warm, WarmModel):
            raise NotFound(f"{self.placed.name} is a prompt: ask it at POST /prompts/{self.placed.name}/invocations.")
        return self.held.warm


class UsedRelease:
    """Keeps a release loaded until the block ends."""

    __slots__ = ("_let_go", "live")

    def __init__(self, live: LiveRelease, let_go: Callable[[LoadedRelease], None]) -> None:
        self.live = live
        self._let_go = let_go

    def __enter__(self) -> LiveRelease:
        self.live.held.users += 1
        return self.live

    def __exit__(self, *why: object) -> None:
        self.live.held.users -= 1
        self._let_go(self.live.held)


class Shelf:
    """All loaded releases. Only the worker's event loop uses it."""

    def __init__(self) -> None:
        self.live: Mapping[tuple[str, str], LiveRelease] = {}
        self.not_loaded: Mapping[tuple[str, str], str] = {}
        """Why the release that belongs under a name and alias could not be loaded here."""
        self.held: dict[Identity, LoadedRelease] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def resolve(self, name: str, alias: str) -> list[tuple[float, LiveRelease]]:
        """The releases that answer for this name and alias, with their weights. At present one, with weight 1.0.

        Raises:
            NotFound: this name and alias are not served.
            Unavailable: nothing is served yet, or the release could not be loaded on this host.
        """
        found = self.live.get((name, alias))
        if found is not None:
            return [(1.0, found)]
        if why := self.not_loaded.get((name, alias)):
            raise Unavailable(f"The release of {name!r} under {alias!r} could not be loaded on this host: {why}")
        if not self.live:
            raise Unavailable(
                f"Nothing is served yet, so nobody answers for {name}@{alias}. Seal a version, then flip the alias: "
                f"`switchyard gate {name} --version 1`, then `switchyard promote {name} --version 1 --to {alias}`."
            )
        raise NotFound(f"No release of {name!r} is live under {alias!r}. `GET /releases` lists what is.")

    def alias_of(self, name: str, version: int) -> str:
        """An alias under which this version is live; Production before others.

        Raises:
            NotFound: this version is live under none.
        """
        found = [alias for (live, alias), at in self.live.items() if live == name and at.placed.version == version]
        if not found:
            raise NotFound(f"{name}/{version} is live under no alias. `GET /releases` lists what is.")
        return "Production" if "Production" in found else min(found)

    def using(self, name: str, alias: str) -> UsedRelease:
        """Resolve, and keep the release loaded until the request has ended, also if the alias is flipped meanwhile."""
        _, live = self.resolve(name, alias)[0]
        return UsedRelease(live, self._close_if_done)

    def retire(self, wanted: set[Identity]) -> None:
        """Close every release that is neither live nor wanted, as soon as no request uses it."""
        keep = wanted | {identity(live.placed) for live in self.live.values()}
        for key in [key for key in self.held if key not in keep]:
            held = self.held.pop(key)
            held.retired = True
            self._close_if_done(held)

    async def close(self) -> None:
        """Close all releases, at the end of the worker."""
        self.live = {}
        self.retire(set())
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    def _close_if_done(self, held: LoadedRelease) -> None:
        if held.retired and held.users == 0:
            task = asyncio.create_task(held.warm.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.warning("a release could not be closed", extra={"error": repr(task.exception())})
