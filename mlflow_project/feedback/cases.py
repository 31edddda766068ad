"""Evaluation cases from judgements: what was corrected, and what was found good.

In: answers, judgements, and the cases that are there. Out: new cases, one a question, with their origin. A reviewer's
word counts more than a caller's, a correction more than a score, the newest more than those before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mlflow_project.feedback.live import Row
from mlflow_project.rules.canonical import digest_of
from mlflow_project.rules.scorers.words import normalised


def cases_from_feedback(
    answers: Sequence[Row], judged: Sequence[Row], known_questions: Iterable[str], good: float = 0.5
) -> list[dict[str, Any]]:
    """Cases as JSON-ready rows, in the order of their ids; a score from `good` on says that an answer was right."""
    by_event = {row["event_id"]: row for row in answers}
    taken = {normalised(question) for question in known_questions}
    found: dict[str, dict[str, Any]] = {}
    for said in sorted(judged, key=_weight):
        answer = by_event.get(said["answer_event"])
        question = normalised(answer["question"]) if answer is not None and answer["question"] else None
        if answer is None or question is None or question in taken:
            continue
        if said["corrected_answer"] or (said["score"] is not None and said["score"] >= good):
            found[question] = _case(answer, said)
        elif said["score"] is not None:
            found.pop(question, None)
    return sorted(found.values(), key=lambda case: str(case["id"]))


def _weight(said: Row) -> tuple[bool, bool, str]:
    return said["source"] == "review", bool(said["corrected_answer"]), str(said["at"])


def _case(answer: Row, said: Row) -> dict[str, Any]:
    right = said["corrected_answer"] or (None if answer["refused"] else answer["answer"])
    return {
        "id": "feedback-" + digest_of(normalised(answer["question"]))[7:19],
        "question": answer["question"],
        "expected": [right] if right else [],
        "tags": ["feedback", str(said["source"])],
        "origin": f"request {said['request_id']} to {said['release']}, judged {said['at']} by {said['source']}",
    }
