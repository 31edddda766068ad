"""The sides of the gateway bench: the provider, the relays, the peers, and Switchyard with everything on.

Everything on: a key is demanded, texts are masked and logged, metrics and traces go out over OTLP (the bench's provider
takes them, as it takes anything), limits hold.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.loading import ROOT, Side, built, process
from bench.peers import MODEL, PEERS, CannotBeInstalled, Peer
from mlflow_project.adapters.retrieval import embeddings, index_builder, index_store
from mlflow_project.api_keys import KeyFile
from mlflow_project.domain.release import KnowledgeBase, ProviderChoice, Retrieval
from mlflow_project.parts import Parts
from stack.ports import free_port
from tests.serving.conftest import Host, Releases, until
from tests.serving.snapshots import Snapshots

QUESTION = "Why does a gate decide on evidence, and who moves the alias?"
MESSAGES = {"messages": [{"role": "user", "content": QUESTION}]}
CHAT = {"model": MODEL, **MESSAGES}
PROMPTS = {"bench-plain": None, "bench-words": Retrieval(5, 1.0, 0.0), "bench-hybrid": Retrieval(5, 1.0, 1.0)}
PASSAGE = 700
RELAYS = {"raw relay": "raw", "FastAPI + httpx": "fastapi_httpx", "FastAPI + httpx-aiohttp": "fastapi_aiohttp"}


def provider(running: ExitStack, folder: Path, latency_ms: float) -> Side:
    """The provider in Go."""
    port = free_port()
    command = [str(built("provider")), "-address", f"127.0.0.1:{port}", "-latency", f"{latency_ms}ms"]
    started = running.enter_context(process(command, folder / "provider.log"))
    return _answers(Side("provider", f"http://127.0.0.1:{port}/v1/chat/completions", started.pid, CHAT))


def relays(running: ExitStack, folder: Path, to: str, *names: str) -> Iterator[Side]:
    """Relays as people write them, each a worker of uvicorn: all of them, or those that are named."""
    for name in names or RELAYS:
        app = RELAYS[name]
        port = free_port()
        options = ["--port", str(port), "--loop", "uvloop", "--no-access-log", "--log-level", "warning"]
        command = [sys.executable, "-m", "uvicorn", f"bench.relays:{app}", *options]
        started = running.enter_context(process(command, folder / f"{app}.log", RELAY_TO=to))
        yield _answers(Side(name, f"http://127.0.0.1:{port}/", started.pid, CHAT))


def peers(running: ExitStack, folder: Path, to: str, missing: dict[str, str]) -> Iterator[Side]:
    """Gateways that people install. The reason why one is missing goes into `missing`."""
    for peer in PEERS:
        try:
            yield _started(peer, running, folder, to)
        except (CannotBeInstalled, AssertionError) as error:
            missing[peer.name] = str(error)


def _started(peer: Peer, running: ExitStack, folder: Path, to: str) -> Side:
    port = free_port()
    command = peer.command(folder, to.removesuffix("/v1/chat/completions"), port)
    started = running.enter_context(process(command, folder / f"{peer.name}.log", **peer.env))
    return _answers(Side(peer.name, f"http://127.0.0.1:{port}{peer.path}", started.pid, {**peer.body, **MESSAGES}))


def over_a_snapshot(running: ExitStack, folder: Path, to: str, **settings: str) -> Side:
    """A server of ours that needs no stack: its releases are on disk."""
    folder.mkdir(exist_ok=True)
    snapshots = Snapshots(folder / "snapshots")
    release = snapshots.seal("bench-plain", provider=ProviderChoice("openai", MODEL, {"tries": 1}))
    snapshots.point("bench-plain", release.version)
    key, _ = KeyFile(folder / "keys.json").create("bench", ("call", "choose-alias"))
    host = snapshots.host(**_everything_on(folder, to), **settings)
    running.callback(host.stop)
    host.start_server()
    return _answers(_side(host, key, "bench-plain"))


class Switchyard:
    """Hosts of ours over the same three prompts, and the key that they ask for."""

    def __init__(self, running: ExitStack, folder: Path, to: str) -> None:
        self._running, self._folder, self._to = running, folder, to
        self.key, _ = KeyFile(folder / "keys.json").create("bench", ("call", "choose-alias"))
        releases = Releases()
        self.registry_uri = releases.registry.uri
        base = _knowledge_base(releases.parts, folder)
        choice = ProviderChoice("openai", MODEL, {"tries": 1})
        self.sealed = {
            name: releases.seal(name, provider=choice, retrieval=how, knowledge_base=base if how else None)
            for name, how in PROMPTS.items()
        }
        for name, release in self.sealed.items():
            releases.point(name, release.version)

    def host(self, name: str, **settings: str) -> tuple[Host, float]:
        """A host with a worker, and the seconds from the server's start until it was ready."""
        host = Host(self._folder / name, **_everything_on(self._folder, self._to), **settings)
        host.http.headers["Authorization"] = f"Bearer {self.key}"
        self._running.callback(host.stop)
        host.start_follower()
        until(lambda: (host.folder / "snapshot.json").exists(), "the follower has written a snapshot", 60)
        began = time.monotonic()
        host.start_server()
        took = time.monotonic() - began
        for prompt, release in self.sealed.items():
            host.serves(prompt, release.version)
        return host, took

    def side(self, host: Host, prompt: str = "bench-plain", **more: Any) -> Side:
        """A prompt of a host, by OpenAI's protocol."""
        return _side(host, self.key, prompt, **more)


def _everything_on(folder: Path, to: str) -> dict[str, str]:
    return {
        "LLM_API_URL": to,
        "OTEL_EXPORTER_OTLP_ENDPOINT": to.removesuffix("/v1/chat/completions"),
        "SWITCHYARD_API_KEYS_FILE": str(folder / "keys.json"),
        "SWITCHYARD_LOG_TEXTS": "true",
        "SWITCHYARD_LIMIT_REQUESTS": "10000000/hour",
        "SWITCHYARD_LIMIT_TOKENS": "10000000000/hour",
        "SWITCHYARD_POLL_MS": "100",
    }


def _side(host: Host, key: str, prompt: str, **more: Any) -> Side:
    url = f"http://127.0.0.1:{host.port}/v1/chat/completions"
    assert host.server is not None, "the host was started"
    return Side("switchyard", url, host.server.pid, {**CHAT, "model": prompt, **more}, key)


def _knowledge_base(parts: Parts, folder: Path) -> KnowledgeBase:
    """This project's guide in passages, as an index with vectors."""
    rows = [row for page in sorted((ROOT / "docs" / "guide").glob("*.md")) for row in _passages(page)]
    vectors = embeddings.embed([row["text"] for row in rows])
    index_builder.build(folder / "index", zip(rows, vectors.tolist(), strict=True))
    table = f"s3://bench/{time.time_ns()}"
    said = {"table": table, "delta_version": 0, "specification": {"passage": PASSAGE}}
    return KnowledgeBase(table, 0, index_store.publish(parts.store, folder / "index", said))


def _passages(page: Path) -> Iterator[dict[str, Any]]:
    text = page.read_text(encoding="utf-8")
    for start in range(0, len(text), PASSAGE):
        piece = text[start : start + PASSAGE]
        named = {"chunk_id": f"{page.stem}-{start}", "document_id": page.stem, "title": page.stem}
        yield {**named, "text": piece, "start": start, "end": start + len(piece), "filters": {}}


def memory_mb(pid: int) -> float:
    """What a process has resident."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def _answers(side: Side) -> Side:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {side.key}"} if side.key else {})}

    def well() -> bool:
        try:
            return httpx.post(side.url, content=json.dumps(side.body), timeout=5, headers=headers).status_code == 200
        except httpx.HTTPError:
            return False

    until(well, f"{side.name} answers", 120)
    return side
