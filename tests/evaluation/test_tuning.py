"""`tune` with a real store and a real MLflow: a knowledge base, a release that pins it, and nested runs."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from mlflow_project.adapters.delta_tables import storage_options
from mlflow_project.domain.answer import Case
from mlflow_project.domain.release import KnowledgeBase, Manifest, Message, ProviderChoice, Release, Retrieval
from mlflow_project.errors import InvalidData
from mlflow_project.evaluation.tuning.run import tune
from mlflow_project.evaluation.workplace import workplace
from mlflow_project.parts import Parts
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.rules.chunking.chunks import chunks_of
from mlflow_project.rules.chunking.splitter import Splitter
from spark_jobs.build_index import build

TEXTS = {f"d{number}": f"The part k{number}z is dry and clean. It costs m{number} crowns." for number in range(40)}
CASES = tuple(
    [Case(name, f"What does k{name[1:]}z cost?", (f"m{name[1:]}",), document_id=name) for name in TEXTS]
    + [Case(f"no{number}", f"Who painted picture {number} of Rome?") for number in range(10)]
)


def knowledge_base(parts: Parts) -> KnowledgeBase:
    """Tables as `prepare` writes them, and the index of the chunks."""
    table, splitter = f"s3a://curated-data-bucket/tune-{uuid4().hex[:8]}", Splitter()
    documents = [
        {"document_id": name, "title": "Parts", "text": text, "language": "en", "metadata": "{}"}
        for name, text in TEXTS.items()
    ]
    chunks = [
        {"chunk_id": chunk.chunk_id, "source_document_id": name, "text_content": chunk.text, "index": chunk.number}
        | {"start": chunk.start, "end": chunk.end, "title": "Parts", "heading_path": "", "language": "en"}
        | {"metadata": "{}", "splitter": splitter.name}
        for name, text in TEXTS.items()
        for chunk in chunks_of(name, text, splitter)
    ]
    for address, rows in ((table, chunks), (table + "_documents", documents)):
        write_deltalake(address, pa.Table.from_pylist(rows), storage_options=storage_options())
    made = build(parts.store, table, None, False)
    return KnowledgeBase(table, made["delta_version"], made["index"])


def test_a_sweep_is_a_run_with_a_nested_run_for_each_setting_and_changes_nothing(
    registry_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHYARD_STATE", str(tmp_path))
    parts, name = Parts.connect(), f"tuned-{uuid4().hex[:8]}"
    manifest = Manifest(
        "prompt",
        name,
        (Message("user", "{{question}}"),),
        ProviderChoice("extractive", "extractive-1", {"floor": 0.0}),
        retrieval=Retrieval(5, fusion="scores"),
        knowledge_base=knowledge_base(parts),
    )
    release = Release(1, manifest_digest(manifest), manifest)
    place = workplace(parts)
    with pytest.raises(InvalidData, match="20 cases name the passage"):
        tune(place, release, CASES[20:], "cases.jsonl", lambda _: nullcontext())
    sweep, address = tune(place, release, CASES, "cases.jsonl", lambda _: nullcontext())
    advised = {each.question: each.change for each in sweep.advice}
    assert advised == {"weights": False, "chunk size": False, "number of chunks": True, "floor": False}
    assert (sweep.setting.retrieval.chunks, sweep.setting.splitter) == (1, None)
    assert sweep.floor == 0.0, "no chunk shares a word with the unanswerable questions, so every floor refuses them"
    parent = address.rsplit("/", 1)[1]
    run = place.experiments.get(parent)
    kept = json.loads(place.experiments.read(run, "advice.json"))
    assert [each["question"] for each in kept["advice"]] == list(advised)
    assert "**floor**" in run.tags["mlflow.note.content"]
    nested = place.experiments.find(run.experiment, {"mlflow.parentRunId": parent})
    assert len(nested) == len(sweep.measured) + len(sweep.floors)
    data = httpx.get(f"{place.experiments.uri}/api/2.0/mlflow/runs/get", params={"run_id": nested[-1].id}).json()
    metrics = {row["key"] for row in data["run"]["data"]["metrics"]}
    assert {"strict_hit_at_5", "strict_hit_at_5.lower", "strict_hit_at_5.upper", "ndcg", "characters"} <= metrics
