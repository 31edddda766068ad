"""Finds out who sends a request: reads its API key and checks that the key may call.

The server requires a key as soon as one for callers exists, or if other machines can reach it. A key that has only
roles of people, for the console, changes nothing for callers. It checks the key file for changes
once a second. While the file cannot be read, the keys that were read last stay valid.
"""

from __future__ import annotations

import ipaddress
import logging
import time

from starlette.types import Scope

from mlflow_project.api_keys import ApiKey, KeyFile, by_id, owner_of
from mlflow_project.errors import InvalidData, Refused
from mlflow_project.snapshot.folder import stamp
from mlflow_project.web.problems import Unauthorized

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0


class NoKey(Unauthorized):
    """No valid API key came with the request."""

    headers = {"WWW-Authenticate": "Bearer"}  # noqa: RUF012 - constant, as `http_status` is


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Keys:
    """The valid API keys. With `always`, a request needs a key even if no caller has one."""

    def __init__(self, file: KeyFile, always: bool) -> None:
        self._file = file
        self._always = always
        self._keys: dict[str, ApiKey] = {}
        self._required = always
        self._seen: tuple[int, int] | None = None
        self._looked_at = -_LOOK_SECONDS

    def caller(self, scope: Scope, *, is_open: bool) -> ApiKey | None:
        """The key of a request; None if the server requires none. An open route needs none.

        Raises:
            NoKey: the request has no valid key.
            Refused: its key may not call.
        """
        self._look()
        if not self._required:
            return None
        caller = owner_of(_token(scope), self._keys)
        if is_open:
            return caller
        if caller is None:
            raise NoKey("This server asks for an API key: send it as `Authorization: Bearer KEY`.")
        if not caller.may("call"):
            raise Refused("This API key lacks the role `call`.")
        return caller

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
            self._required = True
            logger.error("the API keys cannot be read; the keys read before stay valid", extra={"error": str(error)})
            return
        self._keys = dict(by_id(keys))
        self._required = self._always or any(key.is_a_callers for key in keys)


def _token(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return str(value[7:].decode("latin-1").strip())
    return ""
