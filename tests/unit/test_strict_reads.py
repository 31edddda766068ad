"""A strict read asks the registry over real TCP, and one answer serves all who wait."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlflow_project.settings import RegistrySettings
from mlflow_project.snapshot.folder import ServingFolder
from serving.live.strict import StrictResolver


@dataclass
class Worker:
    """Serves version 7 of `qa`, as far as a resolver knows a worker."""

    shelf: Any = field(default_factory=lambda: SimpleNamespace(live={("qa", "Production"): _live(7)}))
    refused: tuple[Any, ...] = ()
    changed: asyncio.Event = field(default_factory=asyncio.Event)


def _live(version: int) -> Any:
    return SimpleNamespace(placed=SimpleNamespace(version=version))


async def _asked(answer: bytes, callers: int, folder: Path, pause: float = 0.0) -> tuple[list[bool], int]:
    """What callers were told, each `pause` seconds after the one before, and how many reads the registry saw."""
    reads = 0

    async def ask(number: int) -> bool:
        await asyncio.sleep(number * pause)
        return await resolver.settle("qa", "Production")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal reads
        while await reader.readuntil(b"\r\n\r\n"):
            reads += 1
            await asyncio.sleep(0.01)
            writer.write(answer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = RegistrySettings(mlflow_uri=f"http://127.0.0.1:{port}/")
    resolver = StrictResolver(settings, Worker(), ServingFolder(folder))  # type: ignore[arg-type]
    try:
        settled = await asyncio.gather(*(ask(number) for number in range(callers)))
    finally:
        await resolver.close()
        server.close()
    return list(settled), reads


def _json(status: str, body: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


SEVEN = _json("200 OK", '{"model_version": {"version": "7"}}')


def test_who_comes_before_a_read_begins_shares_it(tmp_path: Path) -> None:
    settled, reads = asyncio.run(_asked(SEVEN, 16, tmp_path))
    assert settled == [True] * 16
    assert reads == 1


def test_who_comes_while_a_read_runs_waits_for_the_next(tmp_path: Path) -> None:
    assert asyncio.run(_asked(SEVEN, 2, tmp_path, pause=0.005)) == ([True, True], 2)


def test_after_a_read_that_failed_the_next_caller_has_one_of_their_own(tmp_path: Path) -> None:
    settled, reads = asyncio.run(_asked(_json("500 Oops", "{}"), 2, tmp_path, pause=0.05))
    assert (settled, reads) == ([False, False], 2)


def test_a_question_whose_reader_was_lost_is_read_again(tmp_path: Path) -> None:
    async def lost_with_a_question_open() -> int | None:
        resolver = StrictResolver(RegistrySettings(), Worker(), ServingFolder(tmp_path))  # type: ignore[arg-type]
        asked = 0

        async def ask(_: tuple[str, str]) -> int:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0.01)
            if asked == 1:
                raise RuntimeError("a defect of a library")
            return 7

        resolver._ask = ask  # type: ignore[method-assign]
        first = asyncio.create_task(resolver._read(("qa", "Production")))
        await asyncio.sleep(0.005)
        second = asyncio.create_task(resolver._read(("qa", "Production")))
        await asyncio.sleep(0.02)
        try:
            return await asyncio.wait_for(resolver._read(("qa", "Production")), 1)
        finally:
            for waiting in (first, second):
                waiting.cancel()

    assert asyncio.run(lost_with_a_question_open()) == 7


def test_an_alias_that_the_registry_does_not_have_was_asked_and_a_failure_was_not(tmp_path: Path) -> None:
    assert asyncio.run(_asked(_json("404 Not Found", "{}"), 1, tmp_path))[0] == [True]
    assert asyncio.run(_asked(_json("500 Oops", "{}"), 1, tmp_path))[0] == [False]
    assert asyncio.run(_asked(_json("200 OK", "<html>"), 1, tmp_path))[0] == [False]


def test_a_connection_that_the_registry_closed_meanwhile_costs_no_answer(tmp_path: Path) -> None:
    heard = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        await reader.readuntil(b"\r\n\r\n")
        heard += 1
        writer.write(SEVEN)
        await reader.readuntil(b"\r\n\r\n")  # the second one is read, and not answered
        writer.close()

    async def twice() -> list[bool]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        settings = RegistrySettings(mlflow_uri=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        resolver = StrictResolver(settings, Worker(), ServingFolder(tmp_path))  # type: ignore[arg-type]
        try:
            return [await resolver.settle("qa", "Production") for _ in range(2)]
        finally:
            await resolver.close()
            server.close()

    assert asyncio.run(twice()) == [True, True]
    assert heard == 2


def test_that_reads_are_not_answered_is_said_once_and_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    moved = _json("307 Temporary Redirect", "{}")
    assert asyncio.run(_asked(moved, 2, tmp_path, pause=0.05)) == ([False, False], 2)
    (said,) = [record for record in caplog.records if record.name == "serving.live.strict"]
    assert said.getMessage() == "strict reads are not answered"
    assert "307" in said.__dict__["error"]
