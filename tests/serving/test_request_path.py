"""How much of our own code is between a parsed request and the connection to its provider."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from httpx_aiohttp.httpx2 import AiohttpTransport

from mlflow_project.domain.release import ProviderChoice
from mlflow_project.rules.masking import Masker
from serving.app import Settings, build
from tests.conftest import ROOT
from tests.provider.fixtures import Simulated
from tests.serving.in_process import client_of, set_up
from tests.serving.snapshots import Snapshots, released

__all__ = ["released"]

MOST_FRAMES, MOST_FILES = 8, 6
BEFORE_PARSING = "serving/edge/middleware.py"
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Why?"}]}
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/prompts/chat/invocations", {"variables": {"question": "Why?"}}),
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", {**CHAT, "stream": True}),
    ("/v1/responses", {"model": "chat", "input": "Why?"}),
    ("/v1/responses", {"model": "chat", "input": "Why?", "stream": True}),
]


def _our_frames() -> list[tuple[str, str]]:
    """File and function of each frame of ours on the stack, but those before the request is parsed."""
    frame, found = sys._getframe(1), []
    while (frame := frame.f_back) is not None:  # type: ignore[assignment]
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT / "mlflow_project") or path.is_relative_to(ROOT / "serving"):
            found.append((str(path.relative_to(ROOT)), frame.f_code.co_name))
    return [(file, name) for file, name in found if file != BEFORE_PARSING]


def test_a_request_reaches_its_provider_through_few_frames_in_few_files(
    released: Snapshots, provider_server: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    released.seal("chat", "Be brief.", provider=ProviderChoice("openai", "simulated-1", {"tries": 1}))
    released.point("chat", 1)
    set_up(monkeypatch, released, provider_server)
    stacks: list[list[tuple[str, str]]] = []
    connect = AiohttpTransport.handle_async_request

    async def noted(transport: AiohttpTransport, request: Any) -> Any:
        stacks.append(_our_frames())
        return await connect(transport, request)

    monkeypatch.setattr(AiohttpTransport, "handle_async_request", noted)
    assert asyncio.run(_statuses()) == [200] * len(REQUESTS)
    assert len(stacks) == len(REQUESTS)
    for frames in stacks:
        assert len(frames) <= MOST_FRAMES, frames
        assert len({file for file, _ in frames}) <= MOST_FILES, frames


async def _statuses() -> list[int]:
    async with client_of(build(Settings(), Masker())) as http:
        return [(await http.post(path, json=body)).status_code for path, body in REQUESTS]
