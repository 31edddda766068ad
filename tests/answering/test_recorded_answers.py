"""Each preset against answers that real servers gave. `recorded/<preset>.json` says where each answer comes from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_project import answering
from mlflow_project.adapters.providers import Providers
from mlflow_project.adapters.providers.endpoint_file import presets
from mlflow_project.adapters.providers.thoughts import ThoughtFilter
from mlflow_project.domain.answer import Answer, Usage
from mlflow_project.domain.release import CallerOptions, Manifest, ProviderChoice, Release
from mlflow_project.settings import ProviderSettings
from tests.answering.conftest import Run
from tests.answering.releases import KEY, TEMPLATE

RECORDED = Path(__file__).parent / "recorded"
QUESTION = {"question": "Why does the moon not fall down on us?"}
PATHS = {"azure-openai": "/openai/v1/chat/completions", "bedrock": "/openai/v1/chat/completions"}
SENT_KEY = {
    "azure-openai": ("api-key", KEY),
    "bedrock": ("authorization", f"Bearer {KEY}"),
    "anthropic": ("x-api-key", KEY),
}
HELLO = "Hello! 👋 How can I help you today?"

EXPECTED: list[tuple[str, int, str | None, str, Usage]] = [
    ("azure-openai", 0, "### Handoff Summary:", "stop", Usage(95, 127, 0, 0, 222)),
    ("azure-openai", 1, "Hello", "stop", Usage(15, 2, 0, 0, 17)),
    ("bedrock", 0, HELLO, "stop", Usage(71, 52, None, None, 123)),
    ("bedrock", 1, "Hello! 👋\n\nHow can I help you today?", "stop", Usage()),
    ("ollama", 0, "It appears you've entered a test phrase.", "stop", Usage(29, 20, None, None, 49)),
    ("ollama", 1, '{"name":"get_time","parameters>{"timezone":"UTC"}}', "stop", Usage()),
    ("ollama", 2, "Rome.", "stop", Usage(82, 4, None, None, 86)),
    ("vllm", 0, "I'm sorry, but I can't provide real-time weather", "stop", Usage(33, 154, None, None, 187)),
    ("vllm", 1, None, "tool_calls", Usage(136, 101, None, None, 237)),
    ("llama.cpp", 0, "Hello! My name is QGIS Copilot", "stop", Usage(127, 31, None, None, 158)),
    ("llama.cpp", 1, None, "tool_calls", Usage(292, 23, None, None, 315)),
    ("llama.cpp", 2, "Hello! It's nice to meet you", "stop", Usage(127, 36, None, None, 163)),
    ("anthropic", 0, "Hello there!", "end_turn", Usage(11, 6, None, None, 17)),
    ("anthropic", 1, "I'll check the current weather in Paris for you.", "tool_calls", Usage(377, 65, None, 0, 442)),
    ("anthropic", 2, None, "refusal", Usage(20, 53, 67, None, 140)),
]
CALLED = {
    ("vllm", 1): ("no_args_tool", "{}"),
    ("llama.cpp", 1): ("python", '{"code":"print(\'Hello World\')"}'),
    ("anthropic", 1): ("get_weather", '{"location": "Paris"}'),
}


@asynccontextmanager
async def replaying(answer: Any, heads: list[str]) -> AsyncIterator[int]:
    """A server that gives this answer, whole or as events; its port."""
    kind, body = "application/json", json.dumps(answer).encode()
    if isinstance(answer, list):
        kind, body = "text/event-stream", b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in answer)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(head + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def replayed(preset: str, recorded: dict[str, Any], folder: Path) -> tuple[Answer, list[str], str]:
    """The answer as a caller gets it, the pieces of its text, and the head of the request."""
    heads: list[str] = []
    async with replaying(recorded["answer"], heads) as port:
        path = urlsplit(str(presets()[preset]["url"])).path
        file = folder / "providers.yaml"
        entry = f"{{preset: {preset}, url: 'http://127.0.0.1:{port}{path}', key: {{env: RECORDED_KEY}}}}"
        file.write_text(f"endpoints:\n  mine: {entry}\n")
        choice = ProviderChoice(str(presets()[preset]["protocol"]), recorded["model"], {"tries": 1}, "mine")
        manifest = Manifest("prompt", "qa", TEMPLATE, choice, callers=CallerOptions(tools=True))
        async with Providers(ProviderSettings(SWITCHYARD_PROVIDERS=file)) as providers:
            warm = answering.warm(
                Release(1, "sha256:" + "0" * 64, manifest), index_folder=None, scratch=folder, providers=providers
            )
            if not isinstance(recorded["answer"], list):
                answer = await answering.answer(warm, QUESTION)
                return answer, [answer.text or ""], heads[0]
            pieces = [piece async for piece in answering.stream(warm, QUESTION)]
    assert isinstance(pieces[-1], Answer)
    return pieces[-1], [piece for piece in pieces if isinstance(piece, str)], heads[0]


@pytest.mark.parametrize(
    ("preset", "place", "begins", "finish", "usage"), EXPECTED, ids=[f"{row[0]}-{row[1]}" for row in EXPECTED]
)
def test_a_preset_reads_what_its_server_answered(
    run: Run[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    preset: str,
    place: int,
    begins: str | None,
    finish: str,
    usage: Usage,
) -> None:
    monkeypatch.setenv("RECORDED_KEY", KEY)
    recorded = json.loads((RECORDED / f"{preset}.json").read_text())["answers"][place]
    answer, pieces, head = run(replayed(preset, recorded, tmp_path))
    assert "".join(pieces) == (answer.text or "")
    assert answer.text is None if begins is None else str(answer.text).startswith(begins)
    assert "<" not in "".join(pieces)
    assert (answer.finish_reason, answer.usage) == (finish, usage)
    calls = [(call.name, call.arguments) for call in answer.tool_calls]
    assert calls == ([CALLED[preset, place]] if (preset, place) in CALLED else [])
    own = "/v1/messages" if preset == "anthropic" else "/v1/chat/completions"
    assert head.startswith(f"POST {PATHS.get(preset, own)} HTTP/1.1\r\n")
    name, value = SENT_KEY.get(preset, ("authorization", f"Bearer {KEY}"))
    assert f"\r\n{name}: {value}\r\n" in head.replace("Authorization", "authorization")


def test_every_preset_for_a_server_that_is_not_the_vendors_own_has_recorded_answers() -> None:
    of_vendors = {"openai", "gemini"}
    assert {path.stem for path in RECORDED.glob("*.json")} == set(presets()) - of_vendors
    for path in RECORDED.glob("*.json"):
        assert json.loads(path.read_text())["source"]


def filtered(pieces: list[str]) -> str:
    thoughts = ThoughtFilter("think")
    ends = [*[False] * (len(pieces) - 1), True]
    return "".join([thoughts.without(piece, is_last=end) for piece, end in zip(pieces, ends, strict=True)])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<think>\nhm\n</think>\n\nYes.", "Yes."),
        ("\n<think></think>Yes.", "Yes."),
        ("Yes <think>no</think>.", "Yes <think>no</think>."),
        ("<think>hm</think>Yes <think>no</think>.", "Yes <think>no</think>."),
        ("<thinking> is a word", "<thinking> is a word"),
        ("<think>cut off by the limit", ""),
        ("<thi", "<thi"),
        ("", ""),
    ],
)
def test_thoughts_are_left_out_only_at_the_beginning_and_wherever_the_pieces_are_cut(text: str, shown: str) -> None:
    assert filtered([text]) == shown
    assert filtered([*text, ""]) == shown
    for cut in range(len(text)):
        assert filtered([text[:cut], text[cut:]]) == shown


@settings(max_examples=500)
@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "th", "ink>", " ", "\n", "a"]), max_size=12))
def test_no_cut_of_an_answer_changes_what_is_shown(pieces: list[str]) -> None:
    assert filtered(["".join(pieces)]) == filtered([*pieces, ""])
