"""The console's one middleware: who sends a request, whether it may come in, and the headers of every response.

In this order: the name that the console is asked by, the session, the origin and the form of a POST, the right to read.
A form is read here, so that its token is checked before any route sees it.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.pages import Pages
from console.people import People, Visit
from mlflow_project.errors import InvalidData, Refused, WorkspaceError
from mlflow_project.web.problems import TooLarge, Unauthorized

COOKIE = "switchyard_console"
OPEN_PATHS = ("/sign-in", "/health/live", "/static/")
"""These can be read by everybody."""
_LARGEST_FORM = 262_144
_MOST_FIELDS = 50
_FORM_SECONDS = 10.0
_FORM_TYPE = "application/x-www-form-urlencoded"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS = [(b"content-security-policy", POLICY.encode()), (b"cache-control", b"no-store")]
_FILE_HEADERS = [(b"cache-control", b"public, max-age=31536000, immutable")]


class Edge:
    """Pure ASGI. `hosts` are the names by which the console may be asked; empty: any."""

    def __init__(self, app: ASGIApp, people: People, pages: Pages, hosts: Collection[str]) -> None:
        self._app, self._people, self._pages, self._hosts = app, people, pages, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_file = scope["path"].startswith("/static/")
        send = _with_headers(send, _FILE_HEADERS if is_file else _PAGE_HEADERS)
        state = scope["state"]
        state["visit"], state["cookie"], state["form"] = Visit(), _cookie(headers), {}
        try:
            self._check_host(headers)
            state["visit"] = self._people.visit(state["cookie"])
            if scope["method"] == "POST":
                _check_origin(headers)
                state["form"] = await read_form(scope, receive)
                if scope["path"] != "/sign-in":
                    _check_token(state["visit"], state["form"])
            elif scope["method"] not in ("GET", "HEAD"):
                raise InvalidData(f"The console takes GET and POST, not {scope['method']}.")
            if not state["visit"].reads and not scope["path"].startswith(OPEN_PATHS):
                raise Unauthorized("To see this, sign in with an API key that has a role of people.")
        except WorkspaceError as error:
            await self._pages.error(Request(scope), error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        """Refuse a name that is not the console's. Otherwise a foreign page whose name was pointed at this machine
        could read what the console shows here.
        """
        name = urlsplit(f"//{headers.get('host', '')}").hostname
        if self._hosts and name not in self._hosts:
            raise Refused(
                "The console was asked by a name that is not its own. If a proxy stands before it, name the proxy's "
                "host in SWITCHYARD_CONSOLE_HOSTS."
            )


def _cookie(headers: Headers) -> str | None:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return found.value if found is not None else None


def _check_origin(headers: Headers) -> None:
    """Refuse what a page of another site sends. Programs send no `Origin`, and have no session."""
    origin = headers.get("origin")
    same = origin is None or urlsplit(origin).netloc == headers.get("host")
    if not same or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Refused("This form was sent by a page of another site, so nothing was done.")


def _check_token(visit: Visit, form: dict[str, str]) -> None:
    if visit.identity is None:
        raise Unauthorized("To change anything, sign in with an API key.")
    if not hmac.compare_digest(visit.token.encode(), form.get("token", "").encode()):
        raise Refused("This form is of another session, so nothing was done. Load the page again, and send it anew.")


async def read_form(scope: Scope, receive: Receive) -> dict[str, str]:
    """The fields of a form.

    Raises:
        TooLarge, InvalidData: it is too large, or no form.
    """
    request = Request(scope, receive)
    if request.headers.get("content-type", "").partition(";")[0].strip() != _FORM_TYPE:
        raise InvalidData(f"The console takes forms: a body of the type {_FORM_TYPE}.")
    body = bytearray()
    try:
        async with asyncio.timeout(_FORM_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > _LARGEST_FORM:
                    raise TooLarge(f"A form has at most {_LARGEST_FORM:,} bytes.")
    except TimeoutError as error:
        raise InvalidData(f"The form did not arrive within {_FORM_SECONDS:.0f} seconds.") from error
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        raise InvalidData("The form cannot be read: it is not UTF-8, or has too many fields.") from error


def _with_headers(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *headers]
        await send(message)

    return send_with_headers
