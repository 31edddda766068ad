"""A JSON route answers as FastAPI documents it, errors included; what nobody foresaw is logged once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

from mlflow_project.errors import NotFound
from serving import problems
from serving.edge.protocol import PatientHttp
from serving.json_route import Doors, JsonRoute

router = APIRouter(route_class=JsonRoute)


class Number(BaseModel):
    """A body."""

    number: int


@router.post("/inverse")
async def inverse(body: Number) -> float:
    """Breaks for 0, as code does."""
    return 1 / body.number


@router.post("/missing/{name}")
async def missing(name: str, body: Number) -> float:
    """Never there."""
    raise NotFound(f"There is no {name!r}.")


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    app = FastAPI()
    app.add_middleware(Doors)
    problems.add_to(app)
    app.include_router(router)
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=PatientHttp, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        yield client
    server.should_exit = True
    thread.join(5)


def test_a_door_answers_and_leaves_other_methods_and_paths_to_fastapi(http: httpx.Client) -> None:
    assert http.post("/inverse", json={"number": 4}).json() == 0.25
    assert http.get("/inverse").status_code == 405
    assert http.post("/nowhere", json={"number": 4}).json()["status"] == 404


def test_an_error_of_ours_and_a_wrong_form_are_problems(http: httpx.Client) -> None:
    answer = http.post("/missing/x", json={"number": 4})
    assert (answer.status_code, answer.json()["detail"]) == (404, "There is no 'x'.")
    assert http.post("/inverse", json={"number": "four"}).json()["status"] == 422
    assert http.post("/inverse", content=b"number=4").json()["status"] == 422


def test_what_nobody_foresaw_is_told_by_its_type_and_logged_once(
    http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    answer = http.post("/inverse", json={"number": 0})
    assert (answer.status_code, answer.json()["status"]) == (500, 500)
    assert "division" not in answer.text
    end = time.monotonic() + 5
    while not _defects(caplog) and time.monotonic() < end:
        time.sleep(0.01)  # the server's loop logs after it has answered
    assert httpx.post(f"{http.base_url}/inverse", json={"number": 4}).status_code == 200
    assert _defects(caplog) == [ZeroDivisionError]


def _defects(caplog: pytest.LogCaptureFixture) -> list[type[BaseException] | None]:
    """The kinds of exceptions that were logged with their traces."""
    return [record.exc_info[0] for record in caplog.records if record.levelno >= logging.ERROR and record.exc_info]
