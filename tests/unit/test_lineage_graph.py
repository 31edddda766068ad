"""Walks along edges, addresses of nodes, and drawings: pure."""

from __future__ import annotations

import pytest

from mlflow_project.errors import InvalidData
from mlflow_project.lineage.drawing import dot, mermaid
from mlflow_project.lineage.graph import KINDS, Direction, Edge, Graph, Node, read_node, walk

TABLE = "s3a://b/docs"
FILE, DOCUMENT, OTHER = Node("file", "s3a://raw/a.jsonl"), Node("document", "d", TABLE), Node("document", "e", TABLE)
CHUNK, SECOND = Node("chunk", "c1", TABLE), Node("chunk", "c2", TABLE)
INDEX, RELEASE = Node("index", "sha256:1"), Node("release", "qa/1")
GIVEN, UNGIVEN = Node("answer", "given"), Node("answer", "ungiven")
EDGES = [
    Edge(FILE, DOCUMENT, "was read as", ""),
    Edge(FILE, OTHER, "was read as", ""),
    Edge(DOCUMENT, CHUNK, "was cut into", ""),
    Edge(OTHER, SECOND, "was cut into", ""),
    Edge(CHUNK, INDEX, "is in", ""),
    Edge(SECOND, INDEX, "is in", ""),
    Edge(INDEX, RELEASE, "is pinned by", ""),
    Edge(RELEASE, GIVEN, "answered", ""),
    Edge(RELEASE, UNGIVEN, "answered", ""),
    Edge(CHUNK, GIVEN, "was given to", ""),
    Edge(SECOND, UNGIVEN, "was given to", ""),
]


def edges_of(node: Node, direction: Direction) -> list[Edge]:
    return [edge for edge in EDGES if (edge.source if direction == "down" else edge.target) == node]


def walked(start: Node, direction: Direction, depth: int | None = None, most: int | None = None) -> Graph:
    return walk([start], direction, edges_of, depth, most)


def test_an_answer_rests_on_the_chunks_that_it_was_given_and_not_on_all_of_its_index() -> None:
    assert set(walked(DOCUMENT, "down").nodes) == {DOCUMENT, CHUNK, INDEX, RELEASE, GIVEN}
    assert set(walked(INDEX, "down").nodes) == {INDEX, RELEASE, GIVEN, UNGIVEN}
    assert set(walked(FILE, "down").nodes) == {edge.target for edge in EDGES} | {FILE}


def test_a_walk_up_ends_at_the_raw_file() -> None:
    found = walked(GIVEN, "up")
    assert FILE in found.nodes
    assert {INDEX, RELEASE, CHUNK, DOCUMENT} <= set(found.nodes)


def test_a_walk_ends_at_its_depth_or_its_most_nodes_and_says_so() -> None:
    assert (walked(DOCUMENT, "down", 1).nodes, walked(DOCUMENT, "down", 1).is_cut) == ((DOCUMENT, CHUNK), True)
    assert (len(walked(FILE, "down", None, 3).nodes), walked(FILE, "down", None, 3).is_cut) == (3, True)
    assert not walked(DOCUMENT, "down", 10, 100).is_cut
    assert walked(FILE, "up").nodes == (FILE,)


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_of_each_kind_is_an_address(kind: str) -> None:
    assert str(read_node(f"{kind}:{KINDS[kind]}")) == f"{kind}:{KINDS[kind]}"


def test_a_document_id_may_look_like_an_address() -> None:
    assert read_node("document:a@b.example") == Node("document", "a@b.example")
    assert read_node(f"document:a@b@{TABLE}") == Node("document", "a@b", TABLE)
    assert read_node("chunk:c@s3://b/docs") == Node("chunk", "c", TABLE)


@pytest.mark.parametrize("text", ["", "qa/7", "release:", "nothing:qa", "table:s3a://b/docs", "release: ", ":"])
def test_what_is_no_address_is_refused_with_examples(text: str) -> None:
    with pytest.raises(InvalidData, match=r"names no (node|version)"):
        read_node(text)


def test_names_cannot_break_out_of_a_drawing() -> None:
    """The attacker names a document; whoever draws the graph opens it in a browser."""
    evil = Node("document", '"]; click n0 "javascript:alert(1)"\n%% <script>\\', TABLE)
    graph = Graph((evil,), "down", (evil, CHUNK), (Edge(evil, CHUNK, "was cut into", ""),), False)
    drawn = mermaid(graph)
    assert len(drawn.splitlines()) == 4
    assert not {"<", ";\n", '"javascript'} & {part for part in ("<", ";\n", '"javascript') if part in drawn}
    assert drawn.count('"') == 6
    as_dot = dot(graph)
    assert len(as_dot.splitlines()) == 6
    assert '\\"]; click' in as_dot
