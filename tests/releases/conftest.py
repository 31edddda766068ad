"""A registry and a store that are real, and for each test a ledger and a prompt of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.release import Manifest, Message, ProviderChoice, Release
from mlflow_project.domain.verdict import Scores, Verdict
from mlflow_project.ledger import Ledger, NameState
from mlflow_project.parts import Parts
from mlflow_project.promotion.seal_release import record_verdict
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.rules.content import content_of, manifest_of
from mlflow_project.settings import StoreSettings, load

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Yard:
    """What a test works with: the parts, on a ledger of its own, and one prompt `name` of its own."""

    parts: Parts
    name: str
    env: dict[str, str]

    def register(self, text: str = "{{question}}", **parameters: Any) -> int:
        """A new version of the prompt."""
        provider = ProviderChoice("extractive", "extractive-1", parameters)
        manifest = Manifest("prompt", self.name, (Message("user", text),), provider)
        return self.parts.registry.create_prompt_version(self.name, *content_of(manifest))

    def release(self, version: int) -> Release:
        manifest = manifest_of(self.parts.registry.version(self.name, version))
        return Release(version, manifest_digest(manifest), manifest)

    def seal(
        self,
        version: int,
        *,
        protected: bool = False,
        outcome: Any = "accepted",
        scores: Scores | None = None,
        guard: Mapping[str, Any] | None = None,
    ) -> LedgerRecord:
        """What the gate does when it accepts."""
        live = self.state.live.get("Production")
        return record_verdict(
            self.parts,
            release=self.release(version),
            verdict=Verdict(outcome, ("token_f1: 0.2 is below its floor 0.5",)),
            policy_digest="sha256:0",
            champion=self.release(live.version) if live else None,
            runs={"candidate": scores.run if scores else "run", "champion": None},
            scores={"candidate": scores.file, "champion": None} if scores else None,
            cases={"digest": "sha256:1", "count": 3},
            who="user:gate",
            protected=protected,
            guard=guard,
        )

    def sealed(self, text: str = "{{question}}", **parameters: Any) -> int:
        """A new version, sealed against what is live."""
        version = self.register(text, **parameters)
        self.seal(version)
        return version

    @property
    def state(self) -> NameState:
        return self.parts.ledger.state().of(self.name)

    def alias(self, alias: str = "Production") -> int | None:
        entry = self.parts.registry.entry(self.name)
        return entry.aliases.get(alias) if entry is not None else None

    def command(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """The command line, in a process of its own."""
        return self.python("from mlflow_project.commands.main import main; main()", *arguments, **env)

    def python(self, code: str, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """A line of Python in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=ROOT,
            env={**os.environ, **self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **env: str) -> tuple[int, str]:
        """Run a command to its end: exit code, and all it said."""
        process = self.command(*arguments, **env)
        out, err = process.communicate(timeout=60)
        return process.returncode, out + err


def own_ledger_bucket() -> str:
    return f"ledger-{uuid4().hex[:12]}"


@pytest.fixture
def store(minio: Any) -> ObjectStore:
    """The object store, with a ledger bucket of this test's own, under object lock."""
    bucket = own_ledger_bucket()
    made = ObjectStore(load(StoreSettings, ledger_bucket=bucket))
    made.ensure_bucket(bucket, locked=True)
    return made


@pytest.fixture
def yard(registry_server: Any, store: ObjectStore) -> Iterator[Yard]:
    """The parts on a ledger of their own, and a prompt name that nobody else has."""
    bucket = store.settings.ledger_bucket
    coordination = f"coordination-{bucket[7:]}"
    store = ObjectStore(store.settings.model_copy(update={"coordination_bucket": coordination}))
    store.ensure_bucket(coordination, versioned=False)
    parts = replace(Parts.connect(), store=store, ledger=Ledger(store), receipt_timeout=1.0)
    env = {
        "SWITCHYARD_LEDGER_BUCKET": bucket,
        "SWITCHYARD_COORDINATION_BUCKET": coordination,
        "SWITCHYARD_RECEIPT_TIMEOUT": "1",
    }
    yield Yard(parts, f"qa-{uuid4().hex[:8]}", env)
    parts.registry.close()
