"""One host that serves four prompts over the simulated provider, for the clients of OpenAI's protocol."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlflow_project.domain.release import CallerOptions, Message, ProviderChoice
from tests.provider.fixtures import Simulated
from tests.serving.conftest import Host, provider_process, provider_server
from tests.serving.snapshots import MOOD_SCHEMA, Snapshots, released

__all__ = ["provider_process", "provider_server", "released"]

SIMULATED = ProviderChoice("openai", "simulated-1", {"tries": 1, "first_byte_seconds": 4.0, "temperature": 0.2})


@pytest.fixture(scope="module")
def host(released: Snapshots, provider_process: Simulated) -> Iterator[Host]:
    """`chat` pins everything; `open` takes a temperature, a system message and tools; `mood` answers with JSON;
    `quoted` answers by the extractive provider, which reports no token counts."""
    released.seal("chat", "Be brief.", provider=SIMULATED)
    callers = CallerOptions({"temperature": (0.0, 1.0), "max_tokens": (1.0, 50.0)}, tools=True)
    template = (Message("user", "{{question}}"),)
    released.seal("open", provider=SIMULATED, template=template, callers=callers, system_allowed=True)
    released.seal("mood", provider=SIMULATED, response_schema=MOOD_SCHEMA)
    released.seal("quoted")
    for name in ("chat", "open", "mood", "quoted"):
        released.point(name, 1)
    settings = {"LLM_API_URL": provider_process.openai_url, "LLM_API_KEY": "provider-secret-0123456789"}
    running = released.host(**settings)
    running.start_server()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def base_url(host: Host) -> str:
    """What a client is configured with."""
    return f"http://127.0.0.1:{host.port}/v1"
