"""Reads the whole body of a request, within a limit of size and of time, so that a slow sender occupies no place.

Refuses a JSON body of very many values before it is parsed.
"""

from __future__ import annotations

import asyncio
import re

from starlette.types import Receive, Scope

from mlflow_project.errors import WorkspaceError
from mlflow_project.web.problems import BadRequest, TooLarge

MOST_VALUES = 20_000
"""The most values of a JSON body; a text counts as one. To report mistakes in so many takes tens of milliseconds."""
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""A string, or the beginning of one that has no end. It matches whatever follows the quote, so it never backtracks."""
_CLOSE = {"Connection": "close"}


class BodyTooLarge(TooLarge):
    """The body is longer than the limit. The rest of it is not read."""

    headers = _CLOSE


class BodyTooSlow(WorkspaceError):
    """The body did not arrive in time. The rest of it is not read."""

    http_status = 408
    headers = _CLOSE


async def read_body(
    scope: Scope, receive: Receive, most_bytes: int, seconds: float, *, count_values: bool = True
) -> bytes:
    """The whole body. `count_values` false: whoever parses it bounds the number of its values.

    Raises:
        BodyTooLarge: it is longer than `most_bytes`. BodyTooSlow: it took longer than `seconds`.
        BadRequest: the connection ended in the middle of the body.
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
    """Count the values of a JSON body before it is parsed, since each of them may become an error message.

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
