"""Reads a request's body whole, within a size and a time, so that a slow sender holds no place.

A JSON body of very many values is refused here, before it is parsed.
"""

from __future__ import annotations

import asyncio
import re

from starlette.types import Receive, Scope

from mlflow_project.errors import WorkspaceError
from serving.problems import BadRequest, TooLarge

MOST_VALUES = 20_000
"""Values of a JSON body; a text counts as one, however long. To refuse so many takes some tens of milliseconds."""
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""A string, or what begins like one. It never fails to match, so it never looks at a byte twice."""
_CLOSE = {"Connection": "close"}


class BodyTooLarge(TooLarge):
    """The body is longer than this server takes; its rest is not read."""

    headers = _CLOSE


class BodyTooSlow(WorkspaceError):
    """The body did not arrive in time; its rest is not read."""

    http_status = 408
    headers = _CLOSE


async def read_body(
    scope: Scope, receive: Receive, most_bytes: int, seconds: float, *, count_values: bool = True
) -> bytes:
    """The whole body. `count_values` false: whoever parses it bounds the number of its values.

    Raises:
        BodyTooLarge: it is longer than `most_bytes`. BodyTooSlow: it took longer than `seconds`.
        BadRequest: the connection ended before it did.
    """
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if not length.isdigit() or int(length) > most_bytes:
        raise _too_large(most_bytes)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise BadRequest("The connection ended before the body did.")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > most_bytes:
                    raise _too_large(most_bytes)
                more = message.get("more_body", False)
    except TimeoutError as error:
        raise BodyTooSlow(f"The body did not arrive within {seconds:g} s.") from error
    body = b"".join(parts)
    if count_values:
        check_values(body)
    return body


def check_values(body: bytes) -> None:
    """Count the values of a JSON body before anything parses it: each of them may become an error message.

    Raises:
        TooLarge: there are more than `MOST_VALUES`.
    """
    if _separators(body) <= MOST_VALUES:
        return
    strings = body.count(b'"') - body.count(b'\\"')
    if strings > 4 * MOST_VALUES or _separators(_STRING.sub(b"", body)) > MOST_VALUES:
        raise TooLarge(f"The body holds more than the {MOST_VALUES:,} values allowed here.")


def _separators(body: bytes) -> int:
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def _too_large(most_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than the {most_bytes} bytes allowed here.")
