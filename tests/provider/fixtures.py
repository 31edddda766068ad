"""`provider_server`: the simulated provider in a thread of the test's process, with its script at hand.

Import it into the conftest of the tests that use it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.provider.behaviour import Behaviour
from tests.provider.server import ProviderServer, Received, Script

GEMINI_MODEL = "gemini-2.0-flash"


@dataclass
class Simulated:
    """A running provider."""

    port: int
    script: Script

    @property
    def gemini_url(self) -> str:
        """For `LLM_API_URL`, where the prompt's provider is `gemini`."""
        return f"http://127.0.0.1:{self.port}/v1beta/models/{GEMINI_MODEL}:generateContent"

    @property
    def openai_url(self) -> str:
        """For `LLM_API_URL`, where the prompt's provider is `openai`."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def anthropic_url(self) -> str:
        """For `LLM_API_URL`, where the prompt's provider is `anthropic`."""
        return f"http://127.0.0.1:{self.port}"

    def url_for(self, protocol: str) -> str:
        """The address for a provider of that name."""
        url: str = getattr(self, f"{protocol}_url")
        return url

    @property
    def requests(self) -> list[Received]:
        """What was asked, oldest first."""
        return list(self.script.received)

    def will(self, *then: Behaviour, always: Behaviour | None = None) -> None:
        """Do these, one a request, and then `always`; forget what was asked."""
        self.script.forget()
        self.script.next.extend(then)
        self.script.always = always or Behaviour()


@contextmanager
def running_provider() -> Iterator[Simulated]:
    """A simulated provider in a thread, until the block ends."""
    loop, script = asyncio.new_event_loop(), Script()
    server = ProviderServer(script)
    loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield Simulated(server.port, script)
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


@pytest.fixture
def provider_server() -> Iterator[Simulated]:
    """A provider for one test, so that no test inherits another's circuit breaker. It answers `A simulated answer.`
    unless the test sets something else.
    """
    with running_provider() as provider:
        yield provider
