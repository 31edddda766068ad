"""A set of examples, and a prompt to tune. Import them into the conftest of the tests that use them."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from mlflow_project.adapters.registry import Registry
from mlflow_project.domain.release import Manifest, Message, Prices, ProviderChoice
from mlflow_project.registration.register import register_manifest
from mlflow_project.rules.canonical import digest, digest_of
from mlflow_project.settings import RegistrySettings, load
from tests.conftest import RunningStack


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A set as `export_fine_tuning.py` writes it, of which no other test has one."""
    asked = [f"Question {uuid.uuid4().hex}?" for _ in range(12)]
    lines = [
        json.dumps({"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "An answer."}]})
        for text in asked
    ]
    parts = {"train": lines[:10], "validation": lines[10:11], "test": lines[11:]}
    files = {name: "".join(f"{line}\n" for line in part).encode() for name, part in parts.items()}
    for name, data in files.items():
        (tmp_path / f"{name}.jsonl").write_bytes(data)
    splits = {name: {"examples": len(parts[name]), "sha256": digest(data)} for name, data in files.items()}
    manifest = {"provider": "openai", "splits": splits, "digest": digest_of([digest(data) for data in files.values()])}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


@pytest.fixture
def prompt(registry_server: RunningStack) -> str:
    """A prompt that an OpenAI-compatible model answers."""
    provider = ProviderChoice("openai", "simulated-1", {"temperature": 0})
    manifest = Manifest(
        kind="prompt",
        name=f"tuned-{uuid.uuid4().hex[:8]}",
        template=(Message("user", "{{question}}"),),
        provider=provider,
        prices=Prices("may", 1, 2),
    )
    register_manifest(Registry(load(RegistrySettings)), manifest, "a test")
    return manifest.name
