"""Who is let in, how much of it, and what a worker stays free of."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import http.client
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from mlflow_project.api_keys import KeyFile
from mlflow_project.domain.release import ProviderChoice
from mlflow_project.snapshot.wake import WakePipe
from tests.conftest import ROOT
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import Simulated
from tests.serving.conftest import Host, until
from tests.serving.snapshots import Snapshots, released

__all__ = ["released"]

FORBIDDEN = (
    *("boto3", "botocore", "mlflow", "pyspark", "airflow", "sklearn", "pandas", "scipy"),
    *("lightgbm", "skops", "optuna", "pandera"),
)


@pytest.fixture(scope="module")
def host(released: Snapshots, provider_process: Simulated) -> Iterator[Host]:
    released.seal("guarded", provider=ProviderChoice("openai", "simulated-1", {"tries": 1}))
    released.point("guarded", 1)
    released.point("guarded", 1, "Staging")
    running = released.host(
        LLM_API_URL=provider_process.openai_url,
        SWITCHYARD_DEFAULT_PROMPT="guarded",
        SWITCHYARD_API_KEYS_FILE=str(released.path / "keys.json"),
        SWITCHYARD_MAX_CONCURRENT="4",
        SWITCHYARD_MAX_QUEUED="4",
        SWITCHYARD_MAX_BODY_BYTES="5000",
        SWITCHYARD_BODY_SECONDS="1",
        SWITCHYARD_WEBHOOK_SECRET="webhook-secret",
        SWITCHYARD_MAX_TEXT_CHARS="2000",
        SWITCHYARD_MAX_OUTPUT_CHARS="2000",
    )
    running.start_server()
    yield running
    running.stop()


@pytest.fixture
def keys(host: Host) -> Iterator[KeyFile]:
    file = KeyFile(host.folder / "keys.json")
    yield file
    file.path.unlink(missing_ok=True)
    until(lambda: host.ask("guarded").status_code == 200, "no key is asked for any more")


def test_a_worker_imports_no_registry_no_store_no_spark() -> None:
    code = f"import sys, serving.app; print([name for name in {FORBIDDEN} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_without_keys_nobody_beyond_this_machine_is_served(host: Host) -> None:
    env = {**host.env, "SWITCHYARD_API_HOST": "0.0.0.0"}
    ended = subprocess.run([sys.executable, "-m", "serving"], cwd=ROOT, env=env, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "switchyard keys create" in ended.stderr


def test_as_soon_as_a_key_exists_it_is_asked_for(host: Host, keys: KeyFile) -> None:
    token, key = keys.create("anna", ("call",))
    until(lambda: host.ask("guarded").status_code == 401, "a key is asked for")
    assert host.ask("guarded").headers["WWW-Authenticate"] == "Bearer"
    assert host.http.get("/health/ready").status_code == 200
    assert [host.http.get(path).status_code for path in ("/releases", "/nowhere", "/health/readyx")] == [401] * 3
    bearer = {"Authorization": f"Bearer {token}"}
    assert host.ask("guarded", **bearer).status_code == 200
    assert host.ask("guarded", **{"Authorization": f"Bearer {token}x"}).status_code == 401
    assert token.split("_", 2)[2] not in keys.path.read_text()
    assert keys.path.stat().st_mode & 0o077 == 0
    keys.revoke(key.id)
    until(lambda: host.ask("guarded", **bearer).status_code == 401, "a revoked key is refused")


def test_another_alias_needs_the_role_for_it(host: Host, keys: KeyFile) -> None:
    caller, _ = keys.create("anna", ("call",))
    chooser, _ = keys.create("bert", ("call", "choose-alias"))
    until(lambda: host.ask("guarded").status_code == 401, "a key is asked for")
    staging = {"X-Alias": "Staging"}
    assert host.ask("guarded", Authorization=f"Bearer {caller}", **staging).status_code == 403
    assert host.ask("guarded", Authorization=f"Bearer {chooser}", **staging).status_code == 200


def test_a_key_that_used_up_its_limit_is_told_when_to_come_back(host: Host, keys: KeyFile) -> None:
    limited, _ = keys.create("anna", ("call",), {"requests": "2/year"})
    budgeted, _ = keys.create("bert", ("call",), {"tokens": "10/year"})
    until(lambda: host.ask("guarded").status_code == 401, "a key is asked for")
    answers = [host.ask("guarded", Authorization=f"Bearer {limited}") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert answers[-1].headers["content-type"] == "application/problem+json"
    assert "2 requests per 1 year" in answers[-1].json()["detail"]
    assert host.ask("guarded", Authorization=f"Bearer {budgeted}").status_code == 200  # the provider reports 17 tokens
    assert "10 tokens" in host.ask("guarded", Authorization=f"Bearer {budgeted}").json()["detail"]


def test_a_text_too_long_is_413_and_an_answer_too_long_is_502(host: Host, provider_server: Simulated) -> None:
    long = host.ask("guarded", "x" * 2001)
    assert (long.status_code, "`question` holds 2001 characters" in long.json()["detail"]) == (413, True)
    provider_server.will(always=Behaviour(text="x" * 2001))
    assert host.ask("guarded").status_code == 502
    body = {"model": "guarded", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    events = host.http.post("/v1/chat/completions", json=body).text
    assert "longer than the 2000 characters" in events
    assert "[DONE]" not in events


def test_a_limit_that_nobody_can_read_stops_the_start(host: Host) -> None:
    env = {**host.env, "SWITCHYARD_LIMIT_REQUESTS": "many"}
    ended = subprocess.run([sys.executable, "-m", "serving"], cwd=ROOT, env=env, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "60/minute" in ended.stderr


def test_a_body_too_large_is_413(host: Host) -> None:
    assert host.ask("guarded", "x" * 6000).status_code == 413


def test_a_head_too_large_is_turned_away(host: Host) -> None:
    assert host.http.get("/releases", headers={"X-Large": "x" * 70_000}).status_code == 431


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"nonsense\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\nhost: me\r\nx: " + b"x" * 40_000, b"431")],
)
def test_what_uvicorn_or_its_protocol_refuses_has_the_security_headers_too(
    host: Host, sent: bytes, status: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", host.port)) as caller:
        caller.sendall(sent)
        answer = caller.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 " + status)
    for header in (b"x-content-type-options: nosniff", b"x-frame-options: DENY", b"cache-control: no-store"):
        assert header in answer


def test_a_caller_who_leaves_the_queue_leaves_its_place_to_others(host: Host, provider_server: Simulated) -> None:
    async def crowd() -> list[int]:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{host.port}", timeout=20) as http:

            async def call(seconds: float = 20) -> int:
                return (await http.post("/llm-query/", json={"text_input": "x"}, timeout=seconds)).status_code

            answered = [asyncio.create_task(call()) for _ in range(4)]
            await asyncio.sleep(0.2)
            left = await asyncio.gather(*(call(0.2) for _ in range(4)), return_exceptions=True)
            assert all(isinstance(one, httpx.ReadTimeout) for one in left)
            await asyncio.sleep(0.1)
            waiting = [asyncio.create_task(call()) for _ in range(4)]
            return list(await asyncio.gather(*answered, *waiting))

    provider_server.will(always=Behaviour(latency_ms=900))
    assert asyncio.run(crowd()) == [200] * 8


def test_a_slow_body_is_408_and_holds_no_place(host: Host) -> None:
    with socket.create_connection(("127.0.0.1", host.port)) as slow:
        slow.sendall(
            b"POST /llm-query/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        )
        assert b"408" in slow.recv(100)


async def _crowd(port: int, callers: int) -> list[tuple[int, float, str | None]]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:

        async def call() -> tuple[int, float, str | None]:
            began = time.monotonic()
            answer = await http.post("/llm-query/", json={"text_input": "x"})
            return answer.status_code, time.monotonic() - began, answer.headers.get("Retry-After")

        await asyncio.gather(*(call() for _ in range(4)))
        return list(await asyncio.gather(*(call() for _ in range(callers))))


def test_beyond_the_queue_callers_are_told_at_once_to_come_back(host: Host, provider_server: Simulated) -> None:
    provider_server.will(always=Behaviour(latency_ms=1000))
    answers = asyncio.run(_crowd(host.port, 20))
    turned_away = [(seconds, retry) for status, seconds, retry in answers if status == 503]
    assert [status for status, _, _ in answers].count(200) == 8
    assert len(turned_away) == 12
    assert all(retry == "1" for _, retry in turned_away)
    assert max(seconds for seconds, _ in turned_away) < 0.9  # twenty callers begin at once, in one process
    assert host.ask("guarded").status_code == 200


async def _told_while_full(port: int) -> list[float]:
    """Seconds until a caller is sent away while every place and the whole queue are taken; one caller at a time."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
        crowd = [asyncio.create_task(http.post("/llm-query/", json={"text_input": "x"})) for _ in range(8)]
        await asyncio.sleep(0.3)
        took: list[float] = []
        for _ in range(10):
            began = time.monotonic()
            answer = await http.post("/llm-query/", json={"text_input": "x"})
            took.append(time.monotonic() - began)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        await asyncio.gather(*crowd)
        return took


def test_who_finds_the_queue_full_is_told_within_fifty_milliseconds(host: Host, provider_server: Simulated) -> None:
    provider_server.will(always=Behaviour(latency_ms=1500))
    assert statistics.median(asyncio.run(_told_while_full(host.port))) < 0.05


def test_two_thousand_idle_connections_cost_no_request(host: Host, provider_server: Simulated) -> None:
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    idle = [socket.create_connection(("127.0.0.1", host.port)) for _ in range(2000)]
    assert [host.ask("guarded").status_code for _ in range(20)] == [200] * 20
    for connection in idle:
        connection.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))
    assert host.ask("guarded").status_code == 200


def test_a_storm_at_the_provider_is_told_as_it_is_and_disturbs_no_other_prompt(
    host: Host, released: Snapshots, provider_server: Simulated
) -> None:
    released.seal("local")
    released.point("local", 1)
    host.serves("local", 1)
    faults = [Behaviour(status=429, retry_after="7"), Behaviour(status=500), Behaviour(status=503)]
    provider_server.will(*(faults * 4), *[Behaviour(fault="drop")] * 6, always=Behaviour(status=500))
    answers = [host.ask("guarded") for _ in range(24)]
    assert {answer.status_code for answer in answers} <= {429, 502, 503}
    assert answers[0].headers["Retry-After"] == "7"
    assert "left alone for a moment" in answers[-1].json()["detail"]
    assert provider_server.script.count < 24
    assert all(host.ask("local").status_code == 200 for _ in range(20))
    provider_server.will()
    until(lambda: host.ask("guarded").status_code == 200, "the provider is asked again", 15)


def _signed(host: Host, secret: str, sent: float) -> httpx.Response:
    body = b'{"entity": "prompt_alias", "action": "created"}'
    made = hmac.new(secret.encode(), b"d-1.%d.%s" % (sent, body), hashlib.sha256).digest()
    headers = {"X-MLflow-Delivery-Id": "d-1", "X-MLflow-Timestamp": f"{sent:.0f}"}
    headers["X-MLflow-Signature"] = f"v1,{base64.b64encode(made).decode()}"
    return host.http.post("/webhooks/mlflow", content=body, headers=headers)


def test_a_webhook_that_mlflow_signed_wakes_the_follower_and_no_other_does(host: Host) -> None:
    pipe = WakePipe(host.folder / "wake")
    now = int(time.time())
    assert _signed(host, "another secret", now).status_code == 401
    assert _signed(host, "webhook-secret", now - 3600).status_code == 401
    assert host.http.post("/webhooks/mlflow", json={}).status_code == 401
    assert not pipe.wait(0)
    assert _signed(host, "webhook-secret", now).status_code == 204
    assert pipe.wait(5)
    pipe.close(remove=True)


def test_a_request_to_upgrade_is_answered_as_any_other_and_holds_no_connection(host: Host) -> None:
    upgrade = b"connection: upgrade\r\nupgrade: websocket\r\n"
    asked = b"POST /releases HTTP/1.1\r\nhost: me\r\n" + upgrade + b"content-length: 5\r\n\r\nhello"
    with socket.create_connection(("127.0.0.1", host.port), timeout=20) as caller:
        caller.sendall(asked)
        first = http.client.HTTPResponse(caller, method="POST")
        first.begin()
        assert (first.status, len(first.read()) > 0) == (405, True)
        caller.sendall(b"GET /health/live HTTP/1.1\r\nhost: me\r\nconnection: close\r\n\r\n")
        second = http.client.HTTPResponse(caller, method="GET")
        second.begin()
        assert (second.status, len(second.read()) > 0) == (200, True)
        assert caller.recv(65_536) == b""
