"""Airflow does nothing that nobody asked for: what a registration tells it, and when."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from stack.ports import free_port
from tests.conftest import ROOT, RunningStack

TEMPLATE = """---
provider: {name: lexicon, model: lexicon-1}
---
# system

Say whether the text is positive.

# user

{{question}}
"""


def register(folder: Path, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Register a new version while an Airflow is configured that does not answer: telling it leaves a sentence."""
    (folder / "v1.md").write_text(TEMPLATE + f"\n{uuid4().hex}\n")
    airflow = {
        "SWITCHYARD_AIRFLOW_URL": f"http://127.0.0.1:{free_port()}",
        "SWITCHYARD_AIRFLOW_USER": "somebody",
        "SWITCHYARD_AIRFLOW_PASSWORD": "a password",
    }
    done = subprocess.run(
        [Path(sys.executable).with_name("switchyard"), "register", str(folder), *options, "--json"],
        cwd=ROOT,
        env={**os.environ, **airflow, **settings},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert [row["created"] for row in json.loads(done.stdout)] == [True]
    return done


def test_a_registration_tells_airflow_only_when_somebody_asks_for_it(
    registry_server: RunningStack, tmp_path: Path
) -> None:
    """Somebody may register versions, and no more: without `--notify` or the setting no run starts that could promote
    them. With either, he is told what happened, and a silent Airflow undoes nothing."""
    folder = tmp_path / f"unasked-{uuid4().hex[:8]}"
    folder.mkdir()
    assert "Airflow" not in register(folder).stderr
    assert "Registered, but Airflow was not told" in register(folder, "--notify").stderr
    by_setting = register(folder, SWITCHYARD_ANNOUNCE_CANDIDATES="true")
    assert "Registered, but Airflow was not told" in by_setting.stderr
