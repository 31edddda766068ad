"""Signing in and out."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from console.edge import COOKIE
from console.people import People
from console.routes.parts import TheForm, ThePages, TheVisit
from mlflow_project.errors import WorkspaceError

router = APIRouter()


@router.get("/sign-in")
def sign_in_page(request: Request, pages: ThePages, to: str = "/") -> Response:
    """The form."""
    return pages.show(request, "sign_in.html", to=_own_path(to), wrong="")


@router.post("/sign-in")
def sign_in(request: Request, pages: ThePages, form: TheForm) -> Response:
    """Begin a session with an API key."""
    people, to = cast(People, request.state.people), _own_path(form.get("to", "/"))
    try:
        address = request.client.host if request.client else ""
        cookie = people.sign_in(form.get("key", ""), address)
    except WorkspaceError as error:
        return pages.show(request, "sign_in.html", error.http_status, to=to, wrong=str(error))
    response = RedirectResponse(to, 303)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, cookie, httponly=True, samesite="strict", secure=secure, path="/")
    return response


@router.post("/sign-out")
def sign_out(request: Request, visit: TheVisit) -> Response:
    """End the session."""
    cast(People, request.state.people).sign_out(request.state.cookie)
    response = RedirectResponse("/", 303)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response


def _own_path(to: str) -> str:
    """A path of this console; `/` for what leads elsewhere, as `//host` and `/\\host` do."""
    safe = to.startswith("/") and not to.startswith(("//", "/\\")) and to.isprintable()
    return to if safe and "\\" not in to else "/"
