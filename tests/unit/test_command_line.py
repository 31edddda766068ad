"""The command line as a stranger meets it: how fast it starts, what its help says, how a shell completes it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from mlflow_project import __version__
from mlflow_project.commands.main import MODULES, build
from tests.processor_time import ENVIRONMENT, costs_at_most

PYTHON_TYPES = re.compile(
    r"<(str|int|float|bool|list|dict|tuple|[a-z]+ range)\b|NoneType|Traceback|pydantic|typer|Click"
)


NOBODY = {
    "SWITCHYARD_S3_ENDPOINT": "http://127.0.0.1:9",
    "SWITCHYARD_API_URL": "http://127.0.0.1:9",
    "SWITCHYARD_S3_ACCESS_KEY": "-",
    "SWITCHYARD_S3_SECRET_KEY": "-",
    "SWITCHYARD_LOG_LEVEL": "ERROR",
}
"""A store and a server that nobody answers at: a command loads everything that it needs, and ends with exit code 3."""
CLIENT_COMMANDS = [("live",), ("history", "qa"), ("ask", "qa", "Who?")]


def all_commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*words, name)
        if hasattr(command, "commands"):
            yield from all_commands(command, (*words, name))


def test_the_version_is_printed_in_a_sixth_of_a_second_of_processor_time() -> None:
    assert costs_at_most(0.15, "--version", env=NOBODY)


def test_help_costs_less_than_half_a_second_of_processor_time() -> None:
    assert costs_at_most(0.8, "--help", env=NOBODY)
    assert costs_at_most(0.5, "promote", "--help", env=NOBODY)


@pytest.mark.parametrize("arguments", CLIENT_COMMANDS, ids=" ".join)
def test_a_command_that_only_asks_costs_half_a_second_of_processor_time(arguments: tuple[str, ...]) -> None:
    assert costs_at_most(0.5, *arguments, env=NOBODY, exit_code=3)


@pytest.mark.parametrize("arguments", CLIENT_COMMANDS, ids=" ".join)
def test_a_command_that_only_asks_loads_no_large_library(arguments: tuple[str, ...]) -> None:
    program = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules)); "
        "from mlflow_project.commands.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, env={**ENVIRONMENT, **NOBODY}
    )
    assert (done.returncode, "does not answer" in done.stderr) == (3, True), done.stderr
    large = {"boto3", "botocore", "mlflow", "numpy", "pandas", "pyarrow", "httpx", "yaml", "opentelemetry"}
    assert large.isdisjoint(done.stdout.split()), large.intersection(done.stdout.split())


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
