"""What the guide names is there: commands and their options, make targets, settings and defaults, scorers, reasons,
record types, messages. A page that falls behind the code is found here and not by a reader."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic_settings import BaseSettings
from typer.main import get_command

from mlflow_project.adapters.providers.extractive import FLOOR
from mlflow_project.commands.main import build
from mlflow_project.domain.record import RecordType
from mlflow_project.rules.chunking.records import Reason
from mlflow_project.rules.quoting import Weights
from mlflow_project.rules.scorers import FAILED, SCORERS
from mlflow_project.settings import ALL_SETTINGS
from stack.addresses import StackSettings
from stack.ingest.processes import IngestPorts

ROOT = Path(__file__).parents[2]
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "guide").glob("*.md")}
COMMANDS: dict[str, Any] = get_command(build()).commands  # type: ignore[attr-defined]
PROGRAM_OPTIONS = {"--help", *(option for parameter in get_command(build()).params for option in parameter.opts)}
SETTINGS: tuple[type[BaseSettings], ...] = (*ALL_SETTINGS, StackSettings, IngestPorts)
NAMED_SETTING = re.compile(r"SWITCHYARD_[A-Z0-9_]+")
ROOMS = ("mlflow_project", "serving", "console", "spark_jobs", "stack")
SOURCES = " ".join(file.read_text() for room in ROOMS for file in sorted((ROOT / room).rglob("*.py")))
QUOTED = re.compile(r'(?:Symptom: |^|\. |and )"([^"]{8,})"', re.MULTILINE)


def rows(page: str, heading: str) -> dict[str, list[str]]:
    """The rows of the first table below a line that holds these words: name in backticks -> the other cells."""
    table = PAGES[page].split(heading, 1)[1]
    found: dict[str, list[str]] = {}
    for line in table.splitlines():
        if line.startswith("| `"):
            first, *others = [cell.strip() for cell in line.strip("|").split(" | ")]
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", first), others)
        elif found:
            break
    return found


def typed_commands() -> Iterator[tuple[str, str]]:
    for page, text in PAGES.items():
        code = re.findall(r"^(switchyard .*)$", text, re.MULTILINE) + re.findall(r"`(switchyard [^`\n]*)`", text)
        yield from ((page, command) for command in code)


@pytest.mark.parametrize(("page", "command"), sorted(set(typed_commands())))
def test_a_command_in_the_guide_exists_with_its_options(page: str, command: str) -> None:
    _, name, *rest = command.split()
    if name.startswith("--"):
        assert name in PROGRAM_OPTIONS
        return
    assert name in COMMANDS
    found = COMMANDS[name]
    if hasattr(found, "commands") and rest:
        assert rest[0] in found.commands
        found = found.commands[rest[0]]
    options = {option for parameter in found.params for option in parameter.opts}
    asked = set(re.findall(r"(?<= )--[a-z-]+", re.sub(r'"[^"]*"', "", command)))
    assert name == "prepare" or asked <= options


def test_each_make_target_in_the_guide_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {target for text in PAGES.values() for target in re.findall(r"`make ([a-z-]+)", text)}
    assert named <= targets


def test_each_setting_in_the_guide_exists() -> None:
    names = {f"SWITCHYARD_{field}".upper() for kind in SETTINGS for field in kind.model_fields}
    named = {name for text in PAGES.values() for name in NAMED_SETTING.findall(text)}
    assert named - names <= set(NAMED_SETTING.findall(SOURCES))


def test_the_defaults_of_settings_are_those_of_the_code() -> None:
    fields = {f"SWITCHYARD_{name}".upper(): field for kind in SETTINGS for name, field in kind.model_fields.items()}
    for name, (_, default) in rows("providers", "## Where settings come from").items():
        said = default.strip("`")
        if name in fields and re.fullmatch(r"[\d.]+|qa|snapshot|http://\S+", said) and "," not in default:
            assert str(fields[name].default).removesuffix(".0") == said, name


def test_the_defaults_of_the_extractive_provider_are_those_of_the_code() -> None:
    said = {name: float(cells[-1]) for name, cells in rows("providers", "## extractive").items()}
    weights = {f"{name}_weight": default for name, default in vars(Weights()).items()}
    assert said == {"sentences": 1.0, "floor": FLOOR, **weights}


def test_every_scorer_has_its_row() -> None:
    assert set(rows("evaluation", "| scorer |")) == {*SCORERS, FAILED}


def test_every_type_of_record_has_its_row() -> None:
    assert set(rows("ledger", "| type |")) == set(get_args(RecordType))


def test_the_reasons_for_quarantine_exist() -> None:
    assert set(rows("preparing-text", "| reason |")) <= {str(reason) for reason in Reason}


def test_a_message_that_troubleshooting_quotes_is_one_of_ours() -> None:
    code = re.sub(r'"\s*f?"', "", SOURCES)
    for message in QUOTED.findall(PAGES["troubleshooting"]):
        for part in re.split(r"…|http://\S+", message):
            assert part.strip(" .") in code, message
