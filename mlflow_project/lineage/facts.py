"""All edges of a node, whatever its kind. Joins the readers of releases, texts, trainings and answers.

In: the parts of a command, and nodes. Out: edges. `gaps` says which facts must be there and cannot be read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from mlflow_project.answering.question import GIVEN
from mlflow_project.errors import NotFound
from mlflow_project.feedback.live import Row, feedback
from mlflow_project.lineage.answers import every_answer
from mlflow_project.lineage.graph import Direction, Edge, Graph, Node, walk
from mlflow_project.lineage.release_facts import ReleaseFacts
from mlflow_project.lineage.steps import Unrecorded
from mlflow_project.lineage.text_facts import TextFacts
from mlflow_project.lineage.texts import quality_at
from mlflow_project.lineage.training_facts import TrainingFacts
from mlflow_project.parts import Parts


class Facts:
    """What was recorded, as edges. All calls may raise `Unavailable`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.releases = ReleaseFacts(parts)
        self.texts = TextFacts(parts.store, self.releases)
        self.trainings = TrainingFacts(parts)
        self._known: dict[Node, list[Edge]] = {}

    @property
    def gaps(self) -> list[str]:
        """What must be there and cannot be read. A walk past it may be incomplete."""
        return [*self.releases.gaps, *self.texts.gaps, *self.trainings.gaps]

    @cached_property
    def answers(self) -> dict[str, Row]:
        """Every recorded answer, by the name of its node: its request id, or its event's if several have that id."""
        rows = every_answer(self._parts.store)
        times = Counter(row["request_id"] for row in rows)
        return {row["request_id"] if times[row["request_id"]] == 1 else row["event_id"]: row for row in rows}

    @cached_property
    def _by_chunk(self) -> dict[str, list[str]]:
        """The names of the answers that were given a chunk."""
        found: dict[str, list[str]] = {}
        for name, row in self.answers.items():
            for chunk in dict.fromkeys(row["chunks"] or ()):
                found.setdefault(chunk, []).append(name)
        return found

    @cached_property
    def _by_release(self) -> dict[str, list[str]]:
        """The names of the answers of a release."""
        found: dict[str, list[str]] = {}
        for name, row in self.answers.items():
            found.setdefault(row["release"], []).append(name)
        return found

    @cached_property
    def _feedback(self) -> list[Row]:
        return feedback(self._parts.store.settings)

    def walk(
        self, starts: list[Node], direction: Direction, depth: int | None = None, most: int | None = None
    ) -> Graph:
        """Follow edges from these nodes. A chunk or document without a table is looked up in each.

        Raises:
            NotFound: nothing that was recorded names the nodes.
        """
        located = [each for node in starts for each in self.texts.located(node)]
        if not any(self.edges(node, way) for node in located for way in ("up", "down")):
            named = ", ".join(map(str, starts))
            raise NotFound(f"Nothing that was recorded names {named}. `switchyard list` shows prompts and models.")
        return walk(located, direction, self.edges, depth, most)

    def describe(self, node: Node) -> dict[str, Any]:
        """A node as JSON-ready data. A version of a chunk table has the `quality` of its texts, or a sentence that says
        why it cannot be read."""
        described: dict[str, Any] = {"node": str(node), "kind": node.kind}
        table, _, version = node.name.rpartition("@")
        if node.kind == "table" and table in self.texts.tables:
            try:
                described["quality"] = quality_at(table, int(version)).to_dict()
            except Unrecorded as unrecorded:
                described["quality"] = {"unknown": str(unrecorded)}
        return described

    def edges(self, node: Node, direction: Direction) -> list[Edge]:
        """The edges from a node to what rests on it (`down`), or to what it rests on (`up`)."""
        if node not in self._known:
            self._known[node] = list(self._read(node))
        return [each for each in self._known[node] if (each.source if direction == "down" else each.target) == node]

    def _read(self, node: Node) -> Iterator[Edge]:
        """The edges that begin or end at a node."""
        releases, texts = self.releases, self.texts
        if node.kind in ("table", "release", "run"):
            yield from self.trainings.edges(node)
        if node.kind in ("file", "message"):
            yield from texts.of_file(node)
        elif node.kind == "document":
            yield from texts.of_document(node)
        elif node.kind == "chunk":
            yield from texts.of_chunk(node)
            for name in self._by_chunk.get(node.name, ()):
                yield from self._given(name, self.answers[name], node)
        elif node.kind == "table":
            yield from texts.of_table(node)
            yield from releases.of_table(node)
        elif node.kind == "index":
            yield from releases.of_index(node)
        elif node.kind == "release":
            yield from releases.of_release(node)
            yield from (self._by(name, self.answers[name]) for name in self._by_release.get(node.name, ()))
        elif node.kind == "run":
            yield from releases.of_run(node)
        elif node.kind == "record":
            yield from releases.of_record(node)
        elif node.kind in ("cases", "policy"):
            yield from releases.of_evidence(node)
        elif node.kind == "answer" and node.name in self.answers:
            row = self.answers[node.name]
            yield self._by(node.name, row)
            yield from self._given(node.name, row)
            yield from self._judged(node, row)
        elif node.kind == "feedback":
            for name, row in self.answers.items():
                yield from (edge for edge in self._judged(Node("answer", name), row) if edge.target == node)

    def _by(self, name: str, row: Row) -> Edge:
        return Edge(Node("release", row["release"]), Node("answer", name), "answered", f"event {row['event_id']}")

    def _given(self, name: str, row: Row, only: Node | None = None) -> Iterator[Edge]:
        """The chunks that an answer was given, all or one. The release says of which table they are."""
        if not row["chunks"] or (only is not None and only.name not in row["chunks"]):
            return
        known = self.releases.releases.get(row["release"])
        base = known.manifest.knowledge_base if known is not None and known.digest == row["digest"] else None
        if base is None:
            return
        for chunk in dict.fromkeys(row["chunks"]):
            node = Node("chunk", chunk, base.table)
            if chunk != GIVEN and only in (None, node):
                yield Edge(node, Node("answer", name), "was given to", f"event {row['event_id']}")

    def _judged(self, node: Node, row: Row) -> Iterator[Edge]:
        for said in self._feedback:
            if said["answer_event"] == row["event_id"]:
                fact = f"event {said['event_id']}"
                yield Edge(node, Node("feedback", said["feedback_id"]), "was judged by", fact)
