"""The bootstrap of the console: reads the settings, builds every part, and passes them on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypedDict

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from console.cache import Cache
from console.edge import Edge
from console.operations import Operations
from console.pages import Pages
from console.people import People
from console.routes import drift, knowledge, live, operations, playground, record, session, static, traffic, versions
from console.sessions import Sessions
from mlflow_project.api_keys import KeyFile
from mlflow_project.errors import InvalidData, NotFound, WorkspaceError
from mlflow_project.logs import set_up_logs
from mlflow_project.parts import Parts
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import ConsoleSettings, KeySettings, LogSettings, load
from mlflow_project.web.keys import is_loopback

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_ROOMS = (live, versions, playground, traffic, knowledge, drift, record, operations, session, static)


@dataclass(frozen=True)
class Settings:
    """Every group of settings that the console itself reads. `Parts` reads its own."""

    console: ConsoleSettings = field(default_factory=lambda: load(ConsoleSettings))
    keys: KeySettings = field(default_factory=lambda: load(KeySettings))
    logs: LogSettings = field(default_factory=lambda: load(LogSettings))


class State(TypedDict):
    """The parts of the console, as every request finds them in `request.state`."""

    cache: Cache
    operations: Operations
    pages: Pages
    people: People
    settings: ConsoleSettings


def create_app() -> ASGIApp:
    """The ASGI application. uvicorn calls this."""
    settings = Settings()
    masker = Masker(settings.logs.mask_patterns)
    set_up_logs(clean=lambda text: masker.mask(text).text)
    return build(settings)


def build(settings: Settings) -> ASGIApp:
    """FastAPI with its routes, inside the edge."""
    console = settings.console
    on_loopback = is_loopback(console.console_host)
    people = People(
        KeyFile(settings.keys.api_keys_file), Sessions(60 * console.console_session_minutes), open_to_read=on_loopback
    )
    pages = Pages()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        cache = Cache(Parts.connect())
        running = Operations(Parts.connect, cache.forget)
        yield {"cache": cache, "operations": running, "pages": pages, "people": people, "settings": console}
        await asyncio.to_thread(running.close)

    app = FastAPI(title="Switchyard console", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    for kind in (WorkspaceError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _respond)
    for room in _ROOMS:
        app.include_router(room.router)
    return Edge(app, people, pages, allowed_hosts(console, on_loopback))


def allowed_hosts(console: ConsoleSettings, on_loopback: bool) -> frozenset[str]:
    """The names by which the console may be asked. Empty: any, because it listens beyond loopback and no names are
    set; then nobody can read without a session, whose cookie belongs to one name.
    """
    named = {name.strip().lower() for name in console.console_hosts.split(",") if name.strip()}
    return frozenset({*named, *LOCAL_NAMES}) if named or on_loopback else frozenset()


async def _respond(request: Request, error: Exception) -> Response:
    """The page of an error that a route ends with."""
    pages: Pages = request.state.pages
    if isinstance(error, WorkspaceError):
        return pages.error(request, error)
    if isinstance(error, RequestValidationError):
        return pages.error(request, InvalidData("The address has a part that this page cannot read."))
    if isinstance(error, HTTPException) and error.status_code == 404:
        return pages.error(request, NotFound(f"The console has no page {request.url.path}."))
    if isinstance(error, HTTPException):
        wrong = InvalidData(str(error.detail))
        wrong.http_status = error.status_code
        return pages.error(request, wrong)
    return pages.error(request, WorkspaceError(f"Internal error ({type(error).__name__}). The log has the trace."))
