"""Answers to judge, judgements read back, and cases made of them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.feedback.cases import cases_from_feedback
from mlflow_project.feedback.review import check_known, read_judgements, sample, write_sample
from mlflow_project.rules.masking import Masker
from tests.unit.test_spool import answer, judgement


def rows(*grounded: float) -> list[dict[str, Any]]:
    return [asdict(replace(answer(n), groundedness=value, question=f"Why {n}?")) for n, value in enumerate(grounded)]


def said(number: int, **fields: Any) -> dict[str, Any]:
    given = {"answer_event": f"e{number}", "feedback_id": f"f{number}", **fields}
    return asdict(judgement(f"j{number}", given.pop("score", None), **given))


def ids(found: list[Any]) -> list[str]:
    return [row["event_id"] for row in found]


def test_the_least_grounded_come_first_and_none_that_was_reviewed() -> None:
    assert ids(sample(rows(0.9, 0.1, 0.5), [said(1, source="review")], 2, "low-groundedness")) == ["e2", "e0"]
    assert len(sample(rows(0.9, 0.1, 0.5), [], 2, "random")) == 2


def test_who_disagrees_is_a_caller_with_groundedness_or_an_answer_with_another() -> None:
    answers = rows(1.0, 1.0, 1.0, 1.0)
    answers[2] |= {"question": "Why?", "answer": "Because of the gate."}
    answers[3] |= {"question": "why", "answer": "Bananas are yellow."}
    assert ids(sample(answers, [said(0, score=0.0), said(1, score=1.0)], 9, "disagreement"))[0] == "e0"
    assert set(ids(sample(answers, [], 9, "disagreement"))) == {"e2", "e3"}


def test_judgements_are_read_back_masked_the_same_twice_and_empty_lines_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "review.jsonl"
    write_sample(rows(1.0, 0.5), path)
    with pytest.raises(InvalidData, match="exists already"):
        write_sample(rows(1.0), path)
    assert read_judgements(path, "user:me", Masker()) == ()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1] |= {"judgement": "bad", "corrected_answer": "Ask me@example.org."}
    path.write_text("\n".join(map(json.dumps, lines)))
    first, again = (read_judgements(path, "user:me", Masker()) for _ in range(2))
    assert [(one.score, one.corrected_answer, one.source) for one in first] == [(0.0, "Ask [email].", "review")]
    assert first[0].event_id == again[0].event_id


def test_a_wrong_line_is_told_with_its_number_and_a_missing_file_too(tmp_path: Path) -> None:
    path = tmp_path / "review.jsonl"
    write_sample(rows(1.0), path)
    path.write_text(path.read_text().replace('"judgement": null', '"judgement": "perfect"'))
    with pytest.raises(InvalidData, match=r"line 1: .*good, bad or null"):
        read_judgements(path, "user:me", Masker())
    path.write_text('{"event_id": "e1"}\n[1]\nnot json')
    with pytest.raises(
        InvalidData, match=r"3 mistake\(s\):\n.*line 1: .*comment: missing.*\n.*line 2: .*not a JSON object"
    ):
        read_judgements(path, "user:me", Masker())
    path.write_text('event_id,judgement\n"abc,goo')
    with pytest.raises(InvalidData, match=r"line 1: it is not JSON.*\n.*line 2: it is not JSON"):
        read_judgements(path, "user:me", Masker())
    path.write_bytes(b"\xff\x00")
    for unreadable in (path, tmp_path):
        with pytest.raises(InvalidData, match="cannot be read"):
            read_judgements(unreadable, "user:me", Masker())
    with pytest.raises(InvalidData, match="cannot be written"):
        write_sample(rows(1.0), path / "below.jsonl")
    with pytest.raises(NotFound):
        read_judgements(tmp_path / "none.jsonl", "user:me", Masker())


def test_an_answer_is_judged_once_a_file_and_only_one_that_is_known(tmp_path: Path) -> None:
    path = tmp_path / "review.jsonl"
    write_sample(rows(1.0, 0.5), path)
    one, other = (json.loads(line) | {"judgement": "good"} for line in path.read_text().splitlines())
    path.write_text("\ufeff" + json.dumps(one) + "\r\n\r\n" + json.dumps(other) + "\r\n")
    events = read_judgements(path, "user:me", Masker())
    assert [event.answer_event for event in events] == ["e0", "e1"]
    check_known(events, {"e0", "e1"})
    with pytest.raises(
        InvalidData, match=r"1 judgement\(s\) are about answers that this stack has not collected, for example 'e1'"
    ):
        check_known(events, {"e0"})
    for wrong, match in (
        (one | {"judgement": "bad"}, "same answer as line 1"),
        (other | {"release": None}, "release: e"),
    ):
        path.write_text(json.dumps(one) + "\n" + json.dumps(wrong))
        with pytest.raises(InvalidData, match=match):
            read_judgements(path, "user:me", Masker())


def test_a_reviewer_who_finds_an_answer_wrong_takes_a_caller_s_praise_back() -> None:
    judged = [said(0, score=1.0), said(0, score=0.0, source="review", feedback_id="r0")]
    assert cases_from_feedback(rows(1.0), judged[:1], []) != []
    assert cases_from_feedback(rows(1.0), judged, []) == []


def test_cases_take_the_reviewer_s_word_once_a_question_and_none_that_is_known() -> None:
    answers = rows(1.0, 1.0, 1.0, 1.0)
    answers[1]["question"] = "why 0"
    judged = [
        said(0, corrected_answer="A reviewer's.", source="review"),
        said(1, corrected_answer="A caller's.", at="2026-12-01T00:00:00.000Z"),
        said(2, score=1.0),
        said(3, score=0.0),
    ]
    cases = cases_from_feedback(answers, judged, known_questions=["WHY 2?"])
    assert [(case["question"], case["expected"]) for case in cases] == [("Why 0?", ["A reviewer's."])]
    assert "judged" in cases[0]["origin"]
    assert [case["expected"] for case in cases_from_feedback(answers[2:], judged, [])] == [["An answer."]]
