"""Cuts the body of a request into records: the lines of NDJSON as they arrive, or the elements of a JSON array.

Every record keeps its bytes as they came. A line that is too long is cut off after the limit and reported as too long.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from mlflow_project.errors import InvalidData

_SPACE = " \t\r\n"


async def batches_of_lines(chunks: AsyncIterator[bytes], most_bytes: int) -> AsyncIterator[list[bytes]]:
    """The lines of a stream, those of each piece of the body together. Blank lines are kept, so that numbers fit.

    A line longer than `most_bytes` is given as its first `most_bytes + 1` bytes; the rest of it is skipped.
    """
    begun, skipping = bytearray(), False
    async for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        lines: list[bytes] = []
        for piece in whole:
            if begun or skipping:
                if not skipping:
                    begun += piece[: most_bytes + 1 - len(begun)]
                lines.append(bytes(begun))
                begun.clear()
                skipping = False
            else:  # a line that lies in one piece is not copied
                lines.append(piece if len(piece) <= most_bytes else piece[: most_bytes + 1])
        if not skipping:
            begun += rest[: most_bytes + 1 - len(begun)]
            skipping = len(begun) > most_bytes
        if lines:
            yield lines
    if begun:
        yield [bytes(begun)]


def elements_of(body: bytes) -> list[bytes]:
    """The elements of a JSON array, each with its bytes as they came.

    Raises:
        InvalidData: the body is no JSON array in UTF-8. None of its elements is taken then.
    """
    try:
        text = body.decode()
        decoder = json.JSONDecoder()
        found: list[bytes] = []
        at = _after_space(text, text.index("[") + 1)
        while text[at] != "]":
            _, end = decoder.raw_decode(text, at)
            found.append(text[at:end].encode())
            at = _after_space(text, end)
            if text[at] == ",":
                at = _after_space(text, at + 1)
                if text[at] == "]":
                    raise ValueError("a comma before the end")
            elif text[at] != "]":
                raise ValueError("no comma")
        if text[at + 1 :].strip(_SPACE):
            raise ValueError("more after the end")
    except (ValueError, IndexError, RecursionError) as error:
        raise InvalidData("The body is no JSON array in UTF-8. None of its records was taken.") from error
    return found


def _after_space(text: str, at: int) -> int:
    while text[at] in _SPACE:
        at += 1
    return at
