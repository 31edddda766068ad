"""Two generations of a corpus, a release of each, and answers of both: what rests on a document, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_project.errors import NotFound
from mlflow_project.lineage.facts import Facts
from mlflow_project.lineage.graph import Node, read_node
from mlflow_project.lineage.impact import impact, table_nodes
from tests.lineage.corpus import TEXTS, Corpus
from tests.releases.conftest import Yard


def command(yard: Yard, *words: str, code: int = 0) -> Any:
    found, said = yard.run("lineage", *words)
    assert found == code, said
    return said


def test_what_rests_on_a_document_is_found_and_nothing_else(yard: Yard) -> None:
    """The ledger's text stays; the gate's text changes between the generations."""
    corpus = Corpus.of(yard)
    first_base = corpus.prepare()
    first, old = corpus.release(first_base), corpus.chunks()
    second_base = corpus.prepare({"ledger": TEXTS["ledger"], "gate": "The gate says no, and why."})
    second, new = corpus.release(second_base), corpus.chunks()
    for request, release, chunks in (
        ("old-gate", first, [old["gate"]]),
        ("both", second, [new["gate"], new["ledger"]]),
        ("ledger-only", first, [old["ledger"]]),
        ("nothing-found", second, []),
        ("unsaid", first, None),
    ):
        corpus.answered(f"{yard.name}-{request}", release, chunks)
    runs = {label: run.id for label, run in ((each.label, corpus.runs_of(each)) for each in (first, second))}

    found = impact(yard.parts, [Node("document", "gate", corpus.table)]).to_dict()
    assert set(found["chunks"]) == {f"chunk:{chunk}@{corpus.table}" for chunk in (old["gate"], new["gate"])}
    assert set(found["indexes"]) == {f"index:{base.index}" for base in (first_base, second_base)}
    assert set(found["releases"]) == {f"release:{first.label}", f"release:{second.label}"}
    assert set(found["evaluations"]) == {f"run:{run}" for run in runs.values()}
    assert set(found["answers"]) == {f"answer:{yard.name}-old-gate", f"answer:{yard.name}-both"}
    assert found["answers_that_do_not_say"] == 1
    assert not [gap for gap in found["gaps"] if corpus.table in gap], "tables of other tests may be gone"
    assert [(live["release"], live["alias"]) for live in found["live"]] == [
        (second.label, "Production"),
        *([(first.label, "Previous")] if any(each["alias"] == "Previous" for each in found["live"]) else []),
    ]
    assert f"switchyard prepare s3a://raw-data-bucket/{corpus.raw} {corpus.table}" in found["commands"]
    assert not any(each.startswith("switchyard rollback") for each in found["commands"]), "it rests on the text too"

    graph = Facts(yard.parts).walk([read_node(f"answer:{yard.name}-both")], "up")
    assert {Node("document", name, corpus.table) for name in TEXTS} <= set(graph.nodes)
    assert Node("file", f"s3a://raw-data-bucket/{corpus.raw}") in graph.nodes
    assert Node("table", f"{corpus.table}@{second_base.delta_version}") in graph.nodes
    assert Node("chunk", old["gate"], corpus.table) not in graph.nodes

    facts = Facts(yard.parts)
    of_index = facts.walk([read_node(f"index:{first_base.index}")], "down")
    assert Node("answer", f"{yard.name}-unsaid") in of_index.nodes, "an answer of the release rests on its index"
    of_file = facts.walk([read_node(f"file:s3://raw-data-bucket/{corpus.raw}")], "down")
    assert len(of_file.of_kind("document")) == 2
    assert Node("answer", f"{yard.name}-nothing-found") not in of_file.nodes
    of_table = impact(yard.parts, table_nodes(yard.parts, corpus.table))
    assert len(of_table.graph.of_kind("release")) == 2
    with pytest.raises(NotFound, match="Nothing that was recorded names release:nobody/1"):
        facts.walk([read_node("release:nobody/1")], "up")
    drawn = command(yard, "down", f"index:{first_base.index}", "--mermaid")
    assert drawn.startswith("flowchart LR")
    assert f"answer:{yard.name}-unsaid" in drawn

    index = first_base.index.removeprefix("sha256:")
    yard.parts.store.put("llm-artifacts-bucket", f"indexes/{index}/manifest.json", b"{}")
    broken = command(yard, "impact", "--document", f"gate@{corpus.table}", code=4)
    assert f"index {first_base.index} cannot be read" in broken
