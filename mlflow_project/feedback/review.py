"""Answers for a person to judge, and the judgements read back.

In: answers, a strategy. Out: a file of JSON lines, an answer a line, with `judgement` (good or bad), `corrected_answer`
and `comment` to fill in; filled in, it becomes feedback events, which go the way of all events. Reading a file twice
leaves one judgement.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.retrieval.embeddings import embed
from mlflow_project.domain.event import FeedbackEvent
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
    """So many answers that no review has judged, by a strategy; the worst first where it has an order."""
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
    """Of each answer, 0 to 1: how far a caller's score is from its groundedness, or, where that is more, how unlike it
    is to another answer of the same question."""
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
    """The file for a person.

    Raises:
        InvalidData: there is a file already, perhaps with judgements in it, or none can be written there.
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
                f"{path} is there already, perhaps with judgements in it: name another with --out."
            ) from error
        raise InvalidData(f"{path} cannot be written: {error}") from error


def read_judgements(path: Path, author: str, masker: Masker) -> tuple[FeedbackEvent, ...]:
    """The judgements of a file; lines that nobody filled in are passed over.

    Raises:
        NotFound: there is no such file. InvalidData: with every line that is wrong.
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
    """Whether each judgement is of an answer that a table of live answers has; `known`: their ids.

    Raises:
        InvalidData: of one it is not.
    """
    unknown = [event.answer_event for event in events if event.answer_event not in known]
    if unknown:
        raise InvalidData(
            f"{len(unknown)} judgement(s) are of answers that this stack has not collected, {unknown[0]!r} first: hand "
            "in a file that `switchyard review` of this stack wrote, and leave its event_id as it is."
        )


def hand_in(store: ObjectStore, events: Sequence[FeedbackEvent]) -> bool:
    """Put judgements where the followers ship theirs; False where these very ones are there already."""
    name = digest_of([event.event_id for event in events])[7:39]
    day = max(event.at for event in events)[:10]
    data = "".join(json.dumps(event.to_dict(), ensure_ascii=False) + "\n" for event in events).encode()
    return store.put_new(store.settings.raw_bucket, f"{EVENTS}day={day}/review-{name}.jsonl", data)


def _row(line: str) -> Row:
    """A line as it was written, filled in or not; ValueError says what is wrong with it."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is no JSON: keep the lines as `switchyard review` wrote them") from error
    if not isinstance(row, dict):
        raise ValueError("it is no JSON object")
    if missing := [key for key in _TEXTS if key not in row]:
        raise ValueError(f"{', '.join(missing)}: missing; keep every field that `switchyard review` wrote")
    if wrong := [key for key in _TEXTS if not isinstance(row[key], str | None)]:
        raise ValueError(f"{', '.join(wrong)} is no text")
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
        at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
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
