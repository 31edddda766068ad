"""Rows as examples for fine-tuning, and the providers' forms."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_project.rules.fine_tuning import (
    FORMS,
    SPLITS,
    Example,
    ExampleFields,
    Rejection,
    Turn,
    Unfit,
    cuts_for,
    place_of,
    read_example,
)

SHARES = (0.8, 0.1, 0.1)
said = st.text(min_size=1, max_size=20).filter(str.strip)
turns = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), said), max_size=6)


def row(**fields: Any) -> bytes:
    return json.dumps({"document_id": "d", **fields}).encode()


def test_a_question_and_its_first_answer_become_a_conversation() -> None:
    found = read_example(row(question="Why?", answer=["So.", "Because."]), ExampleFields(), "Be brief.")
    assert found == Example("d", (Turn("system", "Be brief."), Turn("user", "Why?"), Turn("assistant", "So.")))
    assert FORMS["gemini"].write(found) == {
        "systemInstruction": {"role": "system", "parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": "Why?"}]}, {"role": "model", "parts": [{"text": "So."}]}],
    }


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", Unfit.NOT_JSON),
        (b"[]", Unfit.NOT_JSON),
        (b'{"question": "q", "answer": "a"}', Unfit.MISSING_DOCUMENT),
        (row(answer="a"), Unfit.MISSING_QUESTION),
        (row(question="q", answer=[]), Unfit.MISSING_ANSWER),
        (row(messages="hello"), Unfit.MESSAGES_NOT_VALID),
        (row(messages=[{"role": "user", "content": "q"}]), Unfit.MESSAGES_NOT_VALID),
        (row(messages=[{"role": "robot", "content": "q"}]), Unfit.MESSAGES_NOT_VALID),
    ],
)
def test_a_row_that_is_no_example_says_why(line: bytes, reason: Unfit) -> None:
    found = read_example(line, ExampleFields())
    assert isinstance(found, Rejection)
    assert found.reason is reason


@given(turns)
def test_a_conversation_in_turn_has_both_forms_and_ends_with_the_answer(said: list[tuple[str, str]]) -> None:
    found = read_example(row(messages=[{"role": role, "content": content} for role, content in said]), ExampleFields())
    if isinstance(found, Rejection):
        return
    assert FORMS["openai"].mistakes(FORMS["openai"].write(found)) == []
    opens_with_a_question = found.turns[0].role == "user"
    assert (FORMS["gemini"].mistakes(FORMS["gemini"].write(found)) == []) == opens_with_a_question


@pytest.mark.parametrize(
    ("provider", "line"),
    [
        ("openai", {"messages": []}),
        ("openai", {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": " "}]}),
        ("openai", {"messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "q"}]}),
        ("openai", {"messages": [{"role": "user", "content": "q"}, {"role": "system", "content": "s"}]}),
        (
            "gemini",
            {"contents": [{"role": "model", "parts": [{"text": "a"}]}, {"role": "user", "parts": [{"text": "q"}]}]},
        ),
        ("gemini", {"contents": [{"role": "user", "parts": []}, {"role": "model", "parts": [{"text": "a"}]}]}),
    ],
)
def test_a_line_that_breaks_its_form_is_seen(provider: str, line: dict[str, Any]) -> None:
    assert FORMS[provider].mistakes(line)


def parts_of(documents: Mapping[str, int], shares: Sequence[float] = SHARES) -> dict[str, str]:
    cuts = cuts_for([(place_of(name), count) for name, count in documents.items()], shares)
    return {name: SPLITS[bisect_right(cuts, place_of(name))] for name in documents}


@pytest.mark.parametrize(("count", "expected"), [(98, (78, 10, 10)), (10, (8, 1, 1)), (4000, (3200, 400, 400))])
def test_documents_are_split_in_the_shares_asked_for(count: int, expected: tuple[int, ...]) -> None:
    found = list(parts_of({f"document {number}": 1 for number in range(count)}).values())
    assert tuple(found.count(name) for name in SPLITS) == pytest.approx(expected, abs=1)


def test_shares_are_of_examples_and_documents_stay_whole() -> None:
    documents = {f"document {number}": 1 + number % 50 for number in range(98)}
    parts = parts_of(documents)
    total = sum(documents.values())
    for name, share in zip(SPLITS, SHARES, strict=True):
        held = sum(count for document, count in documents.items() if parts[document] == name)
        assert held / total == pytest.approx(share, abs=0.02)
    assert set(parts_of(documents, (1.0, 0.0, 0.0)).values()) == {"train"}
    assert set(parts_of(documents, (0.5, 0.0, 0.5)).values()) == {"train", "test"}


def test_a_new_document_moves_none_but_those_next_to_a_cut() -> None:
    documents = {f"document {number}": 1 for number in range(500)}
    before, after = parts_of(documents), parts_of({**documents, "new": 1})
    assert sum(after[name] != part for name, part in before.items()) <= 2
