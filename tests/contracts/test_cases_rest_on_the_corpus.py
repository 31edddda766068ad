"""The evaluation cases rest on the documentation: every quote stands in its page, every expected answer in its quote,
and policies name metrics that exist. So no edit of a page can rot the cases unnoticed."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlflow_project.evaluation.cases import groups_of, load_cases
from mlflow_project.registration.folder import read_folder
from mlflow_project.rules.gate.policy import policy_from
from mlflow_project.rules.scorers import FAILED, SCORERS
from mlflow_project.rules.scorers.words import holds

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide"
PROMPTS = sorted(path.parent for path in (ROOT / "prompts").glob("*/cases.jsonl"))
LABELS = {"positive", "neutral", "negative"}


def one_spaced(text: str) -> str:
    return " ".join(text.split())


def rows(name: str) -> list[dict[str, Any]]:
    lines = (ROOT / "prompts" / name / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


PAGES = {page.stem: one_spaced(page.read_text(encoding="utf-8")) for page in GUIDE.glob("*.md")}
CASES = rows("qa")
ANSWERABLE = [row for row in CASES if row["expected"]]
UNANSWERABLE = [row for row in CASES if not row["expected"]]


@pytest.mark.parametrize("row", ANSWERABLE, ids=lambda row: row["id"])
def test_a_case_quotes_its_page_and_expects_what_the_quote_says(row: dict[str, Any]) -> None:
    assert row["document_id"] in PAGES, f"docs/guide has no page {row['document_id']}"
    assert one_spaced(row["quote"]) in PAGES[row["document_id"]], "the quote does not stand in its page any more"
    for expected in row["expected"]:
        assert expected.lower() in row["quote"].lower(), f"{expected!r} does not stand in the quote"
        assert holds(row["quote"], expected), f"{expected!r} is cut out of the middle of a word"


def test_there_are_enough_questions_and_enough_of_them_have_no_answer() -> None:
    assert len(CASES) >= 120
    assert len(UNANSWERABLE) >= 20


def test_unanswerable_cases_say_so_and_name_no_passage() -> None:
    for row in UNANSWERABLE:
        assert "unanswerable" in row["tags"]
        assert "quote" not in row
        assert "document_id" not in row
    assert not any("unanswerable" in row["tags"] for row in ANSWERABLE)


def test_every_page_is_asked_about() -> None:
    asked = Counter(row["document_id"] for row in ANSWERABLE)
    assert {page: asked[page] for page in PAGES if asked[page] < 5} == {}


@pytest.mark.parametrize("folder", PROMPTS, ids=lambda folder: folder.name)
def test_ids_and_questions_are_unique_and_the_file_can_be_read(folder: Path) -> None:
    cases = load_cases(folder / "cases.jsonl")
    for what in ("id", "question"):
        counts = Counter(getattr(case, what).casefold() for case in cases)
        assert [value for value, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("folder", PROMPTS, ids=lambda folder: folder.name)
def test_the_templates_of_a_prompt_can_be_read(folder: Path) -> None:
    name, templates = read_folder(folder)
    assert name == folder.name
    assert templates


@pytest.mark.parametrize("folder", PROMPTS, ids=lambda folder: folder.name)
def test_a_policy_names_metrics_that_exist_and_asks_for_no_more_cases_than_there_are(folder: Path) -> None:
    policy = policy_from(yaml.safe_load((folder / "policy.yaml").read_text(encoding="utf-8")))
    cases = load_cases(folder / "cases.jsonl")
    named = {rule.metric for rule in policy.metrics} | {cap.metric for cap in policy.caps}
    assert named <= {*SCORERS, FAILED}
    assert policy.min_cases <= len(cases)
    assert {guard.tag for guard in policy.guards} <= {tag for case in cases for tag in groups_of(case)}


def test_sentiment_cases_expect_one_label_each_and_every_label_occurs() -> None:
    expected = [row["expected"] for row in rows("sentiment_analysis")]
    assert all(len(labels) == 1 for labels in expected)
    assert {label for labels in expected for label in labels} == LABELS
