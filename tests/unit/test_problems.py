"""What a caller is told of an error: its status, its form, and nothing that it should not see."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from mlflow_project.errors import Exhausted, InvalidAnswer, NotFound, ProviderError
from mlflow_project.web import problems


class Number(BaseModel):
    """A body."""

    number: int


def broken_app() -> FastAPI:
    app = FastAPI()
    problems.add_to(app)

    @app.post("/inverse")
    async def inverse(body: Number) -> float:
        return 1 / body.number

    @app.get("/missing/{name}")
    async def missing(name: str) -> float:
        raise NotFound(f"There is no {name!r}.")

    return app


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    server = uvicorn.Server(uvicorn.Config(broken_app(), port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        yield client
    server.should_exit = True
    thread.join(5)


def test_an_error_of_ours_a_wrong_form_and_an_unknown_path_are_problems(http: httpx.Client) -> None:
    answer = http.get("/missing/x")
    assert (answer.status_code, answer.json()["detail"]) == (404, "There is no 'x'.")
    assert answer.headers["content-type"] == "application/problem+json"
    assert http.post("/inverse", json={"number": "four"}).json()["status"] == 422
    for body, kind in ((b"number=4", "application/x-www-form-urlencoded"), (b'{"number": 4}', "text/plain")):
        answer = http.post("/inverse", content=body, headers={"Content-Type": kind})
        assert (answer.status_code, "Content-Type must say so" in answer.json()["detail"]) == (422, True)
    assert http.post("/inverse", content=b"{", headers={"Content-Type": "application/json"}).status_code == 422
    assert http.get("/inverse").json()["status"] == 405
    assert http.post("/nowhere", json={"number": 4}).json()["status"] == 404


def test_an_unforeseen_error_is_shown_by_its_type_and_logged_once(
    http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    answer = http.post("/inverse", json={"number": 0})
    assert (answer.status_code, answer.json()["status"]) == (500, 500)
    assert "division" not in answer.text
    end = time.monotonic() + 5
    while not _traces(caplog) and time.monotonic() < end:
        time.sleep(0.01)  # the server's loop logs after it has answered
    another = httpx.post(http.base_url.join("/inverse"), json={"number": 4})  # uvicorn has closed the first connection
    assert another.json() == 0.25
    assert _traces(caplog) == [ZeroDivisionError]


def _traces(caplog: pytest.LogCaptureFixture) -> list[type[BaseException] | None]:
    """The kinds of exceptions that were logged with their traces."""
    return [record.exc_info[0] for record in caplog.records if record.levelno >= logging.ERROR and record.exc_info]


DOWN = ProviderError("It is down.", kind="http_error", status=503)


@pytest.mark.parametrize(
    ("path", "error", "status", "media_type"),
    [
        ("/llm-query/", DOWN, 503, "application/json"),
        ("/llm-query/", InvalidAnswer("It breaks the schema."), 500, "application/json"),
        ("/prompts/qa/invocations", DOWN, 502, "application/problem+json"),
        ("/v1/chat/completions", Exhausted("Wait.", retry_after=3.2), 429, "application/problem+json"),
        ("/v1beta", NotFound("There is none."), 404, "application/problem+json"),
    ],
)
def test_each_path_has_its_form(path: str, error: Exception, status: int, media_type: str) -> None:
    answer = problems.response(path, error)
    assert (answer.status_code, answer.media_type) == (status, media_type)
    assert ("error" in json.loads(answer.body)) == path.startswith("/v1/")


def test_who_is_sent_away_for_a_while_is_told_for_how_long() -> None:
    assert problems.response("/v1/x", Exhausted("Wait.", retry_after=3.2)).headers["Retry-After"] == "3"
    assert problems.response("/llm-query/", DOWN).headers["Retry-After"] == "1"
