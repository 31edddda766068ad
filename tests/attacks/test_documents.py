"""Somebody puts pages and texts into the corpus that are dear to read.

The attacker writes documents. He wants a job that prepares texts to hang. He gets chunks, in time that grows with the
length of his documents.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from mlflow_project.rules.chunking.html_page import visible_text
from mlflow_project.rules.chunking.splitter import Splitter, split
from mlflow_project.rules.chunking.structure import structure_of

MOST_SECONDS = 20.0
"""For a megabyte; all of them take less than a second on a quiet machine, and minutes where time grows by squares."""
LENGTH = 1_000_000

PAGES = {
    "nested blocks": "<div>",
    "nested tables": "<table><tr><td>",
    "open links": "<a href=x>",
    "open formatting": "<b><i>",
    "open comments": "<!--",
    "open scripts": "<script>",
    "open fences": "<pre>",
    "brackets": "<",
    "entities": "&amp;",
    "half entities": "&",
    "ends without beginnings": "</p></b>",
    "spaces and breaks": " <br> ",
    "crossed": "<a><b></a></b>",
}
TEXTS = {
    "fences": "```\n",
    "growing fences": "~~~~\n```\n",
    "headings": "# \n",
    "tables": "|-|-|\n",
    "bars": "|",
    "dashes": "-" * 50 + "|" * 50 + "\n",
    "spaces": " ",
    "blank lines": "\n",
    "hashes": "#",
    "stops": ".",
    "full-width stops": "。",
    "words without end": "a",
}


@pytest.mark.parametrize("piece", PAGES.values(), ids=PAGES)
def test_a_hostile_page_is_read_in_linear_time(piece: str) -> None:
    _read(lambda: visible_text((piece * (LENGTH // len(piece))).encode()))


@pytest.mark.parametrize("piece", TEXTS.values(), ids=TEXTS)
def test_hostile_markdown_is_read_in_linear_time(piece: str) -> None:
    text = piece * (LENGTH // len(piece))
    _read(lambda: split(text, Splitter(), structure_of(text)))


def _read(read: Callable[[], object]) -> None:
    began = time.thread_time()
    read()
    assert time.thread_time() - began < MOST_SECONDS
