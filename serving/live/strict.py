"""Strict resolving: a request waits for a read of its alias that began after it arrived; all that wait share one read.

In: name and alias. Out: whether the worker now serves what the registry says, or why it is the last known good that
answers. Only `SWITCHYARD_RESOLVE=strict` uses this; otherwise no request waits for the registry.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

import orjson

from mlflow_project.adapters.http_client import FAILURES, open_client
from mlflow_project.settings import RegistrySettings
from mlflow_project.snapshot.folder import ServingFolder
from serving.live.worker import Worker

logger = logging.getLogger(__name__)

READ_SECONDS = 0.1
FOLLOW_SECONDS = 1.0
AGAIN_SECONDS = 0.1
"""The follower is called again after this: a look that was under way may have asked before the alias moved."""
UNANSWERED: tuple[type[Exception], ...] = (*FAILURES, ValueError, KeyError, TypeError)
"""What asking raises when the registry gives no answer, or none that can be read."""
_IDLE_SECONDS = 3.0  # below the 5 s of MLflow's server, which would else close first
_MOST_CONNECTIONS = 100
_ALIAS_PATH = "/api/2.0/mlflow/registered-models/alias"

Key = tuple[str, str]


class StrictResolver:
    """Asks the registry where an alias points, and waits until the worker has followed."""

    def __init__(self, settings: RegistrySettings, worker: Worker, folder: ServingFolder) -> None:
        self._url = settings.mlflow_uri.rstrip("/") + _ALIAS_PATH
        self._timeout = settings.registry_timeout
        self._worker = worker
        self._folder = folder
        self._failing = False
        self._client = open_client(connections=_MOST_CONNECTIONS, idle_seconds=_IDLE_SECONDS)
        self._waiting: dict[Key, list[asyncio.Future[int | None]]] = {}
        self._readers: dict[Key, asyncio.Task[None]] = {}

    async def settle(self, name: str, alias: str) -> bool:
        """True when the registry answered in time and this worker serves, or refuses, what it says."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                version = await self._read((name, alias))
        except UNANSWERED:
            return False
        if version is None or self._serves_or_refuses(name, alias, version):
            return True
        return await self._followed(name, alias, version)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _followed(self, name: str, alias: str, version: int) -> bool:
        try:
            async with asyncio.timeout(FOLLOW_SECONDS):
                while not self._serves_or_refuses(name, alias, version):
                    self._folder.wake_follower()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(AGAIN_SECONDS):
                            await self._worker.changed.wait()
        except TimeoutError:
            return False
        return True

    def _serves_or_refuses(self, name: str, alias: str, version: int) -> bool:
        live = self._worker.shelf.live.get((name, alias))
        if live is not None and live.placed.version == version:
            return True
        return any((no.name, no.alias, no.version) == (name, alias, version) for no in self._worker.refused)

    async def _read(self, key: Key) -> int | None:
        """The first read that begins from now on; whoever comes before it begins shares it."""
        answer: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(answer)
        if key not in self._readers:  # also where a reader was lost with a question open
            self._readers[key] = asyncio.create_task(self._read_while_asked(key))
        return await answer

    async def _read_while_asked(self, key: Key) -> None:
        """One read after another; each begins before those that waited for the last one go on with their requests."""
        try:
            while waiting := self._waiting.pop(key, None):
                version, error = None, None
                try:
                    version = await self._ask(key)
                except UNANSWERED as why:
                    error = why
                self._tell(error)
                for answer in waiting:
                    if answer.done():  # its caller waits no longer
                        continue
                    if error is None:
                        answer.set_result(version)
                    else:
                        answer.set_exception(error)
        finally:
            del self._readers[key]

    def _tell(self, error: Exception | None) -> None:
        """Once when reads begin to fail, once when they are answered again."""
        if (error is not None) != self._failing:
            self._failing = error is not None
            why = {"error": f"{type(error).__name__}: {error}"} if error is not None else {}
            said = "strict reads are not answered" if error is not None else "strict reads are answered again"
            logger.warning(said, extra=why)

    async def _ask(self, key: Key) -> int | None:
        """The version that the alias points at; None when the registry answers that there is none."""
        async with asyncio.timeout(self._timeout):
            response = await self._client.get(self._url, params={"name": key[0], "alias": key[1]})
        if response.status_code in {400, 404}:
            return None
        if not response.is_success:
            raise ValueError(f"The registry answered with {response.status_code}.")
        return int(orjson.loads(response.content)["model_version"]["version"])
