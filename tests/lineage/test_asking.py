"""An answer is followed back to its raw line, and whoever tampers with something on the way is named."""

from __future__ import annotations

import json
from pathlib import Path

from deltalake import DeltaTable

from mlflow_project.adapters.delta_tables import storage_options
from mlflow_project.adapters.evidence import SCORES
from mlflow_project.adapters.experiments import Experiments
from mlflow_project.lineage.trace import Trace, trace_answer
from mlflow_project.settings import RegistrySettings, load
from tests.lineage.corpus import TEXTS, Corpus
from tests.releases.conftest import Yard


def statuses(trace: Trace) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for step in trace.steps:
        found.setdefault(step.status, set()).add(step.check)
    return found


def broken(trace: Trace) -> dict[str, str]:
    return {step.check: step.detail for step in trace.steps if step.status == "broken"}


def test_an_answer_leads_to_its_raw_lines_and_each_tampering_is_named_where_it_is(yard: Yard, tmp_path: Path) -> None:
    """One knowledge base, one release, and after the whole walk one tampering after another, in the order of harm."""
    corpus = Corpus.of(yard)
    base = corpus.prepare()
    release, chunks = corpus.release(base), corpus.chunks()
    corpus.answered("asked", release, [chunks["ledger"], chunks["gate"]])

    trace = trace_answer(yard.parts, "asked")
    assert statuses(trace).keys() == {"ok"}, [step for step in trace.steps if step.status != "ok"]
    assert [chunk["text"] for chunk in trace.chunks] == [TEXTS["ledger"], TEXTS["gate"]]
    assert trace.release["live_by"]["record"] == 3
    assert trace.release["manifest"]["knowledge_base"]["delta_version"] == base.delta_version
    raw = [step.detail for step in trace.steps if step.check == "raw text"]
    assert raw == [f"s3a://raw-data-bucket/{corpus.raw}, line {line}" for line in (2, 1)]

    code, said = yard.run("lineage", "ask", "asked", "--json")
    assert (code, json.loads(said.splitlines()[0])["broken"]) == (0, False), said
    code, said = yard.run("lineage", "ask", "nobody-asked-this")
    assert (code, "No event says anything of request 'nobody-asked-this'" in said) == (2, True)

    corpus.yard.parts.store.put("raw-data-bucket", corpus.raw, b"replaced\n")
    replaced = trace_answer(yard.parts, "asked")
    assert not replaced.is_broken
    assert "the file was replaced since" in next(s.detail for s in replaced.steps if s.check == "raw text")

    later = corpus.prepare({**TEXTS, "gate": "The gate is another text now."})
    assert later.delta_version == base.delta_version + 1
    assert not trace_answer(yard.parts, "asked").is_broken, "an answer rests on the version that its release pins"

    experiments = Experiments(load(RegistrySettings))
    (run,) = experiments.find(experiments.experiment(f"evaluate-{yard.name}"), {"switchyard.digest": release.digest})
    experiments.write(run, SCORES, b"better scores")
    edited = trace_answer(yard.parts, "asked")
    assert "was edited in MLflow after the gate judged it" in broken(edited)["scores"]
    experiments.write(run, SCORES, json.dumps({"label": release.label}).encode())

    _put_back(corpus.table, base.delta_version)
    assert "has put the table back to version" in _detail(trace_answer(yard.parts, "asked"), "table version")

    code, said = _tampered_index(corpus, base.index, tmp_path)
    assert (code, "chunks of the index" in said, "BROKEN" in said) == (4, True, True), said


def _detail(trace: Trace, check: str) -> str:
    return next(step.detail for step in trace.steps if step.check == check)


def _put_back(address: str, version: int) -> None:
    DeltaTable(address.replace("s3a", "s3"), storage_options=storage_options()).restore(version)


def _tampered_index(corpus: Corpus, index: str, state: Path) -> tuple[int, str]:
    """Replace one file of the index by another, and ask with an empty cache."""
    store = corpus.yard.parts.store
    key = f"indexes/{index.removeprefix('sha256:')}/chunks.jsonl"
    store.put("llm-artifacts-bucket", key, store.get("llm-artifacts-bucket", key).replace(b"evidence", b"a feeling"))
    return corpus.yard.run("lineage", "ask", "asked", SWITCHYARD_STATE=str(state))


def test_what_was_not_recorded_is_unknown_and_no_guess_is_made(yard: Yard) -> None:
    corpus = Corpus.of(yard)
    release = corpus.release(corpus.prepare())
    corpus.answered("older", release, None)
    corpus.answered("failed", release, None, error_type="ProviderError")
    corpus.answered("own-context", release, ["given", corpus.chunks()["gate"]])
    assert "the server that answered did not record them" in _detail(trace_answer(yard.parts, "older"), "chunks")
    assert "the request failed" in _detail(trace_answer(yard.parts, "failed"), "chunks")
    own = trace_answer(yard.parts, "own-context")
    assert (statuses(own)["unknown"], len(own.chunks)) == ({"context"}, 1)
    assert not own.is_broken
