"""What the README tells people to type is there: make targets, `switchyard` commands, files of the annotated tree."""

import re
from pathlib import Path

from typer.main import get_command

from mlflow_project.commands.main import build

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_each_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)\b", README)) - {"sure"} <= targets


def test_each_switchyard_command_of_the_readme_exists() -> None:
    commands = set(get_command(build()).commands)  # type: ignore[attr-defined]
    typed = re.findall(r"(?:`|^)(?:\$ )?switchyard ([a-z]+)", README, re.MULTILINE)
    assert set(typed) <= commands


def test_each_folder_of_the_annotated_tree_exists() -> None:
    tree = README.split("## Where things are")[1].split("```")[1]
    for name in re.findall(r"^([\w./]+/?)\s{2,}", tree, re.MULTILINE):
        assert (ROOT / name).exists(), name


def test_the_pinned_commands_are_all_there() -> None:
    pinned = (
        "doctor live prepare sql index register evaluate gate approve diff promote rollback history at verify ledger "
        "repair reconcile ask search"
    )
    assert set(pinned.split()) <= set(get_command(build()).commands)  # type: ignore[attr-defined]


def test_each_place_that_answers_a_newcomer_s_question_exists() -> None:
    answers = re.findall(r"^\| (?:a|an|the) [^|]+ \| (.+) \|$", README.split("| where is ... |")[1], re.MULTILINE)
    places = [place for answer in answers for place in re.findall(r"`([a-z_/]+(?:\.py|/))`", answer)]
    assert len(answers) >= 12
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_each_situation_of_the_comparison_names_a_command_of_ours() -> None:
    rows = README.split("## Five situations")[1].split("\n\n")[1].splitlines()[2:]
    commands = [re.findall(r"`switchyard ([a-z]+)", row.rsplit("|", 2)[1]) for row in rows]
    assert len(commands) == 5
    assert all(commands)


def test_each_page_that_the_readme_links_to_exists() -> None:
    assert [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not (ROOT / link).exists()] == []
