"""Set-up and doctor on machines that lack something: PATH and cache are made up, the tools and files are real."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_project.errors import InvalidData, Unavailable
from stack.environment import make_environment
from stack.layout import JAR_LIST, jar_folder, minio_binary
from stack.minio_build import build_minio
from stack.progress import Progress, elapsed
from stack.setup import TEST_GROUPS
from stack.spark_jars import fetch_jars, read_pins, verify
from stack.tools import Tools
from tests.conftest import ROOT


def stack_command(word: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run with an empty cache and whatever else the machine is to look like."""
    own = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": os.environ["PATH"], **environment}
    return subprocess.run(
        [sys.executable, "-m", "stack", word], cwd=ROOT, env=own, capture_output=True, text=True, timeout=60
    )


def program(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    path.chmod(0o755)
    return path


def test_without_java_and_go_both_are_named_and_nothing_is_begun(tmp_path: Path) -> None:
    done = stack_command("setup", tmp_path, PATH=str(tmp_path))
    assert done.returncode == 2
    assert "java: found none that runs, wanted 17 or newer. Install" in done.stderr
    assert "go: found none that runs" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "cache").exists()


def test_java_11_is_too_old(tmp_path: Path) -> None:
    program(tmp_path / "bin", "java", 'openjdk version "11.0.2" 2019-01-15')
    done = stack_command("setup", tmp_path, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert done.returncode == 2
    assert 'found openjdk version "11.0.2"' in done.stderr


def test_a_java_home_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    done = stack_command("doctor", tmp_path, JAVA_HOME="/nowhere")
    assert "mend JAVA_HOME, which is /nowhere" in done.stdout


def test_an_old_go_is_too_old(tmp_path: Path) -> None:
    program(tmp_path / "bin", "go", "go version go1.19.8 linux/amd64")
    done = stack_command("doctor", tmp_path, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert done.returncode == 2
    assert "go1.19.8" in done.stdout
    assert "or newer. Install Go" in done.stdout


def test_a_cache_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    done = stack_command("setup", tmp_path)
    assert done.returncode == 2
    assert "set XDG_CACHE_HOME" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    tools = Tools(tmp_path)
    for name, part in (
        ("minio", build_minio),
        ("jars", fetch_jars),
    ):
        assert part(Progress(name), tools).startswith("already there")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_build_leaves_nothing_that_looks_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    program(tmp_path / "bin", "go", "No space left on device").write_text(
        "#!/bin/sh\necho No space left on device\nexit 1\n"
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(Unavailable, match="free some and run again"):
        build_minio(Progress("minio"), Tools(tmp_path / "logs"))
    assert not minio_binary().exists()


def test_an_interrupted_download_leaves_no_jar_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tools = Tools(tmp_path / "logs")
    tools.interrupt()
    with pytest.raises(Unavailable, match="interrupted"):
        fetch_jars(Progress("jars"), tools)
    assert not jar_folder().exists()
    assert list(jar_folder().parent.iterdir()) == []


def test_the_cached_jars_are_exactly_the_pinned_ones() -> None:
    pinned = read_pins(JAR_LIST.read_text())
    verify(jar_folder(), pinned)
    assert len(list(jar_folder().iterdir())) == len(pinned) == 44


def test_a_changed_jar_is_named(tmp_path: Path) -> None:
    (tmp_path / "a-1.jar").write_bytes(b"not what was pinned")
    with pytest.raises(InvalidData, match="g:a:1 is not the pinned one"):
        verify(tmp_path, {"g:a:1": hashlib.sha256(b"what was pinned").hexdigest()})


def test_the_environment_says_that_it_holds_the_locks(tmp_path: Path) -> None:
    assert make_environment(TEST_GROUPS, Progress("environment"), Tools(tmp_path)).startswith("already there")


@pytest.mark.parametrize(("seconds", "words"), [(0.44, "0.4 s"), (42.4, "42 s"), (187, "3 min 07 s")])
def test_elapsed_time_is_readable(seconds: float, words: str) -> None:
    assert elapsed(seconds) == words


def test_make_help_has_a_line_for_each_target_that_people_type() -> None:
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    wanted = {"help", "demo", "test", "doctor", "up", "status", "logs", "down", "clean", "check", "test-long", "bench"}
    assert wanted <= {line.split()[1] for line in said.splitlines()}
