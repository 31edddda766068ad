"""A replay chooses whole sessions, in proportion to time and route, and only questions that were recorded whole."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from mlflow_project.domain.answer import Case
from mlflow_project.domain.times import utc_text
from mlflow_project.evaluation import live_questions
from mlflow_project.evaluation.live_questions import choose
from mlflow_project.evaluation.opening import variables_of

BEGAN = datetime(2026, 11, 30, tzinfo=UTC)
DAY = 86_400.0


def recorded(number: int, **fields: Any) -> dict[str, Any]:
    given = {
        "event_id": f"e{number:05d}",
        "request_id": f"r{number}",
        "at": utc_text(BEGAN + timedelta(seconds=number)),
        "question": f"Question {number}?",
        "route": "/llm-query/",
        "session": None,
        "inputs": json.dumps({"variables": {}}),
    }
    return {**given, **fields}


def test_times_and_routes_keep_their_shares() -> None:
    answers = [
        recorded(n, route="/a" if n % 2 else "/b", at=utc_text(BEGAN + timedelta(minutes=n))) for n in range(1440)
    ]
    sample = choose(answers, 240, BEGAN.timestamp(), DAY, "seed")
    assert (len(sample.questions), sample.found) == (240, 1440)
    by_slice = Counter(question.stratum[0] for question in sample.questions)
    assert set(by_slice.values()) == {10}, "each of the 24 hours has as many"
    assert Counter(question.stratum[1] for question in sample.questions)["/b"] == 120


def test_a_session_is_taken_with_all_its_questions_in_their_order() -> None:
    answers = [recorded(n, session=f"s{n % 100}") for n in range(1000)]
    sample = choose(answers, 200, BEGAN.timestamp(), DAY, "seed")
    sizes = Counter(sample.units)
    assert (len(sizes), set(sizes.values())) == (20, {10})
    assert [question.at for question in sample.questions] == sorted(question.at for question in sample.questions)


def test_the_same_seed_chooses_the_same_and_another_one_others() -> None:
    answers = [recorded(n) for n in range(500)]
    chosen = [choose(order, 50, BEGAN.timestamp(), DAY, seed).units for order, seed in
              ((answers, "a"), (answers[::-1], "a"), (answers, "b"))]  # fmt: skip
    assert chosen[0] == chosen[1] != chosen[2]


def test_what_cannot_be_asked_again_is_left_out_and_counted() -> None:
    answers = [
        recorded(1),
        recorded(2, inputs=None),
        recorded(3, question=None),
        recorded(4, inputs="[]"),
        recorded(5, inputs=json.dumps({"variables": {"tone": 7}})),
        recorded(6, at="yesterday"),
        {key: value for key, value in recorded(7).items() if key != "inputs"},  # of an older release
    ]
    sample = choose(answers, 50, BEGAN.timestamp(), DAY, "seed")
    assert ([case.id for case in sample.cases], sample.found, sample.left_out) == (["e00001"], 1, 6)


def test_a_case_has_the_variables_and_the_context_of_its_request() -> None:
    inputs = json.dumps({"variables": {"tone": "plain"}, "context": "Paris is a city."})
    (case,) = choose([recorded(1, inputs=inputs)], 5, BEGAN.timestamp(), DAY, "seed").cases
    assert (case.variables, case.context, case.expected) == ({"tone": "plain"}, "Paris is a city.", ())


def test_a_flood_of_events_is_sampled_in_bounded_memory(monkeypatch: Any) -> None:
    monkeypatch.setattr(live_questions, "MOST_KEPT", 100)
    sample = choose((recorded(n) for n in range(5_000)), 20, BEGAN.timestamp(), 5_000.0, "seed")
    assert (len(sample.questions), sample.found) == (20, 5_000)
    assert max(question.priority for question in sample.questions) < 0.25
    one_session = choose((recorded(n, session="s") for n in range(1_000)), 20, BEGAN.timestamp(), 5_000.0, "seed")
    assert len(one_session.questions) == 20


def test_the_question_gets_the_only_slot_that_is_left() -> None:
    case = Case("1", "Why?", variables={"tone": "plain"})
    assert variables_of(case, frozenset({"question", "tone"})) == {"question": "Why?", "tone": "plain"}
    assert variables_of(case, frozenset({"text", "tone"})) == {"text": "Why?", "tone": "plain"}
    assert variables_of(Case("1", "Why?"), frozenset({"question", "context"})) == {"question": "Why?"}
    assert variables_of(case, frozenset({"tone"})) == {"tone": "plain"}
