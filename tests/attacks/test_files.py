"""Files that several processes write at the same moment, and files that other users of the machine try to read."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from mlflow_project.api_keys import KeyFile
from stack.addresses import change_environment, read_environment
from stack.supervision import Supervisor
from tests.conftest import ROOT, RunningStack


def create_keys(path: Path, begin: Any) -> None:
    """What `switchyard keys create` does, again and again."""
    begin.wait()
    for number in range(20):
        KeyFile(path).create(f"owner {number}", ("call",))


def revoke_keys(path: Path, ids: list[str], begin: Any) -> None:
    """What `switchyard keys revoke` does, once for each key."""
    begin.wait()
    for key_id in ids:
        KeyFile(path).revoke(key_id)


def add_names(state: Path, prefix: str, begin: Any) -> None:
    """What `make observe` does to `stack.env`."""
    begin.wait()
    for number in range(20):
        change_environment(state, {f"{prefix}{number}": "set"})


def at_once(*tasks: tuple[Callable[..., None], tuple[Any, ...]]) -> None:
    """Run tasks in processes of their own, which begin at the same moment."""
    context = get_context("fork")
    begin = context.Event()
    processes = [context.Process(target=task, args=(*arguments, begin)) for task, arguments in tasks]
    for process in processes:
        process.start()
    begin.set()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(processes)


def test_a_revocation_counts_whoever_creates_keys_at_the_same_moment(tmp_path: Path) -> None:
    """The attacker holds a key that is about to be revoked, and has others create keys meanwhile."""
    path = tmp_path / "api-keys.json"
    ids = [KeyFile(path).create("attacker", ("call",))[1].id for _ in range(20)]
    at_once((revoke_keys, (path, ids)), (create_keys, (path,)), (create_keys, (path,)))
    keys = {key.id: key for key in KeyFile(path).all()}
    assert len(keys) == 60, "a key that was created at the same moment is lost"
    assert all(keys[key_id].revoked for key_id in ids), "a revoked key works again"


def test_a_key_file_without_its_lock_is_still_read(tmp_path: Path) -> None:
    """The attacker removes the lock beside the key file: readers need none, and the next writer makes a new one."""
    path = tmp_path / "api-keys.json"
    _, key = KeyFile(path).create("somebody", ("call",))
    (tmp_path / "api-keys.json.lock").unlink()
    assert [found.id for found in KeyFile(path).all()] == [key.id]
    assert KeyFile(path).revoke(key.id).revoked is not None


def test_nothing_in_the_stacks_credentials_file_is_lost_when_two_programs_change_it(tmp_path: Path) -> None:
    """`make up` and `make observe` at the same moment: both find their addresses in `stack.env`."""
    at_once((add_names, (tmp_path, "A_")), (add_names, (tmp_path, "B_")))
    assert len(read_environment(tmp_path)) == 40


def test_a_second_follower_on_the_same_folder_is_refused(stack: RunningStack) -> None:
    """A second `switchyard follow` by mistake: two would take turns in replacing the snapshot that workers serve."""
    command = [Path(sys.executable).with_name("switchyard"), "follow"]
    done = subprocess.run(command, env={**os.environ, **stack.env}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 4
    assert "serving/follower already" in done.stderr


def readable_by_others(folder: Path) -> list[str]:
    """The files and folders below a folder that its group or others have any right to; trusted public keys are
    public."""
    found = []
    for path in [folder, *folder.rglob("*")]:
        public = "trusted" in path.parts or path.is_socket() or path.is_symlink()
        if not public and stat.S_IMODE(path.lstat().st_mode) & 0o077:
            found.append(f"{path.relative_to(folder)} {stat.S_IMODE(path.lstat().st_mode):o}")
    return found


def test_no_other_user_can_read_what_the_stack_keeps(stack: RunningStack) -> None:
    """The attacker has an account on the machine and lists the state folder: objects, MLflow's database, the snapshot,
    indexes, logs (the process manager's, too), credentials."""
    assert (stack.state / "logs" / "supervisord.log").exists()
    assert Supervisor(stack.state).processes()
    assert readable_by_others(stack.state) == []


@pytest.mark.parametrize("command", [("live",), ("history",), ("keys", "list")])
def test_no_other_user_can_read_what_a_command_leaves_behind(
    stack: RunningStack, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """The attacker looks for what commands keep (the ledger's cache) where the user's umask lets everybody read."""
    state = tmp_path / "state"
    switchyard = Path(sys.executable).with_name("switchyard")
    done = subprocess.run(
        [switchyard, *command, "--json"],
        cwd=ROOT,
        env={**os.environ, **stack.env, "SWITCHYARD_STATE": str(state)},
        capture_output=True,
        text=True,
        umask=0o022,
    )
    assert done.returncode in (0, 2), done.stderr
    assert not state.exists() or readable_by_others(state) == []


def test_a_defects_trace_is_its_owners_alone(tmp_path: Path) -> None:
    """The attacker waits for a trace with a question in it."""
    broken = "from mlflow_project.commands import main; main.build = lambda: 1 / 0; main.main()"
    env = {**os.environ, "SWITCHYARD_STATE": str(tmp_path / "state")}
    done = subprocess.run(
        [sys.executable, "-c", broken], cwd=ROOT, env=env, capture_output=True, text=True, umask=0o022
    )
    assert done.returncode == 1, done.stderr
    assert list((tmp_path / "state" / "logs").glob("defect-*.log"))
    assert readable_by_others(tmp_path / "state") == []


@pytest.mark.parametrize(
    ("name", "value", "command"),
    [
        ("SWITCHYARD_MLFLOW_URI", "notaurl", "live"),
        ("SWITCHYARD_MLFLOW_URI", "http://", "live"),
        ("SWITCHYARD_MLFLOW_URI", "ftp://127.0.0.1:21", "live"),
        ("SWITCHYARD_MLFLOW_URI", "http://127.0.0.1:99999", "live"),
        ("SWITCHYARD_S3_ENDPOINT", "127.0.0.1:9000", "live"),
        ("SWITCHYARD_API_URL", "localhost", "live"),
    ],
)
def test_a_setting_that_is_no_web_address_is_wrong_usage(name: str, value: str, command: str, tmp_path: Path) -> None:
    """A slip of the pen in a setting: exit code 2 and a sentence that names the setting, not "unreachable"."""
    given = {"SWITCHYARD_S3_ACCESS_KEY": "a", "SWITCHYARD_S3_SECRET_KEY": "b", name: value}
    env = {**os.environ, "SWITCHYARD_STATE": str(tmp_path), **given}
    words = [Path(sys.executable).with_name("switchyard"), command]
    if name == "SWITCHYARD_API_URL":
        words = [words[0], "ask", "qa", "why?"]
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"{name}: " in done.stderr
    assert "is not a web address" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_address_is_told_without_its_password(tmp_path: Path) -> None:
    """The attacker reads the log of a CI job whose setting was wrong."""
    env = {**os.environ, "SWITCHYARD_STATE": str(tmp_path), "SWITCHYARD_S3_ACCESS_KEY": "a"}
    env |= {"SWITCHYARD_S3_SECRET_KEY": "b", "SWITCHYARD_MLFLOW_URI": "http//somebody:hunter2@mlflow:5000"}
    env |= {"SWITCHYARD_MLFLOW_BACKEND": "hunter3"}
    for words in (["-m", "stack", "up"], ["-m", "stack", "doctor", "--json"]):
        done = subprocess.run([sys.executable, *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert "hunter" not in done.stdout + done.stderr


def test_settings_that_only_one_program_reads_are_checked_before_anything_starts(tmp_path: Path) -> None:
    """Ports, patterns and times that are none: all in one message, exit code 2, nothing started."""
    wrong = {
        "SWITCHYARD_AIRFLOW_PORT": "eighty",
        "SWITCHYARD_AIRFLOW_TIMEOUT": "soon",
        "SWITCHYARD_PROMETHEUS_PORT": "0",
        "SWITCHYARD_MASK_PATTERNS": json.dumps({"ticket": "TCK-("}),
        "SWITCHYARD_MLFLOW_BACKEND": "somewhere",
    }
    env = {**os.environ, "SWITCHYARD_STATE": str(tmp_path / "state"), **wrong}
    done = subprocess.run([sys.executable, "-m", "stack", "up"], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert [name for name in wrong if name not in done.stderr] == []
    assert "Traceback" not in done.stderr
