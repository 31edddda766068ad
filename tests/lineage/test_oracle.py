"""Every document of a corpus against an oracle that cuts it again without the document; random answers walked back."""

from __future__ import annotations

import json
import random
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mlflow_project.domain.event import AnswerEvent
from mlflow_project.domain.release import Release
from mlflow_project.domain.times import utc_now
from mlflow_project.lineage.facts import Facts
from mlflow_project.lineage.graph import Node
from mlflow_project.lineage.trace import trace_answer
from mlflow_project.rules.chunking.chunks import chunks_of
from tests.lineage.corpus import Corpus
from tests.releases.conftest import Yard
from tests.unit.test_spool import answer

DOCUMENTS, ANSWERS, WALKED = 200, 1_000, 60
WORDS = [
    "gate",
    "ledger",
    "seal",
    "flip",
    "alias",
    "follower",
    "worker",
    "release",
    "chunk",
    "index",
    "table",
    "event",
    "receipt",
    "host",
    "answer",
    "policy",
]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_nothing_that_rests_on_a_document_is_missed_and_nothing_is_invented(yard: Yard) -> None:
    chance = random.Random(21)
    texts = {
        f"d{number}": "\n\n".join(" ".join(chance.choices(WORDS, k=80)) + "." for _ in range(chance.randint(1, 6)))
        for number in range(DOCUMENTS)
    }
    corpus = Corpus.of(yard)
    release = corpus.release(corpus.prepare(texts))

    def cut(of: dict[str, str]) -> set[str]:
        return {chunk.chunk_id for name, text in of.items() for chunk in chunks_of(name, text, corpus.splitter)}

    every = sorted(cut(texts))
    given = [chance.sample(every, 5) for _ in range(ANSWERS)]
    events = [event(corpus, number, release, chunks) for number, chunks in enumerate(given)]
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    body = "".join(json.dumps(each.to_dict()) + "\n" for each in events).encode()
    yard.parts.store.put("raw-data-bucket", f"events/day={day}/{yard.name}.jsonl", body)

    facts = Facts(yard.parts)
    for name in texts:
        gone = set(every) - cut({other: text for other, text in texts.items() if other != name})
        graph = facts.walk([Node("document", name, corpus.table)], "down")
        assert {node.name for node in graph.of_kind("chunk")} == gone
        wanted = {each.request_id for each in events if gone & set(each.chunks or ())}
        assert {node.name for node in graph.of_kind("answer")} == wanted
        assert {node.name for node in graph.of_kind("release")} == {release.label}

    seconds = []
    for each in chance.sample(events, WALKED):
        began = time.monotonic()
        trace = trace_answer(yard.parts, each.request_id)
        seconds.append(time.monotonic() - began)
        assert {step.status for step in trace.steps} == {"ok"}, trace.steps
        assert tuple(chunk["chunk_id"] for chunk in trace.chunks) == each.chunks
    median = sorted(seconds)[WALKED // 2]
    sys.stderr.write(f"{WALKED} walks: median {median:.2f} s, slowest {max(seconds):.2f} s\n")


def event(corpus: Corpus, number: int, release: Release, chunks: list[str]) -> AnswerEvent:
    name = corpus.yard.name
    made = replace(answer(number), event_id=f"{name}-e{number}", request_id=f"{name}-r{number}", at=utc_now())
    return replace(made, name=name, release=release.label, digest=release.digest, chunks=tuple(chunks))
