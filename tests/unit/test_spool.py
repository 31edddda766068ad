"""What waits on a host's disk to be shipped: nothing twice, nothing lost, never more than it may take."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from mlflow_project.domain.event import AnswerEvent, FeedbackEvent
from mlflow_project.errors import Unavailable
from mlflow_project.snapshot.spool import Asked, Spool


def answer(number: int, text: str = "An answer.") -> AnswerEvent:
    return AnswerEvent(
        event_id=f"e{number}",
        at=f"2026-11-24T10:00:{number % 60:02d}.000Z",
        request_id=f"r{number}",
        key_id=None,
        name="qa",
        release="qa/1",
        digest="sha256:1",
        question="Why?",
        answer=text,
        question_chars=4,
        answer_chars=len(text),
        keywords=1,
        refused=False,
        schema_failed=False,
        error_type=None,
        tokens=None,
        cost_usd=None,
        latency_ms=1.0,
        groundedness=1.0,
        trace_id=None,
    )


def judgement(event_id: str, score: float | None = 1.0, **fields: Any) -> FeedbackEvent:
    given: dict[str, Any] = {
        "event_id": event_id,
        "at": "2026-11-24T11:00:00.000Z",
        "feedback_id": "f1",
        "request_id": "r1",
        "answer_event": "e1",
        "name": "qa",
        "release": "qa/1",
        "digest": "sha256:1",
        "source": "caller",
        "author": None,
        "score": score,
        "label": None,
        "comment": None,
        "corrected_answer": None,
        "trace_id": None,
    }
    return FeedbackEvent(**{**given, **fields})


def asked(number: int, key: str = "") -> Asked:
    return Asked(f"r{number}", key, f"2026-11-24T10:00:{number % 60:02d}.000Z", "qa", "qa/1", "sha256:1", None, None)


def ids(rows: Sequence[bytes]) -> list[str]:
    return [orjson.loads(row)["event_id"] for row in rows]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "events.sqlite", 10_000_000)


def test_a_batch_is_the_same_until_it_was_shipped_and_then_gone(spool: Spool) -> None:
    spool.add([asked(1)], [answer(1), answer(2)])
    first = spool.batch("one", 10)
    spool.add([], [answer(3)])
    assert first is not None
    assert spool.batch("two", 10) == first
    spool.shipped(first.name)
    second = spool.batch("two", 10)
    assert second is not None
    assert (ids(first.rows), ids(second.rows), second.name) == (["e1", "e2"], ["e3"], "two")
    spool.shipped(second.name)
    assert spool.batch("three", 10) is None


def test_another_process_finds_what_one_has_noted(spool: Spool, tmp_path: Path) -> None:
    spool.add([asked(1), asked(1, "key")], [])
    other = Spool(tmp_path / "events.sqlite", 10_000_000)
    assert {found.key_id for found in other.asked("r1")} == {"", "key"}
    assert other.asked("r2") == ()


def test_a_request_keeps_its_arm_and_one_of_an_older_release_belongs_to_production(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    with sqlite3.connect(path) as older:
        older.execute(
            "CREATE TABLE answered (seq INTEGER PRIMARY KEY, request_id TEXT, key_id TEXT, at TEXT, name TEXT, "
            '"release" TEXT, digest TEXT, event_id TEXT, trace_id TEXT)'
        )
        older.execute("INSERT INTO answered (request_id, key_id) VALUES ('r1', '')")
    spool = Spool(path, 10_000_000)
    spool.add([asked(2)._replace(arm="canary")], [])
    assert [spool.asked(request)[0].arm for request in ("r1", "r2")] == ["production", "canary"]


def test_the_same_judgement_is_taken_once_and_a_new_one_again(spool: Spool) -> None:
    assert spool.note_feedback(judgement("a"), "says yes")
    assert not spool.note_feedback(judgement("b"), "says yes")
    assert spool.note_feedback(judgement("c"), "says no")
    assert spool.note_feedback(judgement("d"), "says yes")
    batch = spool.batch("one", 10)
    assert batch is not None
    assert ids(batch.rows) == ["a", "c", "d"]
    spool.shipped(batch.name)
    assert not spool.note_feedback(judgement("e"), "says yes")


def test_mlflow_is_told_of_each_judgement_of_a_traced_answer_once(spool: Spool) -> None:
    spool.note_feedback(judgement("a"), "one")
    spool.note_feedback(judgement("b", trace_id="0f"), "two")
    assert [event.event_id for event in spool.unassessed()] == ["b"]
    spool.mark_assessed(spool.unassessed()[0])
    assert spool.unassessed() == ()


def test_a_full_file_takes_no_more_and_says_so(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "events.sqlite", 200_000)
    spool.add([asked(1)], [answer(number, "long " * 400) for number in range(100)])
    with pytest.raises(Unavailable, match="is full"):
        spool.add([asked(2)], [answer(2)])
    assert (tmp_path / "events.sqlite").stat().st_size < 400_000
    batch = spool.batch("one", 1000)
    assert batch is not None
    spool.shipped(batch.name)
    spool.add([], [answer(1)])


def test_what_is_old_is_forgotten_and_what_was_not_shipped_is_kept(spool: Spool) -> None:
    spool.add([asked(1)], [answer(1)])
    spool.trim("2026-11-25T00:00:00.000Z")
    assert spool.asked("r1") == ()
    batch = spool.batch("one", 10)
    assert batch is not None
    assert ids(batch.rows) == ["e1"]


def test_of_a_request_id_that_was_used_again_each_keys_newest_is_known(spool: Spool) -> None:
    spool.add([asked(1, "a"), asked(1, "b")], [])
    spool.add([asked(1, "a")._replace(release="qa/2")], [])
    assert [(found.key_id, found.release) for found in spool.asked("r1")] == [("a", "qa/2"), ("b", "qa/1")]


def test_requests_are_forgotten_up_to_the_first_that_is_young(spool: Spool) -> None:
    spool.add([asked(number) for number in range(5)], [])
    spool.trim("2026-11-24T10:00:03.000Z")
    assert [bool(spool.asked(f"r{number}")) for number in range(5)] == [False, False, False, True, True]


def test_of_a_nearly_full_file_the_oldest_quarter_of_the_requests_goes(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "events.sqlite", 100_000)
    spool.add([asked(number) for number in range(1000)], [])
    spool.trim("2026-11-01T00:00:00.000Z")
    assert not spool.asked("r0")
    assert spool.asked("r999")


def test_requests_that_an_older_release_noted_are_known(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    with sqlite3.connect(path) as before:
        before.execute(
            'CREATE TABLE asked (request_id TEXT, key_id TEXT, at TEXT, name TEXT, "release" TEXT, digest TEXT, '
            "event_id TEXT, trace_id TEXT, PRIMARY KEY (request_id, key_id)) WITHOUT ROWID"
        )
        before.execute("INSERT INTO asked VALUES (?,?,?,?,?,?,?,?)", asked(1, "a")[:-1])
    assert Spool(path, 10_000_000).asked("r1") == (asked(1, "a"),)
    assert Spool(path, 10_000_000).asked("r1") == (asked(1, "a"),)


def test_a_disk_that_takes_nothing_is_an_outage(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be kept"):
        Spool(tmp_path / "nowhere" / "events.sqlite", 1_000_000).add([asked(1)], [])
