"""An event names the chunks that its answer was given: what lineage begins from."""

from __future__ import annotations

import json
from pathlib import Path

from mlflow_project.domain.answer import Answer, Context
from mlflow_project.domain.event import MOST_CHUNKS
from mlflow_project.domain.release import KnowledgeBase, Retrieval
from mlflow_project.rules.masking import Masker
from mlflow_project.settings import EventSettings
from mlflow_project.snapshot.spool import Spool
from mlflow_project.telemetry.tracing import Trace
from serving.after.arm_counts import ArmCounter
from serving.after.events import EventRecorder
from serving.call import Call, Finished
from tests.serving.snapshots import Snapshots

BASE = {"knowledge_base": KnowledgeBase("s3a://b/t", 1, "sha256:" + "1" * 64), "retrieval": Retrieval(5)}


def test_an_event_names_the_chunks_of_the_answer_in_their_order_and_never_more_than_it_may(tmp_path: Path) -> None:
    releases = Snapshots(tmp_path)
    searching, plain = releases.seal("searching", **BASE), releases.seal("plain")
    found = tuple(Context(f"chunk-{number}", "d", "", "text", 0, 4, 1.0) for number in range(MOST_CHUNKS + 1))
    spool = Spool(tmp_path / "events.sqlite", 1_000_000)
    recorder = EventRecorder(EventSettings(), spool, Masker(), ArmCounter(tmp_path / "counts"))
    for request, release, contexts, error in (
        ("many", searching, found, None),
        ("two", searching, found[1::-1], None),
        ("nothing found", searching, (), None),
        ("failed", searching, found, RuntimeError("no")),
        ("without a knowledge base", plain, (), None),
    ):
        call = Call(request, Trace("POST", None, listening=False))
        answer = Answer("an answer", contexts=contexts)
        recorder.record(Finished.of(call, release, {"question": "why?"}, answer, error))
    recorder.close()
    batch = spool.batch("one", 10)
    assert batch is not None
    events = {event["request_id"]: event["chunks"] for event in map(json.loads, batch.rows)}
    assert events == {
        "many": [f"chunk-{number}" for number in range(MOST_CHUNKS)],
        "two": ["chunk-1", "chunk-0"],
        "nothing found": [],
        "failed": None,
        "without a knowledge base": None,
    }
