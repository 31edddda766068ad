"""A stack that nobody uses costs next to nothing: processor time of all its processes over a minute of rest."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mlflow_project.promotion.promote import promote
from tests.conftest import own_settings, running
from tests.serving.conftest import Releases

PARTS = ("minio", "mlflow", "follower", "server", "guard", "console")
MOST_PERCENT = 3.0


@pytest.fixture
def state() -> Iterator[Path]:
    """A stack of this test's own, on which nothing else has left work behind."""
    with own_settings() as folder:
        running(folder, *PARTS)
        yield folder


def processor_seconds(state: Path) -> dict[str, float]:
    """Of each process of the stack, supervisord and its listeners included."""
    supervisor = psutil.Process(int((state / "supervisord.pid").read_text()))
    found = {}
    for process in (supervisor, *supervisor.children(recursive=True)):
        used = process.cpu_times()
        found[f"{process.pid} {' '.join(process.cmdline())[-60:]}"] = used.user + used.system
    return found


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_stack_at_rest_with_three_prompts_live_takes_three_per_cent_of_a_core(state: Path) -> None:
    released = Releases()
    for name in ("qa", "sentiment", "summary"):
        promote(released.parts, name, released.seal(name).version, "Production", "user:test")
    time.sleep(60)
    before, began = processor_seconds(state), time.monotonic()
    time.sleep(60)
    after, took = processor_seconds(state), time.monotonic() - began
    percent = {name: 100 * (seconds - before.get(name, 0.0)) / took for name, seconds in after.items()}
    assert sum(percent.values()) <= MOST_PERCENT, percent
