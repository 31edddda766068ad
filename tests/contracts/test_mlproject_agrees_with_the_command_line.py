"""`mlflow run . -e NAME` leads to a command that exists, with parameters that the command takes."""

import re
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from mlflow_project.commands.main import build
from mlflow_project.commands.mlproject import OPTION

ROOT = Path(__file__).parents[2]
ENTRY_POINTS = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]


def test_the_entry_points_are_the_promised_ones() -> None:
    assert set(ENTRY_POINTS) == {"demo", "prepare", "train", "evaluate", "fine_tune", "promote", "rollback"}


@pytest.mark.parametrize("name", sorted(set(ENTRY_POINTS) - {"demo"}))
def test_an_entry_point_calls_a_command_with_options_that_it_has(name: str) -> None:
    entry = ENTRY_POINTS[name]
    words = entry["command"].split("commands.mlproject ")[1].split()
    command = get_command(build()).commands[words[0]]  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options | {OPTION}
    assert set(re.findall(r"{(\w+)}", entry["command"])) == set(entry["parameters"])


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("promote", "fail"),
        ("rollback", "fail"),
        ("fine_tune", "fail"),
        ("prepare", "log"),
        ("train", "log"),
        ("evaluate", "log"),
    ],
)
def test_a_refusal_fails_where_traffic_was_to_move(name: str, default: str) -> None:
    assert ENTRY_POINTS[name]["parameters"]["on_refusal"]["default"] == default


@pytest.mark.parametrize("name", sorted(ENTRY_POINTS))
def test_the_readme_explains_each_entry_point(name: str) -> None:
    assert f"-e {name}" in (ROOT / "README.md").read_text()
