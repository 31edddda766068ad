"""Attacks on lineage: whoever may write events, or chooses request ids, makes no answer rest on what it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlflow_project.domain.times import utc_now
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.lineage.trace import Trace, trace_answer
from tests.lineage.corpus import Corpus
from tests.releases.conftest import Yard
from tests.unit.test_spool import answer


def broken(trace: Trace) -> dict[str, str]:
    return {step.check: step.detail for step in trace.steps if step.status == "broken"}


def test_an_event_that_contradicts_ledger_table_or_index_is_broken_there(yard: Yard) -> None:
    """The attacker can write to the bucket of events, and says anything in one. The walk names what contradicts it."""
    corpus = Corpus.of(yard)
    release = corpus.release(corpus.prepare())
    chunk = corpus.chunks()["gate"]
    said: dict[str, dict[str, Any]] = {
        "another-digest": {"digest": "sha256:" + "0" * 64},
        "another-name": {"release": "elsewhere/1"},
        "no-release": {"release": "a b c"},
        "before-it-was-live": {"at": "2020-01-01T00:00:00.000Z"},
    }
    found = {}
    for request, fields in said.items():
        corpus.upload(event_of(corpus, request, release, [chunk], fields))
        found[request] = broken(trace_answer(yard.parts, request))
    corpus.answered("invented-chunk", release, ["f" * 32])
    found["invented-chunk"] = broken(trace_answer(yard.parts, "invented-chunk"))
    assert "The ledger sealed" in found["another-digest"]["seal"]
    assert "no version of" in found["another-name"]["ledger"]
    assert "Cannot read" in found["no-release"]["ledger"]
    assert "nothing of this name was live" in found["before-it-was-live"]["live then"]
    assert "does not have the chunks" in found["invented-chunk"]["chunks of the index"]


def event_of(corpus: Corpus, request: str, release: Any, chunks: list[str], fields: dict[str, Any]) -> Any:
    """An event with some fields of somebody else's choice."""
    true = {"at": utc_now(), "name": corpus.yard.name, "release": release.label, "digest": release.digest}
    own = {"event_id": f"{corpus.yard.name}-{request}", "request_id": request, "chunks": tuple(chunks)}
    return replace(answer(1), **{**true, **own, **fields})


def test_a_request_id_that_two_answers_share_is_not_chosen_for_the_asker(yard: Yard) -> None:
    """The attacker is a caller who takes the request id of somebody else. He gets no answer put in place of another."""
    corpus = Corpus.of(yard)
    release = corpus.release(corpus.prepare())
    mine = f"shared-{yard.name}"
    for event in ("first", "second"):
        corpus.upload(event_of(corpus, mine, release, [], {"event_id": f"{yard.name}-{event}"}))
    with pytest.raises(InvalidData, match=f"2 answers have the request id '{mine}'"):
        trace_answer(yard.parts, mine)
    assert not trace_answer(yard.parts, f"{yard.name}-second").is_broken
    with pytest.raises(NotFound, match="No event says anything"):
        trace_answer(yard.parts, f"{yard.name}-third")
