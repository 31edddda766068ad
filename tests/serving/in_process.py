"""A worker of the server in the test's own process, for tests that look inside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.provider.fixtures import Simulated
from tests.serving.snapshots import Snapshots


def set_up(monkeypatch: pytest.MonkeyPatch, released: Snapshots, provider: Simulated, **settings: str) -> None:
    """Set the environment of a worker that serves these releases and asks this provider."""
    found = {
        "SWITCHYARD_SERVING_FOLDER": str(released.path),
        "SWITCHYARD_TRUSTED_KEYS": str(released.keys.trusted_keys),
        "LLM_API_URL": provider.openai_url,
        "LLM_API_KEY": "provider-secret-0123456789",
    }
    for name, value in (found | settings).items():
        monkeypatch.setenv(name, value)


@asynccontextmanager
async def client_of(edge: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Run the lifespan of an application that `serving.app` has built, and give a client of it."""
    app: FastAPI = edge._app
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            scope["state"] = dict(state or {})
            await edge(scope, receive, send)

        transport = httpx.ASGITransport(with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
            yield http
