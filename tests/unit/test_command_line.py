"""The command line as a stranger meets it: how fast it starts, what its help says, how a shell completes it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from mlflow_project import __version__
from mlflow_project.commands.main import MODULES, build

SWITCHYARD = str(Path(sys.executable).with_name("switchyard"))
PYTHON_TYPES = re.compile(
    r"<(str|int|float|bool|list|dict|tuple|[a-z]+ range)\b|NoneType|Traceback|pydantic|typer|Click"
)


def costs_at_most(seconds: float, *arguments: str) -> bool:
    """Whether one of three runs takes at most so much processor time: a busy machine adds to it."""

    def once() -> float:
        process = os.posix_spawn(
            SWITCHYARD,
            [SWITCHYARD, *arguments],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)],
        )
        _, status, used = os.wait4(process, 0)
        assert status == 0
        return used.ru_utime + used.ru_stime

    return any(once() <= seconds for _ in range(3))


def all_commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*words, name)
        if hasattr(command, "commands"):
            yield from all_commands(command, (*words, name))


def test_the_version_is_printed_in_a_sixth_of_a_second_of_processor_time() -> None:
    assert costs_at_most(0.15, "--version")


def test_help_costs_less_than_a_second_of_processor_time() -> None:
    assert costs_at_most(1.0, "--help")
    assert costs_at_most(1.0, "promote", "--help")


def test_a_command_ends_without_a_last_collection_of_all_that_it_imported() -> None:
    program = (
        "import atexit, gc, sys; atexit.register(lambda: print(gc.get_freeze_count(), file=sys.stderr)); "
        "from mlflow_project.commands.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True)
    assert int(done.stderr) > 1_000, "a collection of MLflow and pandas takes seconds after the result was shown"


def test_the_version_is_an_option_of_the_program() -> None:
    done = CliRunner().invoke(build(), ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"switchyard {__version__}\n")


def test_each_module_adds_the_commands_that_the_table_says() -> None:
    for module, commands in MODULES.items():
        assert set(get_command(build(commands[0])).commands) == set(commands), module  # type: ignore[attr-defined]
    assert set(get_command(build()).commands) == {name for names in MODULES.values() for name in names}  # type: ignore[attr-defined]


@pytest.mark.parametrize("words", [(), *all_commands(get_command(build()))], ids=" ".join)
def test_the_help_of_each_command_is_plain(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(build(), [*words, "--help"], env={"COLUMNS": "100"})
    assert done.exit_code == 0
    assert not PYTHON_TYPES.search(done.stdout), done.stdout
    summary = done.stdout.splitlines()[2]
    assert summary.strip()[0].isupper(), summary
    assert summary.rstrip().endswith((".", "`.")) or len(summary) > 70, summary


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["promote", "qa", "--version", "x", "--to", "Production"], "such as 12; 'x' is not."),
        (["promote", "qa/0002", "--to", "Production"], "such as 12; '0002' is not."),
        (["promote", "qa/2"], "Missing option '--to'"),
        (["evaluate", "qa/1", "--budget", "much"], "'much' is not a number from 0 on"),
        (["evaluate", "qa/1", "--at-once", "0"], "'0' is not a whole number from 1 on"),
        (["drift", "qa/2"], "This command takes a name without a version: qa."),
        (["ask", "qa/2", "why?"], "The server answers by alias"),
        (["promot"], "No such command 'promot'. Did you mean 'promote', 'rollout'?"),
    ],
)
def test_wrong_usage_is_said_in_plain_words_with_exit_code_2(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(build(), arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert not PYTHON_TYPES.search(done.output)


@pytest.mark.parametrize(
    ("shell", "environment"),
    [
        ("bash", {"COMP_WORDS": "switchyard prom", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "switchyard prom"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "switchyard prom", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_a_shell_completes_commands(shell: str, environment: dict[str, str]) -> None:
    asked = {"_SWITCHYARD_COMPLETE": f"complete_{shell}", **environment}
    done = CliRunner().invoke(build(), [], env=asked, prog_name="switchyard")
    assert "promote" in done.stdout
    assert "rollback" not in done.stdout
