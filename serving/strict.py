"""Strict resolving: a request waits for a read of its alias that began after it arrived; all that wait share one read.

In: name and alias. Out: whether the worker now serves what the registry says, or why it is the last known good that
answers. Only `SWITCHYARD_RESOLVE=strict` uses this; otherwise no request waits for the registry.
"""

from __future__ import annotations

import asyncio
import logging

import aiohttp

from mlflow_project.settings import RegistrySettings
from mlflow_project.snapshot.folder import ServingFolder
from serving.worker import Worker

logger = logging.getLogger(__name__)

READ_SECONDS = 0.1
FOLLOW_SECONDS = 1.0
UNANSWERED = (OSError, aiohttp.ClientError, ValueError, KeyError, TypeError)
"""What asking raises when the registry gives no answer, or none that can be read."""
_ALIAS_PATH = "/api/2.0/mlflow/registered-models/alias"

Key = tuple[str, str]


class StrictResolver:
    """Asks the registry where an alias points, and waits until the worker has followed."""

    def __init__(self, settings: RegistrySettings, worker: Worker, folder: ServingFolder) -> None:
        self._url = settings.mlflow_uri.rstrip("/") + _ALIAS_PATH
        self._timeout = aiohttp.ClientTimeout(total=settings.registry_timeout)
        self._http: aiohttp.ClientSession | None = None
        self._worker = worker
        self._folder = folder
        self._asked: dict[Key, asyncio.Future[int | None]] = {}
        self._readers: dict[Key, asyncio.Task[None]] = {}

    async def settle(self, name: str, alias: str) -> bool:
        """True when the registry answered in time and this worker serves, or refuses, what it says."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                version = await self._read((name, alias))
        except UNANSWERED:
            return False
        return version is None or await self._followed(name, alias, version)

    async def close(self) -> None:
        """Close the connection."""
        if self._http is not None:
            await self._http.close()

    async def _followed(self, name: str, alias: str, version: int) -> bool:
        try:
            async with asyncio.timeout(FOLLOW_SECONDS):
                while not self._serves_or_refuses(name, alias, version):
                    self._folder.wake_follower()
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
        answer = self._asked.get(key)
        if answer is None:
            answer = self._asked[key] = asyncio.get_running_loop().create_future()
        if key not in self._readers:  # also where a reader was lost with a question open
            self._readers[key] = asyncio.create_task(self._read_while_asked(key))
        return await asyncio.shield(answer)

    async def _read_while_asked(self, key: Key) -> None:
        """One read after another; each begins before those that waited for the last one go on with their requests."""
        try:
            while (answer := self._asked.pop(key, None)) is not None:
                try:
                    answer.set_result(await self._ask(key))
                except UNANSWERED as error:
                    answer.set_exception(error)
        finally:
            del self._readers[key]

    async def _ask(self, key: Key) -> int | None:
        """The version that the alias points at; None when the registry answers that there is none."""
        if self._http is None:
            self._http = aiohttp.ClientSession(
                timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=True
            )
        async with self._http.get(self._url, params={"name": key[0], "alias": key[1]}) as response:
            if response.status in {400, 404}:
                return None
            response.raise_for_status()
            return int((await response.json())["model_version"]["version"])
