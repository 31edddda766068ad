"""`lineage ask`, `up`, `down`, `impact` and `publish`: what an answer rests on, and what rests on a text."""

from __future__ import annotations

import json as json_format
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlflow_project.commands.arguments import Reason, Text, whole_number
from mlflow_project.commands.bootstrap import command_parts
from mlflow_project.commands.knowledge import printed_by
from mlflow_project.commands.output import Json, emit, progress, reports_errors, table
from mlflow_project.commands.publishing import publish
from mlflow_project.errors import InvalidData, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console

    from mlflow_project.lineage.graph import Direction, Graph, Node
    from mlflow_project.lineage.impact import Impact
    from mlflow_project.lineage.retract import Retracted
    from mlflow_project.lineage.trace import Trace

_MARKS = {"ok": "ok", "broken": "BROKEN", "unknown": "unknown"}
_MOST_NODES = 2_000
_SHOWN = 20
"""How many nodes of a kind a person sees. `--json` prints all."""

Named = Annotated[
    Text, typer.Argument(metavar="NODE", parser=str, help="As in release:qa/7, document:faq-3, answer:REQUEST_ID.")
]
Depth = Annotated[int | None, typer.Option(metavar="N", parser=whole_number(1), help="How many edges to follow.")]
Mermaid = Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid flowchart.")]
Dot = Annotated[bool, typer.Option("--dot", help="Print Graphviz's language.")]


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    lineage = typer.Typer(help="What an answer rests on, and what rests on a text.", no_args_is_help=True)
    lineage.callback()(_lineage)
    for name, command in (("ask", ask_lineage), ("up", up), ("down", down), ("impact", impact), ("publish", publish)):
        lineage.command(name)(command)
    app.add_typer(lineage, name="lineage")


def _lineage() -> None:
    """What an answer rests on, and what rests on a text."""


@reports_errors
def ask_lineage(
    request_id: Annotated[
        Text, typer.Argument(metavar="REQUEST_ID", parser=str, help="The answer's X-Request-Id, or its event's id.")
    ],
    as_json: Json = False,
) -> None:
    """Follow an answer back: release, seal, flip, index, table version, chunks, documents, raw file and line.

    Checks every step: digests, the seal's signature, and that each text at its offsets is the chunk. Exit code 4 if the
    chain breaks anywhere; `unknown` marks what nobody recorded.
    """
    from mlflow_project.lineage.trace import trace_answer

    with command_parts() as parts:
        trace = trace_answer(parts, request_id)
    emit(trace.to_dict(), as_json, lambda console: _show_trace(console, trace))
    if trace.is_broken:
        raise typer.Exit(Refused.exit_code)


@reports_errors
def up(named: Named, depth: Depth = None, as_json: Json = False, mermaid: Mermaid = False, dot: Dot = False) -> None:
    """Show what a node rests on, as far back as anything was recorded."""
    _walk(named, "up", depth, as_json, mermaid, dot)


@reports_errors
def down(named: Named, depth: Depth = None, as_json: Json = False, mermaid: Mermaid = False, dot: Dot = False) -> None:
    """Show what rests on a node, up to answers and their feedback."""
    _walk(named, "down", depth, as_json, mermaid, dot)


@reports_errors
def impact(
    document: Annotated[
        str | None, typer.Option(metavar="ID", help="A document: ID in every table, or ID@TABLE in one.")
    ] = None,
    chunk_table: Annotated[str | None, typer.Option("--table", metavar="TABLE", help="A chunk table.")] = None,
    file: Annotated[str | None, typer.Option(metavar="FILE", help="A raw file, as s3a://bucket/key.")] = None,
    retract: Annotated[
        bool, typer.Option("--retract", help="Take the documents out, and mark the releases that rest on them.")
    ] = False,
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """List everything that rests on a document, a chunk table or a raw file.

    Every chunk, index, release, evaluation and answer; what of it is live now; and the commands that take it out.
    Changes nothing without `--retract`. With it, the documents leave their tables and stay out of them, and releases
    that rest on them can no longer be promoted. Exit code 4 if a recorded fact cannot be read, so that the list may be
    incomplete.
    """
    from mlflow_project.lineage.graph import Node, read_node
    from mlflow_project.lineage.impact import impact as impact_of
    from mlflow_project.lineage.impact import table_nodes
    from mlflow_project.lineage.retract import retract as retract_texts

    if sum(each is not None for each in (document, chunk_table, file)) != 1:
        raise InvalidData("Of what? Give one of --document, --table and --file.")
    if retract and chunk_table is not None:
        raise InvalidData("A whole table is not retracted: give --document or --file, or delete the table.")
    taken = None
    with command_parts() as parts:
        if chunk_table is not None:
            starts = table_nodes(parts, chunk_table)
        else:
            starts = [read_node(f"document:{document}") if document is not None else Node("file", _s3a(file or ""))]
        found = impact_of(parts, starts, retracting=retract)
        if retract:
            taken = retract_texts(parts, found, parts.who, reason)
    if taken is not None:
        for chunks in taken.documents:
            progress.print(printed_by("spark-submit", "retractions.py", [chunks]).rstrip(), markup=False)
    data = {**found.to_dict(), "retracted": taken.to_dict() if taken else None}
    emit(data, as_json, lambda console: _show_impact(console, found, taken))
    _end(found.gaps)


def _walk(named: str, direction: Direction, depth: int | None, as_json: bool, mermaid: bool, dot: bool) -> None:
    from mlflow_project.lineage import drawing
    from mlflow_project.lineage.facts import Facts
    from mlflow_project.lineage.graph import read_node

    if as_json + mermaid + dot > 1:
        raise InvalidData("Give one of --json, --mermaid and --dot.")
    with command_parts() as parts:
        facts = Facts(parts)
        graph = facts.walk([read_node(named)], direction, depth, _MOST_NODES)
        nodes = [] if mermaid or dot else [facts.describe(node) for node in graph.nodes]
    if mermaid or dot:
        sys.stdout.write(drawing.mermaid(graph) if mermaid else drawing.dot(graph))
    else:
        data = {
            "start": [str(node) for node in graph.start],
            "direction": direction,
            "nodes": nodes,
            "edges": [edge.to_dict() for edge in graph.edges],
            "cut": graph.is_cut,
            "gaps": facts.gaps,
        }
        emit(data, as_json, lambda console: _show_graph(console, graph))
    if graph.is_cut:
        progress.print(f"The graph goes on. It was cut at --depth, or at {_MOST_NODES:,} nodes.", soft_wrap=True)
    _end(facts.gaps)


def _end(gaps: Sequence[str]) -> None:
    """End with exit code 4 if a fact could not be read."""
    for gap in gaps:
        progress.print(f"Cannot be read: {gap}", style="red", markup=False, soft_wrap=True)
    if gaps:
        raise typer.Exit(Refused.exit_code)


def _s3a(address: str) -> str:
    return "s3a://" + address[5:] if address.startswith("s3://") else address


def _show_trace(console: Console, trace: Trace) -> None:
    event = trace.answer
    console.print(f"{event['release']} answered request {event['request_id']} at {event['at']}.", markup=False)
    manifest = trace.release.get("manifest")
    if manifest is not None:
        for line in _pinned(manifest):
            console.print(f"  {line}", markup=False, soft_wrap=True)
    rows = [(step.node, step.check, _MARKS[step.status], step.detail) for step in trace.steps]
    console.print(table(("what", "check", "", "found"), rows))
    for chunk in trace.chunks:
        console.print(f"\n{_place(chunk)}", markup=False, soft_wrap=True)
        console.print(chunk["text"], markup=False, soft_wrap=True)


def _pinned(manifest: Mapping[str, Any]) -> Iterator[str]:
    """What the release pins: provider with parameters, template, knowledge base."""
    provider = manifest.get("provider")
    if provider is not None:
        yield f"provider: {provider['name']} {provider['model']} {json_format.dumps(provider['parameters'])}"
    for message in manifest.get("template", ()):
        yield f"template, {message['role']}: {json_format.dumps(message['content'], ensure_ascii=False)}"
    base = manifest.get("knowledge_base")
    if base is not None:
        yield f"knowledge base: {base['table']} at version {base['delta_version']}, {base['index']}"


def _place(chunk: Mapping[str, Any]) -> str:
    return f"Chunk {chunk['chunk_id']}: {chunk['document_id']}, {chunk['start']} to {chunk['end']}"


def _show_graph(console: Console, graph: Graph) -> None:
    rows = [(str(edge.source), edge.how, str(edge.target), edge.fact) for edge in graph.edges]
    if rows:
        console.print(table(("this", "", "that", "recorded in"), rows))
        return
    direction = "rests on nothing" if graph.direction == "up" else "has nothing that rests on it"
    console.print(f"{', '.join(map(str, graph.start))} {direction} that was recorded.", markup=False, soft_wrap=True)


def _show_impact(console: Console, found: Impact, taken: Retracted | None) -> None:
    for kind in ("document", "chunk", "index", "release", "run", "answer", "feedback"):
        nodes = found.graph.of_kind(kind)
        console.print(f"{len(nodes):,} {_PLURALS[kind]}{_some(nodes)}", markup=False, soft_wrap=True)
    if found.unsaid:
        console.print(f"{found.unsaid:,} answers of these releases do not say which chunks they were given.")
    rows = [(each.release, each.alias, each.since, each.share) for each in found.live]
    console.print(table(("live now", "alias", "since", "share"), rows) if rows else "Nothing of this is live.")
    if taken is not None:
        for release, serial in taken.records.items():
            line = f"{release} rests on retracted text (record {serial}): it is not promoted or gone back to any more."
            console.print(line, markup=False, soft_wrap=True)
        console.print("Taken out of the tables. What is left to do:" if found.commands else "Taken out of the tables.")
    for command in found.commands:
        console.print(f"  {command}", markup=False, soft_wrap=True)


_PLURALS = {
    "document": "documents",
    "chunk": "chunks",
    "index": "indexes",
    "release": "releases",
    "run": "evaluations",
    "answer": "answers",
    "feedback": "judgements",
}


def _some(nodes: Sequence[Node]) -> str:
    if not nodes:
        return ""
    more = f" and {len(nodes) - _SHOWN:,} more" if len(nodes) > _SHOWN else ""
    return f": {', '.join(str(node) for node in nodes[:_SHOWN])}{more}"
