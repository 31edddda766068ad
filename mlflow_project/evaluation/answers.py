"""Keeps the answers that were paid for: one file of JSON lines per release, one line per question.

In and out: `AnswerCache.get(case)`, `.put(case, answer)`. Answers are kept unmasked, because masking would change their
scores; so only the owner may read the file. Reading skips a line that a crash cut short. Failures are not kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlflow_project.domain.answer import Answer, Case, Citation, Context, Usage
from mlflow_project.domain.tools import ToolCall
from mlflow_project.errors import InvalidData
from mlflow_project.evaluation.cases import question_digest
from mlflow_project.private_files import make_private_folder, open_private


class AnswerCache:
    """The answers of one release, by question."""

    def __init__(self, folder: Path, release_digest: str) -> None:
        self._path = folder / f"{release_digest.removeprefix('sha256:')}.jsonl"
        self._answers = dict(_read(self._path)) if self._path.exists() else {}

    def get(self, case: Case) -> Answer | None:
        """The answer that the release gave to this case's question, or None."""
        return self._answers.get(question_digest(case))

    def put(self, case: Case, answer: Answer) -> None:
        """Keep an answer.

        Raises:
            InvalidData: the file cannot be written.
        """
        key = question_digest(case)
        # A line break also comes first, so that a line that a crash cut short stays separate.
        line = "\n" + json.dumps({"question": key, "answer": plain(answer)}, ensure_ascii=False) + "\n"
        try:
            make_private_folder(self._path.parent)
            with open_private(self._path, "ab") as file:
                file.write(line.encode())
        except OSError as error:
            raise InvalidData(
                f"The answers cannot be kept in {self._path}: {error}. Free some disk space, then run again."
            ) from error
        self._answers[key] = answer


def plain(answer: Answer) -> dict[str, Any]:
    """An answer as JSON-ready data, without the messages that were sent: no scorer reads them, and they are long."""
    data = asdict(answer)
    del data["messages"]
    return data


def answer_from(data: Mapping[str, Any]) -> Answer:
    """The answer that `plain` made data of."""
    return Answer(
        **{
            **data,
            "contexts": tuple(Context(**_with_pages(item)) for item in data["contexts"]),
            "citations": tuple(Citation(**_with_pages(item)) for item in data["citations"]),
            "usage": Usage(**data["usage"]),
            "tool_calls": tuple(ToolCall(**item) for item in data.get("tool_calls", ())),
        }
    )


def _with_pages(item: Mapping[str, Any]) -> dict[str, Any]:
    return {**item, "pages": tuple(item.get("pages", ()))}


def _read(path: Path) -> list[tuple[str, Answer]]:
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = json.loads(line)
            kept.append((row["question"], answer_from(row["answer"])))
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return kept
