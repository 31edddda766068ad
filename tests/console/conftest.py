"""A console over the session's stack, with something live in it, and people's keys for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import httpx
import pytest

from mlflow_project.api_keys import KeyFile
from mlflow_project.promotion.promote import promote
from mlflow_project.settings import ConsoleSettings, KeySettings, load
from tests.conftest import RunningStack
from tests.serving.conftest import Releases

HOSTILE = "</pre><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">\u202egnp.exe"


@dataclass(frozen=True)
class Console:
    """The console's address; a prompt with versions 1, 2 (live) and 3 (sealed, with hostile texts); and the released
    parts."""

    url: str
    name: str
    releases: Releases
    keys: KeyFile

    def key(self, *roles: str) -> str:
        """A new key of a person with these roles."""
        return self.keys.create(f"person-{uuid4().hex[:6]}", roles)[0]

    @contextmanager
    def signed_in(self, *roles: str) -> Iterator[httpx.Client]:
        """A client that is signed in."""
        with httpx.Client(base_url=self.url, timeout=20, follow_redirects=True) as client:
            client.post("/sign-in", data={"key": self.key(*roles)}).raise_for_status()
            yield client


@pytest.fixture(scope="session")
def console(stack: RunningStack) -> Console:
    released, name = Releases(), f"console-{uuid4().hex[:6]}"
    first = released.seal(name, "Answer in one sentence.")
    promote(released.parts, name, first.version, "Production", "user:test", "the first")
    second = released.seal(name, "Answer in two sentences.", champion=first)
    promote(released.parts, name, second.version, "Production", "user:test", HOSTILE)
    released.seal(name, f"Answer in three sentences. {HOSTILE}", champion=second)
    return Console(load(ConsoleSettings).console_url, name, released, KeyFile(load(KeySettings).api_keys_file))
