"""Dependencies of the routes: the console's parts, the sender of the request, and the fields of its form."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from console.cache import Cache
from console.operations import Operations
from console.pages import Pages
from console.people import Visit
from mlflow_project.errors import InvalidData
from mlflow_project.identity import Identity
from mlflow_project.settings import ConsoleSettings
from mlflow_project.web.problems import Unauthorized

Form = dict[str, str]


def _cache(request: Request) -> Cache:
    return cast(Cache, request.state.cache)


def _operations(request: Request) -> Operations:
    return cast(Operations, request.state.operations)


def _pages(request: Request) -> Pages:
    return cast(Pages, request.state.pages)


def _visit(request: Request) -> Visit:
    return cast(Visit, request.state.visit)


def _form(request: Request) -> Form:
    return cast(Form, request.state.form)


def _settings(request: Request) -> ConsoleSettings:
    return cast(ConsoleSettings, request.state.settings)


def _person(request: Request) -> Identity:
    visit = _visit(request)
    if visit.identity is None:
        raise Unauthorized("To change anything, sign in with an API key.")
    return visit.identity


TheCache = Annotated[Cache, Depends(_cache)]
TheOperations = Annotated[Operations, Depends(_operations)]
ThePages = Annotated[Pages, Depends(_pages)]
TheVisit = Annotated[Visit, Depends(_visit)]
TheForm = Annotated[Form, Depends(_form)]
TheSettings = Annotated[ConsoleSettings, Depends(_settings)]
ThePerson = Annotated[Identity, Depends(_person)]


def number(text: str | None, what: str, least: int = 1) -> int | None:
    """A whole number of an address or a form; None where it is empty.

    Raises:
        InvalidData: it is none.
    """
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 12 or int(text) < least:
        raise InvalidData(f"{what} must be a whole number from {least} on.")
    return int(text)


def required(form: Form, field: str, what: str) -> str:
    """A text of a form.

    Raises:
        InvalidData: it is empty.
    """
    text = form.get(field, "").strip()
    if not text:
        raise InvalidData(f"{what} is missing. Go back, and fill it in.")
    return text
