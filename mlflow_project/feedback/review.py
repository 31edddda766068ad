"""Writes samples of live answers for a person to judge, and reads the judgements back.

In: answers and a strategy. Out: a file of JSON lines, one answer per line, with the fields `judgement` (good or bad),
`corrected_answer` and `comment` to fill in. A filled-in file becomes feedback events, which are collected like all
events. Reading the same file twice records its judgements once.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.retrieval.embeddings import embed
from mlflow_project.domain.event import FeedbackEvent
from mlflow_project.domain.times import utc_now
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.feedback.live import EVENTS, Row
from mlflow_project.rules.canonical import digest_of
from mlflow_project.rules.masking import Masker
from mlflow_project.rules.scorers.words import normalised

STRATEGIES = ("random", "low-groundedness", "disagreement")
_SHOWN = ("event_id", "request_id", "name", "release", "digest", "at", "trace_id", "question", "answer", "groundedness")
_FILLED = ("judgement", "corrected_answer", "comment")
_NEEDED = ("event_id", "request_id", "name", "release", "digest")
_TEXTS = (*_NEEDED, "trace_id", *_FILLED)
_SCORES = {"good": 1.0, "bad": 0.0}


def sample(answers: Sequence[Row], judged: Sequence[Row], count: int, strategy: str, seed: int = 7) -> list[Row]:
    """Up to `count` answers that no reviewer has judged, chosen by a strategy; the worst first, except for `random`."""
    done = {row["answer_event"] for row in judged if row["source"] == "review"}
    left = [row for row in answers if row["answer"] and row["event_id"] not in done]
    if strategy == "random":
        return random.Random(seed).sample(left, min(count, len(left)))
    if strategy == "low-groundedness":
        known = [row for row in left if row["groundedness"] is not None]
        return sorted(known, key=lambda row: float(row["groundedness"]))[:count]
    scores = disagreement(left, judged)
    return [left[number] for number in np.argsort(-scores, kind="stable")[:count] if scores[number] > 0]


def disagreement(answers: Sequence[Row], judged: Sequence[Row]) -> Any:
    """For each answer the larger of two distances, from 0 to 1: between a caller's score and the answer's groundedness,
    and between the answer and the least similar answer to the same question."""
    said = {row["answer_event"]: min(1.0, max(0.0, row["score"])) for row in judged if row["score"] is not None}
    scores = np.zeros(len(answers))
    same: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(answers):
        same[normalised(row["question"] or "")].append(number)
        if row["event_id"] in said and row["groundedness"] is not None:
            scores[number] = abs(said[row["event_id"]] - row["groundedness"])
    for numbers in same.values():
        if len(numbers) > 1:
            vectors = embed([answers[number]["answer"] for number in numbers])
            scores[numbers] = np.maximum(scores[numbers], 1 - (vectors @ vectors.T).min(axis=1))
    return scores


def write_sample(rows: Sequence[Row], path: Path) -> None:
    """Write the file for a person to fill in.

    Raises:
        InvalidData: the file exists already, perhaps with judgements in it, or cannot be written.
    """
    lines = [
        json.dumps({**{key: row[key] for key in _SHOWN}, **dict.fromkeys(_FILLED)}, ensure_ascii=False) for row in rows
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    except OSError as error:
        if path.exists():
            raise InvalidData(
                f"{path} exists already and may contain judgements. Name another file with --out."
            ) from error
        raise InvalidData(f"{path} cannot be written: {error}") from error


def read_judgements(path: Path, author: str, masker: Masker) -> tuple[FeedbackEvent, ...]:
    """The judgements in a file. Lines that nobody filled in are skipped.

    Raises:
        NotFound: there is no such file. InvalidData: lines are wrong; the message lists all of them.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {path}: `switchyard review` writes one.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidData(f"{path} cannot be read: {error}") from error
    judged: dict[str, int] = {}
    events: list[FeedbackEvent] = []
    mistakes: list[str] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = _row(line) if line.strip() else None
            if row is not None and any(row[key] is not None for key in _FILLED):
                if judged.setdefault(row["event_id"], number) != number:
                    raise ValueError(f"it judges the same answer as line {judged[row['event_id']]}: keep one of them")
                events.append(_event(row, author, masker))
        except ValueError as error:
            mistakes.append(f"line {number}: {error}")
    if mistakes:
        raise InvalidData("\n  ".join([f"{path} has {len(mistakes)} mistake(s):", *mistakes]))
    return tuple(events)


def check_known(events: Sequence[FeedbackEvent], known: Collection[str]) -> None:
    """Check that each judgement is about an answer in the table of live answers. `known` are the ids of those answers.

    Raises:
        InvalidData: a judgement is about another answer.
    """
    unknown = [event.answer_event for event in events if event.answer_event not in known]
    if unknown:
        raise InvalidData(
            f"{len(unknown)} judgement(s) are about answers that this stack has not collected, for example "
            f"{unknown[0]!r}. Use a file that `switchyard review` of this stack wrote, and leave its event_id as is."
        )


def hand_in(store: ObjectStore, events: Sequence[FeedbackEvent]) -> bool:
    """Write judgements to the events, as followers do. Returns False if exactly these were written before."""
    name = digest_of([event.event_id for event in events])[7:39]
    day = max(event.at for event in events)[:10]
    data = "".join(json.dumps(event.to_dict(), ensure_ascii=False) + "\n" for event in events).encode()
    return store.put_new(store.settings.raw_bucket, f"{EVENTS}day={day}/review-{name}.jsonl", data)


def _row(line: str) -> Row:
    """The fields of a line, filled in or not. Raises ValueError with what is wrong."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not JSON: keep the lines as `switchyard review` wrote them") from error
    if not isinstance(row, dict):
        raise ValueError("it is not a JSON object")
    if missing := [key for key in _TEXTS if key not in row]:
        raise ValueError(f"{', '.join(missing)}: missing; keep every field that `switchyard review` wrote")
    if wrong := [key for key in _TEXTS if not isinstance(row[key], str | None)]:
        raise ValueError(f"{', '.join(wrong)} is not text")
    if empty := [key for key in _NEEDED if not row[key]]:
        raise ValueError(f"{', '.join(empty)}: empty; keep what `switchyard review` wrote")
    return row


def _event(row: Row, author: str, masker: Masker) -> FeedbackEvent:
    if row["judgement"] not in (*_SCORES, None):
        raise ValueError(f"judgement is good, bad or null, not {row['judgement']!r}")
    masked = {key: masker.mask(row[key] or "") for key in ("comment", "corrected_answer")}
    if withheld := [key for key, text in masked.items() if text.withheld]:
        raise ValueError(f"{', '.join(withheld)}: {masked[withheld[0]].text}; make it shorter")
    texts = {key: text.text if row[key] is not None else None for key, text in masked.items()}
    said = [row["event_id"], author, row["judgement"], texts["comment"], texts["corrected_answer"]]
    return FeedbackEvent(
        event_id=digest_of(said)[7:39],
        at=utc_now(),
        feedback_id=digest_of([row["event_id"], author])[7:39],
        request_id=row["request_id"],
        answer_event=row["event_id"],
        name=row["name"],
        release=row["release"],
        digest=row["digest"],
        source="review",
        author=author,
        score=_SCORES.get(row["judgement"] or ""),
        label=row["judgement"],
        trace_id=row["trace_id"],
        **texts,
    )
