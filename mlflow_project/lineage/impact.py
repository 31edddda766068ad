"""Everything that rests on a document, a raw file or a table: what of it is live now, and what takes it out.

In: where to begin, and the facts. Out: an `Impact`. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any
from urllib.parse import quote as in_url

from mlflow_project.adapters.retrieval import index_store
from mlflow_project.adapters.retrieval.specification import Embedder
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.ledger import NameState
from mlflow_project.ledger.state import PRODUCTION
from mlflow_project.lineage.facts import Facts
from mlflow_project.lineage.graph import Graph, Node
from mlflow_project.lineage.release_facts import KnownRelease
from mlflow_project.parts import Parts


@dataclass(frozen=True)
class Live:
    """An affected release that serves now. `share` is set for the canary of a rollout."""

    release: str
    alias: str
    since: str
    share: float | None = None


@dataclass(frozen=True)
class Impact:
    """Everything that rests on some nodes. `releases` are the affected ones by label. `unsaid` counts those of their
    answers that do not say which chunks they got.
    """

    graph: Graph
    releases: Mapping[str, KnownRelease]
    live: Sequence[Live]
    unsaid: int
    commands: Sequence[str]
    gaps: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        kinds = {"documents": "document", "chunks": "chunk", "indexes": "index", "releases": "release"}
        kinds |= {"evaluations": "run", "records": "record", "answers": "answer", "feedback": "feedback"}
        return {
            "of": [str(node) for node in self.graph.start],
            **{name: [str(node) for node in self.graph.of_kind(kind)] for name, kind in kinds.items()},
            "answers_that_do_not_say": self.unsaid,
            "live": [vars(each) for each in self.live],
            "commands": list(self.commands),
            "gaps": list(self.gaps),
        }


def impact(parts: Parts, starts: Sequence[Node], *, retracting: bool = False) -> Impact:
    """Everything that rests on these nodes.

    Args:
        retracting: the documents are taken out of their tables without a new raw file, so no command says how.

    Raises:
        NotFound: nothing that was recorded names them. Unavailable: a service does not answer.
    """
    facts = Facts(parts)
    graph = facts.walk(list(starts), "down")
    releases = {node.name for node in graph.of_kind("release")}
    unsaid = sum(row["release"] in releases and row["chunks"] is None for row in facts.answers.values())
    states = list(parts.ledger.state().names.values())
    live = [each for state in states for each in _live(state, releases, facts)]
    commands = _commands(parts, facts, graph, states, live, retracting)
    known = {label: each for label, each in facts.releases.releases.items() if label in releases}
    return Impact(graph, known, live, unsaid, commands, facts.gaps)


def table_nodes(parts: Parts, table: str) -> list[Node]:
    """Every version of a chunk table that an index was built from, and its newest version.

    Raises:
        NotFound: no index was built from the table.
    """
    table = index_store.table_uri(table)
    versions = Facts(parts).texts.tables.get(table)
    if not versions:
        raise NotFound(f"No index was built from {table}, so nothing rests on it.")
    return [Node("table", f"{table}@{version}") for version in versions]


def _live(state: NameState, releases: set[str], facts: Facts) -> list[Live]:
    """The affected releases of a name that serve now, by the ledger."""

    def is_affected(version: int, digest: str) -> bool:
        known = facts.releases.releases.get(f"{state.name}/{version}")
        return known is not None and known.label in releases and known.digest == digest

    found = [
        Live(f"{state.name}/{live.version}", alias, live.since)
        for alias, live in sorted(state.live.items())
        if is_affected(live.version, live.digest)
    ]
    rollout = state.rollout
    if rollout is not None and is_affected(rollout.version, rollout.digest):
        found.append(Live(f"{state.name}/{rollout.version}", "Canary", rollout.opened, rollout.share))
    return found


def _commands(
    parts: Parts, facts: Facts, graph: Graph, states: Sequence[NameState], live: Sequence[Live], retracting: bool
) -> list[str]:
    """What to type, in order: out of traffic at once where that can be, then out of the texts."""
    affected = {node.name for node in graph.of_kind("release")}
    commands = []
    for state in states:
        mine = [each for each in live if each.release.rpartition("/")[0] == state.name]
        if any(each.alias == "Canary" for each in mine):
            commands.append(f"switchyard rollout abort {quote(state.name)} --reason 'it rests on retracted text'")
        target = state.rollback_target()
        is_live = any(each.alias == PRODUCTION for each in mine)
        if is_live and target is not None and f"{state.name}/{target.version}" not in affected:
            commands.append(f"switchyard rollback {quote(state.name)} --reason 'it rests on retracted text'")
    tables = sorted({node.table for node in graph.of_kind("document") if node.table is not None})
    for table in tables:
        if not retracting:
            commands += _out_of_table(facts, graph, table)
        commands.append(f"switchyard index {quote(table)}{_embedder(parts, facts, graph, table)}")
    for name in sorted({each.release.rpartition("/")[0] for each in live} if tables else ()):
        commands += [
            f"switchyard register {quote(f'prompts/{name}')}",
            f"switchyard evaluate {quote(name)}@Candidate",
            f"switchyard gate {quote(name)}@Candidate",
            f"switchyard promote {quote(name)}@Candidate --to Production",
        ]
    return commands


def _out_of_table(facts: Facts, graph: Graph, table: str) -> list[str]:
    """How the documents leave their raw files and the table."""
    commands = []
    raw: dict[str, None] = {}
    for node in graph.of_kind("document"):
        if node.table != table:
            continue
        sources = [edge.source for edge in facts.edges(node, "up")]
        for source in sources:
            if source.kind == "message":
                commands.append(f"curl -X DELETE http://127.0.0.1:8002/ingest/documents/{in_url(node.name, safe='')}")
            else:
                commands.append(f"# take the row of {node.name} out of {source.name}")
                raw[source.name] = None
        if not sources:
            commands.append(f"# take the row of {node.name} out of the raw file that {table} was prepared from")
    return [*commands, *(f"switchyard prepare {quote(file)} {quote(table)}" for file in raw)]


def _embedder(parts: Parts, facts: Facts, graph: Graph, table: str) -> str:
    """The options with which a new index gets the vectors of the affected ones; empty if they have none."""
    for node in graph.of_kind("index"):
        base = facts.releases.indexes.get(node.name)
        if base is None or base.table != table:
            continue
        try:
            used = Embedder.from_data(index_store.manifest_of(parts.store, node.name)["specification"].get("vectors"))
        except (NotFound, InvalidData):
            continue
        if used is not None:
            return " ".join(["", *_options(used)])
    return ""


def _options(embedder: Embedder) -> list[str]:
    if embedder.kind == "wordllama":
        return ["--vectors"]
    limit = embedder.max_tokens if embedder.kind == "onnx" else embedder.max_characters
    given = {
        "--embedder": quote(embedder.name),
        "--endpoint": embedder.endpoint and quote(embedder.endpoint),
        "--dimensions": embedder.dimensions,
        "--max-length": limit,
    }
    return [part for name, value in given.items() if value is not None for part in (name, str(value))]
