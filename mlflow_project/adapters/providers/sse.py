"""Server-sent events out of bytes that may be cut anywhere, inside a character or a line end too.

After the WHATWG's HTML standard, section 9.2.6; only `data` is kept, which is all that providers use.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterator

from mlflow_project.errors import ProviderError

MOST_BYTES = 8 * 1024 * 1024


async def events(chunks: AsyncIterable[bytes]) -> AsyncGenerator[str]:
    """The data of each event. What stands after the last blank line is no event, as the standard has it.

    Raises:
        ProviderError: an event is larger than 8 MiB.
    """
    lines = _Lines()
    data: list[str] = []
    async for chunk in chunks:
        for line in lines.feed(chunk):
            if not line and data:
                yield "\n".join(data)
                data = []
            elif line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" ").decode("utf-8", "replace"))


class _Lines:
    """Lines end with LF, CR LF or CR."""

    def __init__(self) -> None:
        self._rest = b""
        self._after_cr = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that are complete now."""
        if not chunk:
            return
        if self._after_cr:  # the other half of a CR LF
            chunk = chunk.removeprefix(b"\n")
        self._after_cr = chunk.endswith(b"\r")
        *lines, self._rest = (self._rest + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if len(self._rest) > MOST_BYTES:
            raise ProviderError("The provider sent an event larger than 8 MiB.", kind="invalid_json")
        yield from lines
