"""Several providers as one: the next is asked when the one before cannot answer, as long as nothing was received."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from mlflow_project.adapters.providers.protocol import Delta, Provider, ProviderRequest
from mlflow_project.domain.answer import Completion
from mlflow_project.errors import ProviderError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fallback:
    """The chain that a release pins, in its order. The last one's error is the chain's."""

    chain: tuple[Provider, ...]

    async def complete(self, request: ProviderRequest) -> Completion:
        """The first answer that is had."""
        for place, provider in enumerate(self.chain[:-1]):
            try:
                return await provider.complete(request)
            except ProviderError as error:
                _log(place, error)
        return await self.chain[-1].complete(request)

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Delta]:
        """The first stream that begins; one that breaks off later is an error, since text is out already."""
        for place, provider in enumerate(self.chain):
            begun = False
            try:
                async with aclosing(provider.stream(request)) as deltas:
                    async for delta in deltas:
                        begun = True
                        yield delta
                return
            except ProviderError as error:
                if begun or place == len(self.chain) - 1:
                    raise
                _log(place, error)


def _log(place: int, error: ProviderError) -> None:
    logger.warning("a provider failed; the next one is asked", extra={"place": place, "kind": error.kind})
