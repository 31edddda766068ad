"""Reads a request's body whole, within a size and a time, so that a slow sender holds no place."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope

from mlflow_project.errors import WorkspaceError
from serving.problems import BadRequest, TooLarge

_CLOSE = {"Connection": "close"}


class BodyTooLarge(TooLarge):
    """The body is longer than this server takes; its rest is not read."""

    headers = _CLOSE


class BodyTooSlow(WorkspaceError):
    """The body did not arrive in time; its rest is not read."""

    http_status = 408
    headers = _CLOSE


async def read_body(scope: Scope, receive: Receive, most_bytes: int, seconds: float) -> bytes:
    """The whole body.

    Raises:
        BodyTooLarge: it is longer than `most_bytes`. BodyTooSlow: it took longer than `seconds`.
        BadRequest: the connection ended before it did.
    """
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if not length.isdigit() or int(length) > most_bytes:
        raise _too_large(most_bytes)
    parts: list[bytes] = []
    try:
        async with asyncio.timeout(seconds):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise BadRequest("The connection ended before the body did.")
                parts.append(message.get("body", b""))
                if sum(map(len, parts)) > most_bytes:
                    raise _too_large(most_bytes)
                more = message.get("more_body", False)
    except TimeoutError as error:
        raise BodyTooSlow(f"The body did not arrive within {seconds:g} s.") from error
    return b"".join(parts)


def _too_large(most_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than the {most_bytes} bytes allowed here.")
