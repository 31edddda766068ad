"""A provider, or somebody on the way to it, sends what no provider should.

The attacker controls every byte of a provider's answers. He wants to fill the server's memory, hold up its event loop,
or cause an error that nobody foresaw. He gets a `ProviderError`, in bounded time.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_project import answering
from mlflow_project.adapters.providers import Providers
from mlflow_project.adapters.providers.anthropic import _Reading as Anthropic
from mlflow_project.adapters.providers.complaint import complaint, retry_after
from mlflow_project.adapters.providers.gemini import _Reading as Gemini
from mlflow_project.adapters.providers.openai import _Reading as OpenAI
from mlflow_project.adapters.providers.received import MOST_BYTES
from mlflow_project.answering import WarmRelease
from mlflow_project.domain.release import Message
from mlflow_project.domain.tools import ToolCallPiece, joined
from mlflow_project.errors import ProviderError
from mlflow_project.rules.masking import Masker
from tests.answering.releases import release, settings_for

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
QUESTION = {"question": "Why does the moon not fall down on us?"}
BOMB = gzip.compress(b"[" * 200_000_000, compresslevel=1)


def _whole(body: bytes, more: bytes = b"") -> Iterator[bytes]:
    yield HEAD + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _for_ever(first: bytes, piece: bytes) -> Iterator[bytes]:
    yield first
    while True:
        yield piece


ANSWERS: dict[str, Callable[[], Iterator[bytes]]] = {
    "too large": lambda: _whole(b'"' + b"x" * (MOST_BYTES + 1) + b'"'),
    "without end": lambda: _for_ever(HEAD + b"\r\n", b" " * 65_536),
    "a bomb of gzip": lambda: _whole(BOMB, b"Content-Encoding: gzip\r\n"),
    "broken gzip": lambda: _whole(b"no gzip", b"Content-Encoding: gzip\r\n"),
    "an unknown encoding": lambda: _whole(b"\xff\xff", b"Content-Encoding: quantum\r\n"),
    "many parts": lambda: _whole(b'{"choices": [' + b"[]," * 2_000_000 + b"[]]}"),
    "deep": lambda: _whole(b"[" * 1_000_000),
    "deep objects": lambda: _whole(b'{"a":' * 1_000_000),
    "half a surrogate": lambda: _whole(b'{"choices":[{"message":{"content":"\\ud800"}}]}'),
    "not UTF-8": lambda: _whole(b'{"choices":[{"message":{"content":"\xff"}}]}'),
    "a head without end": lambda: _for_ever(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"y" * 4_000 + b"\r\n"),
    "a line without end": lambda: _for_ever(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 65_536),
    "two lengths": lambda: iter([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 99\r\n\r\n{}"]),
    "a negative length": lambda: iter([b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}"]),
    "a broken chunk": lambda: iter([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"]),
    "early answers for ever": lambda: _for_ever(b"", b"HTTP/1.1 103 Early\r\n\r\n"),
    "a wait that is no number": lambda: iter([b"HTTP/1.1 429 X\r\nRetry-After: nan\r\nContent-Length: 0\r\n\r\n"]),
    "an endless wait": lambda: iter([b"HTTP/1.1 429 X\r\nRetry-After: 1e999\r\nContent-Length: 0\r\n\r\n"]),
    "an odd status": lambda: iter([b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n"]),
}
STREAMS: dict[str, Callable[[], Iterator[bytes]]] = {
    "one event without end": lambda: _for_ever(EVENTS + b"data: ", b"x" * 65_536),
    "comments for ever": lambda: _for_ever(EVENTS, b": nothing\n\n" * 100),
    "empty events for ever": lambda: _for_ever(EVENTS, b"data:\n\n" * 100),
    "small events for ever": lambda: _for_ever(EVENTS, b"data: {}\n\n" * 100),
    "lines for ever": lambda: _for_ever(EVENTS, b"data: x\n" * 8_000),
    "no JSON": lambda: iter([EVENTS + b"data: hello\n\n"]),
    "deep JSON": lambda: iter([EVENTS + b"data: " + b"[" * 500_000 + b"\n\n"]),
    "an odd error": lambda: iter([EVENTS + b'data: {"error": {"code": "x", "message": 5}}\n\n']),
    "an error of a huge number": lambda: iter([EVENTS + b'data: {"error": {"code": 1e300}}\n\n']),
    "a page": lambda: _whole(b"<html>"),
}


@asynccontextmanager
async def peer(answer: Callable[[], Iterator[bytes]]) -> AsyncIterator[str]:
    """A provider that sends this after every request; its address."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            for piece in answer():
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def failure(answer: Callable[[], Iterator[bytes]], name: str, *, streaming: bool) -> tuple[ProviderError, float]:
    """What a caller is told, and how long the event loop stood still at most."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - began - 0.005)

    async with peer(answer) as address:
        url = f"{address}/v1beta/models/m:generateContent" if name == "gemini" else f"{address}/v1"
        async with Providers(settings_for(url)) as providers:
            warm: WarmRelease = answering.warm(
                release(name, parameters={"tries": 1, "total_seconds": 3}),
                index_folder=None,
                scratch=None,  # type: ignore[arg-type]
                providers=providers,
            )
            watching = asyncio.create_task(watch())
            try:
                with pytest.raises(ProviderError) as caught:
                    await (_last(answering.stream(warm, QUESTION)) if streaming else answering.answer(warm, QUESTION))
            finally:
                watching.cancel()
    return caught.value, longest


async def _last(pieces: AsyncIterator[Any]) -> None:
    async for _ in pieces:
        pass


@pytest.mark.parametrize("name", ["openai", "gemini", "anthropic"])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_hostile_answer_is_a_providers_error_in_bounded_time(
    answer: Callable[[], Iterator[bytes]], name: str
) -> None:
    began = time.monotonic()
    error, _ = asyncio.run(failure(answer, name, streaming=False))
    assert error.kind in {"invalid_json", "transport", "timeout", "http_error"}
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("name", ["openai", "gemini", "anthropic"])
@pytest.mark.parametrize("answer", STREAMS.values(), ids=STREAMS)
def test_a_hostile_stream_is_a_providers_error_too(answer: Callable[[], Iterator[bytes]], name: str) -> None:
    began = time.monotonic()
    error, _ = asyncio.run(failure(answer, name, streaming=True))
    assert error.kind in {"invalid_json", "transport", "timeout", "http_error"}
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("answer", ["too large", "a bomb of gzip", "many parts", "deep"])
def test_no_answer_holds_up_the_event_loop(answer: str) -> None:
    stalls = [asyncio.run(failure(ANSWERS[answer], "openai", streaming=False))[1] for _ in range(3)]
    assert min(stalls) < 0.1


_NAMES = """
choices message delta content tool_calls function name arguments index usage id finish_reason thought candidates parts
text functionCall args usageMetadata finishReason promptFeedback error code completion_tokens_details
prompt_tokens_details type content_block input text_delta partial_json message_start stop_reason
"""
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(_NAMES.split()),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@given(data=_JSON)
@settings(max_examples=300)
def test_json_of_any_other_form_is_a_providers_error(data: Any) -> None:
    for reading in (OpenAI(), Gemini(), Anthropic()):
        with suppress(ProviderError):
            reading.add(data if isinstance(data, dict) else {"choices": data, "candidates": data})
            assert isinstance(reading.completion().finish_reason, str | None)


def test_a_tool_call_in_very_many_pieces_is_joined_in_linear_time() -> None:
    pieces = [ToolCallPiece(0, "a", "b", "x" * 20)] * 400_000
    began = time.monotonic()
    assert len(joined(pieces)[0].arguments) == 8_000_000
    assert time.monotonic() - began < 5


def test_a_complaint_is_compared_with_a_long_prompt_in_little_time() -> None:
    prompt = "a" * 15 + "b"
    messages = [Message("user", prompt * 60_000), *[Message("user", "xyz " * 3)] * 1_000]
    body = orjson.dumps({"error": {"message": "a" * 60_000}})
    began = time.monotonic()
    complaint(400, body, "key", messages, Masker())
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("offset", range(0, 17))
def test_sixteen_characters_of_a_prompt_in_a_complaint_are_found_wherever_they_begin(offset: int) -> None:
    prompt = "TheQuickBrownFoxJumpsOverTheLazyDog,TwiceOrMore."
    body = orjson.dumps({"error": {"message": f"Cannot: {prompt[offset : offset + 16]}"}})
    assert complaint(400, body, "", [Message("user", prompt)], Masker()) == "Bad Request"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("nan", None),
        ("1e999", 86_400),
        ("9" * 400, 86_400),
        ("-3", 0),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 86_400),
        ("Wed, 99 Oct 99999", None),
        ("\x00", None),
    ],
)
def test_a_wait_is_a_number_of_seconds_up_to_a_day_or_nothing(value: str, seconds: float | None) -> None:
    assert retry_after(value) == seconds
