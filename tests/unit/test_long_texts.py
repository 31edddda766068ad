"""Whatever a caller, a model or a document sends, reading it takes time that grows with its length: a pattern that
goes back over a long run of what almost matches would hold up all others for minutes, which the time-out catches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mlflow_project.answering.validation import _without_fence
from mlflow_project.domain.answer import Context
from mlflow_project.domain.release import Message
from mlflow_project.rules.citation_marks import cited_numbers
from mlflow_project.rules.quoting import sentences_of
from mlflow_project.rules.quoting.cues import wanted
from mlflow_project.rules.templates import chunks_block, turns_block

MANY = 200_000


def chunk(text: str) -> Context:
    return Context("c", "d", "t", text, 0, len(text), 1.0)


READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "a caller's turn that almost holds a delimiter": (
        lambda text: turns_block([Message("user", text)]),
        "<" + " " * MANY,
    ),
    "a chunk that almost holds a delimiter": (lambda text: chunks_block([chunk(text)]), "</" + "\n" * MANY),
    "an answer of spaces": (cited_numbers, " " * MANY),
    "an answer that begins a fence and never ends it": (_without_fence, "```" + "\n" * MANY),
    "a heading that never ends": (lambda text: sentences_of([chunk(text)]), "# a" + " " * MANY + "x"),
    "a heading of hashes": (lambda text: sentences_of([chunk(text)]), "# a" + " #" * MANY + "x"),
    "a question that asks what again and again": (wanted, "what " * MANY),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("what", READERS)
def test_a_long_text_is_read_in_one_go(what: str) -> None:
    read, text = READERS[what]
    read(text)
