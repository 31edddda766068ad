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
from mlflow_project.domain.rollout import Arm, Unit, arm_of
from mlflow_project.errors import NotFound, Unavailable
from mlflow_project.snapshot.content import Placed, Split
from serving.live.warm_model import WarmModel

logger = logging.getLogger(__name__)

PRODUCTION = "Production"
"""The alias whose requests a rollout divides."""
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


@dataclass(frozen=True)
class LiveSplit:
    """A rollout whose canary is ready on this worker."""

    split: Split
    canary: LiveRelease


@dataclass(frozen=True, slots=True)
class Resolved:
    """The release that answers a request, its arm, and the id of the rollout that divides the requests (None: none)."""

    live: LiveRelease
    arm: Arm = "production"
    rollout: int | None = None


UnitOf = Callable[[Unit], str]
"""Names the session, user, key or request that a request belongs to."""


class UsedRelease:
    """Keeps a release loaded until the block ends."""

    __slots__ = ("_let_go", "resolved")

    def __init__(self, resolved: Resolved, let_go: Callable[[LoadedRelease], None]) -> None:
        self.resolved = resolved
        self._let_go = let_go

    def __enter__(self) -> Resolved:
        self.resolved.live.held.users += 1
        return self.resolved

    def __exit__(self, *why: object) -> None:
        self.resolved.live.held.users -= 1
        self._let_go(self.resolved.live.held)


class Shelf:
    """All loaded releases. Only the worker's event loop uses it."""

    def __init__(self) -> None:
        self.live: Mapping[tuple[str, str], LiveRelease] = {}
        self.not_loaded: Mapping[tuple[str, str], str] = {}
        """Why the release that belongs under a name and alias could not be loaded here."""
        self.splits: Mapping[str, LiveSplit] = {}
        """By name: the rollouts that divide the requests for `Production`."""
        self.held: dict[Identity, LoadedRelease] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def resolve(self, name: str, alias: str, unit: UnitOf | None = None) -> Resolved:
        """The release that answers for this name and alias. With `unit`, a rollout may choose the canary instead.

        Raises:
            NotFound: this name and alias are not served.
            Unavailable: nothing is served yet, or the release could not be loaded on this host.
        """
        found = self.live.get((name, alias))
        if found is not None:
            divided = self.splits.get(name)
            if divided is None or unit is None or alias != PRODUCTION:
                return Resolved(found)
            split = divided.split
            arm = arm_of(split.salt, unit(split.unit), split.share)
            return Resolved(divided.canary if arm == "canary" else found, arm, split.rollout)
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
        return PRODUCTION if PRODUCTION in found else min(found)

    def using(self, name: str, alias: str, unit: UnitOf | None = None) -> UsedRelease:
        """Resolve, and keep the release loaded until the request has ended, also if the alias is flipped meanwhile."""
        return UsedRelease(self.resolve(name, alias, unit), self._close_if_done)

    def retire(self, wanted: set[Identity]) -> None:
        """Close every release that is neither live nor wanted, as soon as no request uses it."""
        keep = wanted | {identity(live.placed) for live in self.live.values()}
        for key in [key for key in self.held if key not in keep]:
            held = self.held.pop(key)
            held.retired = True
            self._close_if_done(held)

    async def close(self) -> None:
        """Close all releases, at the end of the worker."""
        self.live, self.splits = {}, {}
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
