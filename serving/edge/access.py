"""Who may ask: the API key of a request, and what its roles allow.

Pure ASGI. Keys are demanded as soon as one exists or the server is bound beyond loopback. The key file is looked at
once a second; when it cannot be read, the keys that were read last keep counting.
"""

from __future__ import annotations

import ipaddress
import logging
import time

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from mlflow_project.api_keys import ApiKey, KeyFile, by_id, owner_of
from mlflow_project.errors import InvalidData, Refused
from mlflow_project.snapshot.folder import stamp
from serving.problems import refusal
from serving.routes import webhook

logger = logging.getLogger(__name__)

_OPEN = ("/health/", "/docs", "/openapi.json", webhook.PATH)
"""Without an API key. A webhook is signed instead."""
_LOOK_SECONDS = 1.0


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Access:
    """The middleware: notes the caller in the request's state, or answers 401 or 403."""

    def __init__(self, app: ASGIApp, keys: KeyFile, always: bool) -> None:
        self._app = app
        self._file = keys
        self._always = always
        self._keys: dict[str, ApiKey] = {}
        self._demanded = always
        self._seen: tuple[int, int] | None = None
        self._looked_at = -_LOOK_SECONDS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._look()
        caller = owner_of(_token(scope), self._keys) if self._demanded else None
        scope["state"]["caller"] = caller
        if not self._demanded or scope["path"].startswith(_OPEN):
            await self._app(scope, receive, send)
        elif caller is None:
            detail = "This server asks for an API key: send it as `Authorization: Bearer KEY`."
            no = refusal(scope["path"], 401, detail, headers={"WWW-Authenticate": "Bearer"})
            await no(scope, receive, send)
        elif not caller.may("call"):
            await refusal(scope["path"], 403, "This API key lacks the role `call`.")(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        seen = stamp(self._file.path)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            keys = self._file.all()
        except InvalidData as error:
            self._demanded = True
            logger.error("the API keys cannot be read; those read before count on", extra={"error": str(error)})
            return
        self._keys = dict(by_id(keys))
        self._demanded = self._always or bool(keys)


def allow_alias(request: Request, alias: str) -> None:
    """Whether the caller may choose this alias; everyone may ask `Production`.

    Raises:
        Refused: its key lacks the role.
    """
    caller: ApiKey | None = request.scope["state"].get("caller")
    if alias != "Production" and caller is not None and not caller.may("choose-alias"):
        raise Refused(f"This API key may not choose the alias {alias!r}: it lacks the role `choose-alias`.")


def _token(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return str(value[7:].decode("latin-1").strip())
    return ""
