"""Texts with questions whose answers they hold: XQuAD, this project's guide, and the documentation of Python packages.

A document is {id, title, text}; a question is {question, document_id, answers}: a chunk of that document that holds one
of the answers is right.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CASES = ROOT / "prompts" / "qa" / "cases.jsonl"
PACKAGES = (
    *("numpy", "numpy.linalg", "numpy.fft", "pandas", "scipy.stats", "scipy.signal", "scipy.optimize", "scipy.sparse"),
    *("sklearn.metrics", "sklearn.preprocessing", "sklearn.linear_model", "sklearn.ensemble", "sklearn.cluster"),
    *("sklearn.model_selection", "mlflow", "pyspark.sql.functions", "asyncio", "argparse", "json", "re", "shutil"),
)
SHORTEST_DOCUMENTATION = 600


@dataclass(frozen=True)
class QuestionSet:
    """A corpus with its questions."""

    name: str
    documents: list[dict[str, Any]]
    questions: list[dict[str, Any]]


def question_sets(xquad: Path | None) -> Iterator[QuestionSet]:
    """Every set that is there."""
    if xquad is not None:
        yield QuestionSet("XQuAD", read_lines(xquad / "documents.jsonl"), read_lines(xquad / "questions.jsonl"))
    yield guide()
    yield packages()


def guide() -> QuestionSet:
    """The pages of `docs/guide`, with the quotations of the cases of `prompts/qa`."""
    pages = sorted((ROOT / "docs" / "guide").glob("*.md"))
    texts = {page.stem: page.read_text(encoding="utf-8") for page in pages}
    documents = [{"id": name, "title": text.split("\n")[0].lstrip("# "), "text": text} for name, text in texts.items()]
    questions = [
        {"question": case["question"], "document_id": case["document_id"], "answers": [case["quote"]]}
        for case in read_lines(CASES)
        if case.get("quote")
    ]
    return QuestionSet("the guide", documents, questions)


def packages() -> QuestionSet:
    """The documentation of functions and classes. The question is its summary; the document is what follows, without
    the summary, so that question and document share few sentences.
    """
    documents: list[dict[str, Any]] = []
    questions: dict[str, dict[str, Any]] = {}
    for package in PACKAGES:
        for name, member in sorted(vars(importlib.import_module(package)).items()):
            if name.startswith("_") or not callable(member):
                continue
            summary, _, rest = (inspect.getdoc(member) or "").partition("\n\n")
            question = " ".join(summary.split())
            if len(rest) >= SHORTEST_DOCUMENTATION and 25 <= len(question) <= 200 and question not in questions:
                where = f"{package}.{name}"
                documents.append({"id": where, "title": where.replace(".", " "), "text": rest})
                questions[question] = {"question": question, "document_id": where, "answers": [""]}
    return QuestionSet("packages' documentation", documents, list(questions.values()))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file, one a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
