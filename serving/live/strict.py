"""Strict resolving: reads a request's alias from MLflow before the request is answered.

In: name and alias. Out: whether the worker now serves the version that MLflow names; if not, the last known good
release answers. A request waits for a read that began after the request arrived; all requests that wait share one read.
Only `SWITCHYARD_RESOLVE=strict` uses this; otherwise no request waits for MLflow.
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
"""Wake the follower again after this time: it may have read the alias just before it moved."""
UNANSWERED: tuple[type[Exception], ...] = (*FAILURES, ValueError, KeyError, TypeError)
"""What a read raises if MLflow does not answer, or if its answer cannot be understood."""
_IDLE_SECONDS = 3.0  # less than the 5 s of MLflow's server, so that this side closes first
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
        """Wait until this worker serves, or has refused, the version that MLflow names.

        Returns False if MLflow or the follower took too long.
        """
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
        """The result of the first read that begins from now on."""
        answer: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(answer)
        if key not in self._readers:  # also after a reader was cancelled while requests waited
            self._readers[key] = asyncio.create_task(self._read_while_asked(key))
        return await answer

    async def _read_while_asked(self, key: Key) -> None:
        """Read while requests wait for this alias, once for all that wait."""
        try:
            while waiting := self._waiting.pop(key, None):
                version, error = None, None
                try:
                    version = await self._ask(key)
                except UNANSWERED as why:
                    error = why
                self._log_change(error)
                for answer in waiting:
                    if answer.done():  # the request no longer waits
                        continue
                    if error is None:
                        answer.set_result(version)
                    else:
                        answer.set_exception(error)
        finally:
            del self._readers[key]

    def _log_change(self, error: Exception | None) -> None:
        """Log the first failure, and the first success after it."""
        if (error is not None) != self._failing:
            self._failing = error is not None
            why = {"error": f"{type(error).__name__}: {error}"} if error is not None else {}
            message = "strict reads are not answered" if error is not None else "strict reads are answered again"
            logger.warning(message, extra=why)

    async def _ask(self, key: Key) -> int | None:
        """The version that the alias names in MLflow; None: MLflow has no such alias."""
        async with asyncio.timeout(self._timeout):
            response = await self._client.get(self._url, params={"name": key[0], "alias": key[1]})
        if response.status_code in {400, 404}:
            return None
        if not response.is_success:
            raise ValueError(f"The registry answered with {response.status_code}.")
        return int(orjson.loads(response.content)["model_version"]["version"])
