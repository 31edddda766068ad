"""Nodes and edges of lineage, and walks along them. Pure: readers say which edges a node has.

A node has a plain address, such as `release:qa/7`, `index:sha256:…`, `table:s3a://bucket/docs@12` or `document:faq-3`.
Chunks and documents belong to a table: `chunk:ID@TABLE`. An edge says that its target rests on its source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mlflow_project.errors import InvalidData

KINDS = {
    "file": "s3a://raw-data-bucket/articles/raw_docs.json",
    "message": "raw-documents/1/7",
    "document": "faq-3",
    "chunk": "2f6c0c1d",
    "table": "s3a://curated-data-bucket/docs@12",
    "index": "sha256:5d41…",
    "release": "qa/7",
    "run": "4b1d9f20",
    "cases": "sha256:5d41…",
    "policy": "sha256:5d41…",
    "record": "12",
    "answer": "0f8c2a51",
    "feedback": "77ab01",
}
"""Each kind of node with an example of a name."""
TEXTS = ("file", "message", "document", "chunk")

Direction = Literal["up", "down"]


@dataclass(frozen=True)
class Node:
    """One thing that something rests on, or that rests on something. `table` is set for chunks and documents."""

    kind: str
    name: str
    table: str | None = None

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" + (f"@{self.table}" if self.table is not None else "")


@dataclass(frozen=True)
class Edge:
    """`target` rests on `source`. `how` is a verb, from the source's side; `fact` is where that was recorded."""

    source: Node
    target: Node
    how: str
    fact: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "source": str(self.source), "target": str(self.target)}


EdgesOf = Callable[[Node, Direction], Iterable[Edge]]


@dataclass(frozen=True)
class Graph:
    """The nodes and edges that a walk found, in the order of their distance. `is_cut`: the walk ended before all."""

    start: tuple[Node, ...]
    direction: Direction
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    is_cut: bool

    def of_kind(self, kind: str) -> list[Node]:
        """The nodes of one kind."""
        return [node for node in self.nodes if node.kind == kind]


def read_node(text: str) -> Node:
    """Read an address as people write it.

    Raises:
        InvalidData: it names no kind of node, or nothing of that kind.
    """
    kind, mark, name = text.replace("s3://", "s3a://").partition(":")
    if kind not in KINDS or not mark or not name.strip():
        known = ", ".join(f"{each}:{example}" for each, example in KINDS.items())
        raise InvalidData(f"{text!r} names no node. Write one of: {known}.")
    if kind in ("document", "chunk"):
        own, at, table = name.rpartition("@")
        if at and own and ("://" in table or table.startswith("/")):
            return Node(kind, own, table)
    if kind == "table" and not name.rpartition("@")[2].isdigit():
        raise InvalidData(f"{text!r} names no version of the table: write {text}@12.")
    return Node(kind, name)


def walk(start: Iterable[Node], direction: Direction, edges_of: EdgesOf, depth: int | None, most: int | None) -> Graph:
    """Follow edges from these nodes, nearest first, to a depth and up to a number of nodes. None: without a limit.

    An answer rests on the chunks that it was given, and not on every chunk of its release's index. So a walk down from
    a text reaches answers by their chunks alone.
    """
    first = tuple(dict.fromkeys(start))
    of_texts = direction == "down" and all(node.kind in TEXTS for node in first)
    seen, edges, ring, distance, is_cut = dict.fromkeys(first), dict[Edge, None](), list(first), 0, False
    while ring:
        found: list[Node] = []
        for node in ring:
            for edge in sorted(edges_of(node, direction), key=_order):
                if of_texts and (edge.source.kind, edge.target.kind) == ("release", "answer"):
                    continue
                other = edge.target if direction == "down" else edge.source
                if distance == depth or (other not in seen and most is not None and len(seen) >= most):
                    is_cut = True
                    continue
                edges[edge] = None
                if other not in seen:
                    seen[other] = None
                    found.append(other)
        ring, distance = found, distance + 1
    return Graph(first, direction, tuple(seen), tuple(edges), is_cut)


def _order(edge: Edge) -> tuple[str, ...]:
    return (str(edge.source), str(edge.target), edge.how, edge.fact)
