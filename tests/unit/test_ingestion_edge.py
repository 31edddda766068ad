"""The edge of the ingestion service, with an application behind it that answers when the test says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx

from ingestion.edge import MOST_AT_ONCE, Edge
from mlflow_project.api_keys import KeyFile
from mlflow_project.rules.masking import Masker
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.traces import Keeping, Traces
from mlflow_project.web.caller_limits import CallerLimits
from mlflow_project.web.counts import SharedCounts
from mlflow_project.web.keys import Keys


def test_requests_beyond_the_bound_are_refused_at_once_and_those_that_run_go_on(tmp_path: Path) -> None:
    async def story() -> None:
        end = asyncio.Event()

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await end.wait()
            await send({"type": "http.response.start", "status": 202, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        meters = Meters(listening=False)
        limits = CallerLimits(SharedCounts(tmp_path, "one"), {}, meters)
        state = {"meters": meters, "traces": Traces(Keeping(0.0, 1000.0)), "limits": limits}
        edge = Edge(application, Keys(KeyFile(tmp_path / "keys.json"), always=False), Masker({}), {"/health/live"})

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            scope["state"] = dict(state)
            await edge(scope, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(with_state), base_url="http://ingestion") as http:
            running = [asyncio.create_task(http.post("/ingest/documents")) for _ in range(MOST_AT_ONCE)]
            await asyncio.sleep(0.5)
            refused = await http.post("/ingest/documents")
            assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
            health = asyncio.create_task(http.get("/health/live"))
            end.set()
            assert {answer.status_code for answer in await asyncio.gather(*running, health)} == {202}
            assert (await http.post("/ingest/documents")).status_code == 202

    asyncio.run(story())
