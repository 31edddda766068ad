"""A shadow gets copies of requests after their answers have left; whatever it does, callers notice nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from mlflow_project.domain.release import Prices, ProviderChoice
from mlflow_project.rules.masking import Masker
from mlflow_project.snapshot.folder import ServingFolder
from mlflow_project.snapshot.spool import Spool
from serving.app import Settings, build
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import Simulated
from tests.serving.in_process import client_of, set_up
from tests.serving.snapshots import Snapshots, released

__all__ = ["released"]

CONTEXT = "Paris is the capital of France."
BODY = {"variables": {"question": "Which city, anna@example.com, is the capital of France?"}, "context": CONTEXT}
OPENAI = ProviderChoice("openai", "simulated-1", {"tries": 1})
SHADOW_COST = "switchyard.shadow.cost_usd"


@pytest.fixture
def shadowed(released: Snapshots, provider_server: Simulated, monkeypatch: pytest.MonkeyPatch) -> Snapshots:
    """`qa/1` answers in production by quoting, and `qa/2`, its shadow, asks the simulated provider."""
    if ("qa", "Production") not in released.live:
        released.seal("qa", "Quote.")
        released.seal("qa", "Be brief.", provider=OPENAI, prices=Prices("USD", 1.0, 2.0))
        released.point("qa", 1)
    released.shadow("qa", 2, share=1.0, per_second=1000)
    set_up(monkeypatch, released, provider_server, SWITCHYARD_EVENT_SHIP_MS="100")
    pairs(released)  # those of the test before
    return released


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[httpx.AsyncClient]:
    """A worker."""
    async with client_of(build(Settings(), Masker())) as http:
        yield http


async def is_loaded(released: Snapshots, expected: bool = True) -> None:
    """Wait until the worker reports that it has the shadow, or that it has none any more."""
    reports = ServingFolder(released.path).workers
    await until(lambda: any('"Shadow"' in file.read_text() for file in reports.glob("*.json")) is expected)


async def asked(http: httpx.AsyncClient, times: int) -> list[float]:
    """Ask, and return how many seconds each answer took. Each must be production's own."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        answer = await http.post("/prompts/qa/invocations", json=BODY)
        seconds.append(time.perf_counter() - began)
        assert (answer.status_code, answer.json()["text"], answer.headers["x-release"]) == (200, CONTEXT, "qa/1")
    return seconds


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not what():
            await asyncio.sleep(0.02)


def pairs(released: Snapshots) -> list[dict[str, Any]]:
    """The pairs in the spool; each is returned once."""
    spool = Spool(ServingFolder(released.path).spool_file, 10_000_000)
    batch = spool.batch(f"b{time.monotonic_ns()}", 1_000)
    if batch is None:
        return []
    spool.shipped(batch.name)
    return [row for row in map(json.loads, batch.rows) if row["kind"] == "shadow"]


async def collected(released: Snapshots, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def enough() -> bool:
        found.extend(pairs(released))
        return len(found) >= count

    await until(enough)
    return found


def test_pairs_are_recorded_masked_and_scored_and_the_cost_counts_as_the_shadows(
    shadowed: Snapshots, provider_server: Simulated
) -> None:
    provider_server.will(always=Behaviour(text="Bob@example.com says Rome 7.", input_tokens=1_000_000))

    async def through() -> None:
        async with server() as http:
            await is_loaded(shadowed)
            await asked(http, 3)
            found = await collected(shadowed, 3)
            stream = {"model": "qa", "messages": [{"role": "user", "content": "Which city?"}], "stream": True}
            assert (await http.post("/v1/chat/completions", json=stream)).status_code == 200
            assert (await http.post("/prompts/qa/invocations", json={"variables": {}})).status_code == 422
            streamed = await collected(shadowed, 1)
        pair = found[0]
        assert (pair["shadow"], pair["release"], pair["shadow_release"], pair["error_type"]) == (
            7,
            "qa/1",
            "qa/2",
            None,
        )
        assert "anna" not in json.dumps(found)
        assert (pair["answer"], pair["shadow_answer"]) == (CONTEXT, "[email] says Rome 7.")
        assert (pair["scores"]["groundedness"], pair["shadow_scores"]["groundedness"]) == (1.0, 0.0)
        assert 0 <= pair["agreement"] < 0.5
        assert pair["cost_usd"] >= 1.0
        assert [row["route"] for row in streamed] == ["/v1/chat/completions"]

    asyncio.run(through())
    bodies = [request.body for request in provider_server.requests]
    assert len(bodies) == 4


@pytest.mark.parametrize("fault", ["dead", "hang", "flood"])
def test_callers_notice_nothing_of_a_shadow_that_is(
    fault: str, shadowed: Snapshots, provider_server: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "dead":
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            monkeypatch.setenv("LLM_API_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/v1")
    flood = Behaviour(text="flood " * 500_000)
    provider_server.will(always=flood if fault == "flood" else Behaviour(fault="hang"))

    async def through() -> None:
        async with server() as http:
            await is_loaded(shadowed)
            seconds = await asked(http, 150)
            assert sorted(seconds)[75] < 0.5
            if fault == "flood":
                (pair, *_) = await collected(shadowed, 1)
                assert len(provider_server.requests) <= 8, "it is paused after the first long answers"
                assert (pair["agreement"], pair["shadow_scores"].keys()) == (None, {"latency_ms"})
            if fault == "dead":
                assert {row["error_type"] for row in await collected(shadowed, 20)} == {"ProviderError"}

    asyncio.run(through())


def test_a_shadow_that_cannot_be_warmed_delays_no_start_and_a_stopped_one_gets_no_copies(
    shadowed: Snapshots, provider_server: Simulated
) -> None:
    provider_server.will()
    broken = shadowed.seal("qa", "Never loaded.", provider=ProviderChoice("openai", "m", endpoint="nowhere"))
    shadowed.shadow("qa", broken.version, share=1.0)

    async def through() -> None:
        async with server() as http:
            await asked(http, 5)
            shadowed.shadow("qa", 2, share=1.0, per_second=1000)
            await is_loaded(shadowed)
            await asked(http, 2)
            assert len(await collected(shadowed, 2)) == 2
            shadowed.shadow("qa", 2)
            await is_loaded(shadowed, expected=False)
            await asked(http, 3)
            await asyncio.sleep(0.5)
            assert pairs(shadowed) == []

    asyncio.run(through())
    assert len(provider_server.requests) == 2


def test_a_rate_and_a_budget_of_its_own_bound_what_a_shadow_asks(
    shadowed: Snapshots, provider_server: Simulated
) -> None:
    provider_server.will(always=Behaviour(text="Paris.", input_tokens=1_000_000))
    shadowed.shadow("qa", 2, share=1.0, per_second=1000, usd_per_day=2.5)

    async def through() -> None:
        async with server() as http:
            await is_loaded(shadowed)
            for _ in range(6):
                await asked(http, 1)
                await asyncio.sleep(0.15)
            await collected(shadowed, 1)

    asyncio.run(through())
    assert 1 <= len(provider_server.requests) <= 3, "each answer costs a dollar"
