"""Answers that were paid for are kept: one file of JSON lines a release, one line a question.

They are kept as they were, unmasked, or a score that is made of them would change; so the file is its owner's alone.
In and out: `AnswerCache.get(case)`, `.put(case, answer)`. A line that a crash cut short is skipped when read. Only
answers go in, never failures.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from mlflow_project.domain.answer import Answer, Case, Citation, Context, Usage
from mlflow_project.errors import InvalidData
from mlflow_project.evaluation.cases import question_digest


class AnswerCache:
    """The answers of one release, found again by what was asked."""

    def __init__(self, folder: Path, release_digest: str) -> None:
        self._path = folder / f"{release_digest.removeprefix('sha256:')}.jsonl"
        self._answers = dict(_read(self._path)) if self._path.exists() else {}

    def get(self, case: Case) -> Answer | None:
        """The answer that this release gave to this case's question, if any."""
        return self._answers.get(question_digest(case))

    def put(self, case: Case, answer: Answer) -> None:
        """Keep an answer.

        Raises:
            InvalidData: the file cannot be written.
        """
        key = question_digest(case)
        # The line break goes first too: what a crash cut short before stays a line of its own.
        line = "\n" + json.dumps({"question": key, "answer": asdict(answer)}, ensure_ascii=False) + "\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path, "a", encoding="utf-8", opener=partial(os.open, mode=0o600)) as file:
                file.write(line)
        except OSError as error:
            raise InvalidData(
                f"The answers cannot be kept in {self._path}: {error}. Make room, and run again."
            ) from error
        self._answers[key] = answer


def answer_from(data: Mapping[str, Any]) -> Answer:
    """What `asdict` made of an answer, as an answer again."""
    return Answer(
        **{
            **data,
            "contexts": tuple(Context(**item) for item in data["contexts"]),
            "citations": tuple(Citation(**item) for item in data["citations"]),
            "usage": Usage(**data["usage"]),
        }
    )


def _read(path: Path) -> list[tuple[str, Answer]]:
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
            kept.append((row["question"], answer_from(row["answer"])))
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return kept
