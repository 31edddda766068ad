"""Measures walks of lineage: answers back to their raw bytes, and documents forward against an oracle.

`python -m bench.lineage [--walks 1000] [--retracted 200]`, over its own MinIO and MLflow. The corpus is XQuAD, this
project's guide, and the documentation of Python packages. Each answer was given five chunks. The raw text at a chunk's
offsets must be the chunk, character by character. The oracle cuts the corpus anew without a document: what is gone then
rests on it. In the end 100,000 events lie in the bucket, and a new process walks one answer.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from bench.public_data import data_set
from bench.question_sets import question_sets
from bench.registry import own_registry
from bench.report import Measure, report
from mlflow_project.domain.event import AnswerEvent
from mlflow_project.lineage.facts import Facts
from mlflow_project.lineage.graph import Node
from mlflow_project.lineage.trace import trace_answer
from mlflow_project.rules.chunking.chunks import chunks_of
from tests.lineage.corpus import Corpus
from tests.lineage.test_oracle import event
from tests.releases.conftest import Yard
from tests.serving.conftest import Releases

EVENTS, IN_ONE_OBJECT, CHUNKS_GIVEN = 100_000, 1_000, 5


def main() -> None:
    """Measure, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--walks", type=int, default=1_000, help="answers that are walked back")
    parser.add_argument("--retracted", type=int, default=200, help="documents that are walked forward")
    given = parser.parse_args()
    with own_registry():
        corpus = Corpus.of(Yard(Releases().parts, "qa", {}))
        report("lineage", list(measures(corpus, texts(), given.walks, given.retracted)), "Walks of lineage")


def texts() -> dict[str, str]:
    """The documents of XQuAD, if it is there, of the guide, and of Python packages, by id."""
    xquad = data_set("xquad", "github.com/google-deepmind/xquad", "walks over XQuAD")
    return {row["id"]: row["text"] for each in question_sets(xquad) for row in each.documents}


def measures(corpus: Corpus, texts: Mapping[str, str], walks: int, retracted: int) -> Iterator[Measure]:
    """Measure each goal of the issue's table that needs no tampering."""
    chance = random.Random(21)
    release = corpus.release(corpus.prepare(texts))
    every = sorted(cut(corpus, texts))
    events = [event(corpus, number, release, chance.sample(every, CHUNKS_GIVEN)) for number in range(max(walks, 1_000))]
    upload(corpus, "walked", events)

    right, seconds = 0, []
    for each in events[:walks]:
        began = time.monotonic()
        trace = trace_answer(corpus.yard.parts, each.request_id)
        seconds.append(time.monotonic() - began)
        same = all(
            texts[chunk["document_id"]][chunk["start"] : chunk["end"]] == chunk["text"] for chunk in trace.chunks
        )
        right += same and not trace.is_broken and len(trace.chunks) == CHUNKS_GIVEN
    share = right / walks
    yield Measure("answers whose chunks are the raw text at their offsets", 100 * share, "%", f"{walks} answers", None,
                  "100 %", share == 1)  # fmt: skip
    yield at_most("walk of an answer, p99", statistics.quantiles(seconds, n=100)[-1], 1)

    missed, invented = against_the_oracle(corpus, texts, events, chance.sample(sorted(texts), retracted))
    yield Measure("dependents missed", missed, "", f"oracle, {retracted} documents", None, "0", missed == 0)
    yield Measure("dependents invented", invented, "", f"oracle, {retracted} documents", None, "0", invented == 0)

    for number in range(EVENTS // IN_ONE_OBJECT):
        first = number * IN_ONE_OBJECT + len(events)
        more = [event(corpus, first + n, release, chance.sample(every, CHUNKS_GIVEN)) for n in range(IN_ONE_OBJECT)]
        upload(corpus, f"more-{number}", more)
    yield at_most("a new process walks an answer among 100,000 events", cold(events[0].request_id), 5)


def cut(corpus: Corpus, texts: Mapping[str, str]) -> set[str]:
    """The ids of all chunks of these texts."""
    return {chunk.chunk_id for name, text in texts.items() for chunk in chunks_of(name, text, corpus.splitter)}


def upload(corpus: Corpus, name: str, events: Sequence[AnswerEvent]) -> None:
    """Put events where followers put theirs, as one object."""
    body = "".join(json.dumps(each.to_dict()) + "\n" for each in events).encode()
    corpus.yard.parts.store.put("raw-data-bucket", f"events/day={datetime.now(UTC):%Y-%m-%d}/{name}.jsonl", body)


def against_the_oracle(
    corpus: Corpus, texts: Mapping[str, str], events: Sequence[AnswerEvent], documents: Sequence[str]
) -> tuple[int, int]:
    """How many chunks and answers the walks forward miss, and how many they invent."""
    facts, every = Facts(corpus.yard.parts), cut(corpus, texts)
    missed = invented = 0
    for name in documents:
        gone = every - cut(corpus, {other: text for other, text in texts.items() if other != name})
        wanted = gone | {each.request_id for each in events if gone & set(each.chunks or ())}
        graph = facts.walk([Node("document", name, corpus.table)], "down")
        found = {node.name for kind in ("chunk", "answer") for node in graph.of_kind(kind)}
        missed, invented = missed + len(wanted - found), invented + len(found - wanted)
    return missed, invented


def cold(request: str) -> float:
    """Seconds that `switchyard lineage ask` takes in a process of its own."""
    code = "from mlflow_project.commands.main import main; main()"
    began = time.monotonic()
    asked = [sys.executable, "-c", code, "lineage", "ask", request, "--json"]
    subprocess.run(asked, env=dict(os.environ), check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def at_most(measure: str, seconds: float, most: float) -> Measure:
    """A duration that has an upper goal."""
    return Measure(measure, seconds, "s", goal=f"<= {most:g}", met=seconds <= most)


if __name__ == "__main__":
    main()
