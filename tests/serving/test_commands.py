"""`switchyard ask` and `switchyard keys`, as people type them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.serving.conftest import Host
from tests.serving.snapshots import Snapshots, host, released

__all__ = ["host", "released"]


def switchyard(host: Host, *words: str) -> subprocess.CompletedProcess[str]:
    env = {
        **host.env,
        "SWITCHYARD_API_URL": f"http://127.0.0.1:{host.port}",
        "SWITCHYARD_API_KEYS_FILE": str(host.folder / "keys-by-hand.json"),
    }
    command = [str(Path(sys.executable).parent / "switchyard"), *words]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)


def test_ask_says_the_answer_and_the_release(host: Host, released: Snapshots) -> None:
    released.seal("asked", "one")
    released.point("asked", 1)
    host.serves("asked", 1)
    context = "A gate decides, on evidence, whether an alias may move."
    told = switchyard(host, "ask", "asked", "What does a gate decide?", "--context", context, "--json")
    assert told.returncode == 0, told.stderr
    answer = json.loads(told.stdout)
    assert (answer["release"], answer["text"]) == ("asked/1", context)
    assert answer["citations"][0]["end"] == len(context)


def test_ask_ends_with_the_exit_code_of_its_error(host: Host, released: Snapshots) -> None:
    assert switchyard(host, "ask", "nobody", "why?").returncode == 2
    gone = switchyard(Host(host.folder), "ask", "asked", "why?")
    assert gone.returncode == 3
    assert "make up" in gone.stderr


def test_a_key_is_shown_once_and_revoked_by_its_id(host: Host) -> None:
    made = json.loads(switchyard(host, "keys", "create", "anna", "--role", "call", "--json").stdout)
    assert made["key"].startswith(f"sy_{made['id']}_")
    listed = switchyard(host, "keys", "list", "--json").stdout
    assert made["key"] not in listed
    assert [key["owner"] for key in json.loads(listed)] == ["anna"]
    assert json.loads(switchyard(host, "keys", "revoke", made["id"], "--json").stdout)["revoked"]
    assert switchyard(host, "keys", "revoke", "nothing").returncode == 2
    assert switchyard(host, "keys", "create", "anna", "--role", "king").returncode == 2
