"""Evaluation cases: `load_cases(source) -> tuple[Case, ...]`, and the digest that identifies a set of cases.

A source is a file of JSON lines, a Delta table (`s3a://bucket/table@7`) or an MLflow dataset (`dataset:NAME`).

A line is {"id", "question", "expected": [...], "context"?, "document_id"?, "quote"?, "origin"?, "tags"?: [...],
"variables"?: {...}}. If `expected` is empty or absent, the case is unanswerable. One message lists all mistakes, each
with its line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlflow_project.domain.answer import Case
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.evaluation.case_sources import DATASET, dataset_rows, delta_rows, is_delta
from mlflow_project.rules.canonical import digest_of
from mlflow_project.rules.gate.own_answers import own_answer_tag
from mlflow_project.rules.gate.trades import ANSWERABLE, UNANSWERABLE
from mlflow_project.rules.scorers.context import approved_release

_TEXTS = ("context", "document_id", "quote", "origin")
_LISTS = ("expected", "tags")
_FIELDS = {"id", "question", "variables", *_TEXTS, *_LISTS}
_SHOWN = 20


def load_cases(source: str | Path) -> tuple[Case, ...]:
    """The cases of a source.

    Raises:
        NotFound: there is no such file, table or dataset.
        InvalidData: some lines are wrong; the message lists each.
    """
    if is_delta(str(source)):
        return cases_from(delta_rows(str(source)), str(source))
    if str(source).startswith(DATASET):
        return cases_from(dataset_rows(str(source).removeprefix(DATASET)), str(source))
    try:
        text = Path(source).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(f"There is no cases file {source}. Write one, or name another with --cases.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidData(f"The cases file {source} cannot be read: {error}.") from error
    return cases_from(_rows(text), str(source))


def cases_from(rows: Iterable[tuple[int, Any]], source: str) -> tuple[Case, ...]:
    """Cases from numbered rows. A row is a mapping, or a sentence that says why the row could not be read.

    Raises:
        InvalidData: some rows are wrong; the message lists each.
    """
    cases: list[Case] = []
    mistakes: list[str] = []
    seen: dict[str, int] = {}
    for number, row in rows:
        found = [row] if isinstance(row, str) else _mistakes(row)
        if not found and row["id"] in seen:
            found = [f"id {row['id']!r} was used on line {seen[row['id']]}"]
        mistakes += [f"line {number}: {mistake}" for mistake in found]
        if not found:
            seen[row["id"]] = number
            cases.append(_case(row))
    if mistakes:
        more = [f"and {len(mistakes) - _SHOWN} more"] if len(mistakes) > _SHOWN else []
        raise InvalidData("\n  ".join([f"{source} has {len(mistakes)} mistake(s):", *mistakes[:_SHOWN], *more]))
    if not cases:
        raise InvalidData(f"{source} contains no cases.")
    return tuple(cases)


def cases_digest(cases: Sequence[Case]) -> str:
    """`sha256:…` of the cases in their order."""
    return digest_of([_plain(case) for case in cases])


def groups_of(case: Case) -> tuple[str, ...]:
    """The tags of a case, and the groups that it belongs to by itself: `answerable` or `unanswerable`; and, if its
    expected answer is one that a release gave and somebody approved, the release."""
    groups = [ANSWERABLE if case.expected else UNANSWERABLE]
    release = approved_release(case)
    if release is not None:
        groups.append(own_answer_tag(release))
    return tuple(dict.fromkeys([*case.tags, *groups]))


def question_digest(case: Case) -> str:
    """`sha256:…` of the part of a case that is sent. If only the expected answers change, kept answers stay valid."""
    return digest_of({"question": case.question, "context": case.context, "variables": dict(case.variables)})


def _rows(text: str) -> Iterable[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, f"not JSON ({error})"


def _mistakes(row: Any) -> list[str]:
    if not isinstance(row, Mapping):
        return ["must be a JSON object"]
    mistakes = [f"{key!r} is not a field of a case" for key in row if key not in _FIELDS]
    for key in ("id", "question"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            mistakes.append(f"{key} must be text, and not empty")
    for key in _TEXTS:
        if not isinstance(row.get(key), str | None):
            mistakes.append(f"{key} must be a text")
    for key in _LISTS:
        value = row.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
            mistakes.append(f"{key} must be a list of texts")
    variables = row.get("variables", {})
    if not isinstance(variables, Mapping) or not all(isinstance(value, str) for value in variables.values()):
        mistakes.append("variables must map names to texts")
    return mistakes


def _case(row: Mapping[str, Any]) -> Case:
    lists = {key: tuple(row.get(key, ())) for key in _LISTS}
    return Case(**{**row, **lists})


def _plain(case: Case) -> dict[str, Any]:
    return {key: value for key, value in asdict(case).items() if value not in (None, (), {})}
