"""The number of a version has one spelling, wherever it is read."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from mlflow_project.commands.main import build
from mlflow_project.domain.release import version_number
from mlflow_project.errors import InvalidData

MALFORMED = ["0001", "0", "-1", "+1", "1_0", " 1", "1.0", "٣", "²", "", "one", "9" * 40]
COMMANDS = [
    ("promote", "qa", "--to", "Production", "--version"),
    ("approve", "qa", "--version"),
    ("evaluate", "qa", "--version"),
    ("gate", "qa", "--version"),
    ("rollback", "qa", "--to"),
    ("diff", "qa", "1"),
]


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_version_is_none(text: str) -> None:
    with pytest.raises(InvalidData, match="whole number"):
        version_number(text)


def test_a_version_is_its_digits() -> None:
    assert [version_number(text) for text in ("1", "10", "120")] == [1, 10, 120]


@pytest.mark.parametrize("head", ["sha256:12", "5d41", "sha256:" + "G" * 64])
def test_a_head_that_is_no_digest_is_wrong_usage(head: str) -> None:
    done = CliRunner().invoke(build(), ["ledger", "verify", "--head", head])
    assert done.exit_code == 2
    assert "is not a digest" in done.output


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_every_command_refuses_a_malformed_version_as_wrong_usage(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(build(), [*command, "0001"])
    assert done.exit_code == 2
    assert "0001" in done.output
