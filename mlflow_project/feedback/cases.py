"""Makes evaluation cases from judged answers: from corrected answers, and from answers that were judged good.

In: answers, judgements, and the questions of the existing cases. Out: new cases, one per question, with their origin.
Where judgements disagree, a reviewer counts more than a caller, a correction more than a score, a newer one more than
an older one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mlflow_project.feedback.live import Row
from mlflow_project.rules.canonical import digest_of
from mlflow_project.rules.scorers.context import CORRECTED
from mlflow_project.rules.scorers.words import normalised


def cases_from_feedback(
    answers: Sequence[Row], judged: Sequence[Row], known_questions: Iterable[str], good: float = 0.5
) -> list[dict[str, Any]]:
    """New cases as JSON-ready rows, ordered by id. An answer with a score of at least `good` counts as right."""
    by_event = {row["event_id"]: row for row in answers}
    taken = {normalised(question) for question in known_questions}
    found: dict[str, dict[str, Any]] = {}
    for judgement in sorted(judged, key=_weight):
        answer = by_event.get(judgement["answer_event"])
        question = normalised(answer["question"]) if answer is not None and answer["question"] else None
        if answer is None or question is None or question in taken:
            continue
        if judgement["corrected_answer"] or (judgement["score"] is not None and judgement["score"] >= good):
            found[question] = _case(answer, judgement)
        elif judgement["score"] is not None:
            found.pop(question, None)
    return sorted(found.values(), key=lambda case: str(case["id"]))


def _weight(judgement: Row) -> tuple[bool, bool, str]:
    return judgement["source"] == "review", bool(judgement["corrected_answer"]), str(judgement["at"])


def _case(answer: Row, judgement: Row) -> dict[str, Any]:
    right = judgement["corrected_answer"] or (None if answer["refused"] else answer["answer"])
    return {
        "id": "feedback-" + digest_of(normalised(answer["question"]))[7:19],
        "question": answer["question"],
        "expected": [right] if right else [],
        "tags": ["feedback", str(judgement["source"]), CORRECTED if judgement["corrected_answer"] else "approved"],
        "origin": f"request {judgement['request_id']} to {judgement['release']}, judged {judgement['at']} by "
        f"{judgement['source']}",
    }
