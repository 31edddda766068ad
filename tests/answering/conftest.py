"""The simulated provider, and one event loop a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.answering.releases import OPENED
from tests.provider.fixtures import provider_server

__all__ = ["provider_server"]

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]


@pytest.fixture
def run() -> Iterator[Run[Any]]:
    """Runs a coroutine to its end, all of one test's in one event loop."""
    with asyncio.Runner() as runner:
        yield runner.run
        while OPENED:
            runner.run(OPENED.pop().aclose())


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A folder to write to."""
    return tmp_path / "scratch"
