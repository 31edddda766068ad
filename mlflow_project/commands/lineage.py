"""`lineage ask`: what an answer rests on, checked step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlflow_project.commands.arguments import Text
from mlflow_project.commands.bootstrap import command_parts
from mlflow_project.commands.output import Json, emit, reports_errors, table
from mlflow_project.errors import Refused

if TYPE_CHECKING:
    from rich.console import Console

    from mlflow_project.lineage.trace import Trace

_MARKS = {"ok": "ok", "broken": "BROKEN", "unknown": "unknown"}


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    lineage = typer.Typer(help="What an answer rests on, and what rests on a text.", no_args_is_help=True)
    lineage.callback()(_lineage)
    lineage.command("ask")(ask_lineage)
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


def _show_trace(console: Console, trace: Trace) -> None:
    event = trace.answer
    console.print(f"{event['release']} answered request {event['request_id']} at {event['at']}.", markup=False)
    rows = [(step.node, step.check, _MARKS[step.status], step.detail) for step in trace.steps]
    console.print(table(("what", "check", "", "found"), rows))
    for chunk in trace.chunks:
        console.print(f"\n{_place(chunk)}", markup=False, soft_wrap=True)
        console.print(chunk["text"], markup=False, soft_wrap=True)


def _place(chunk: dict[str, Any] | Any) -> str:
    return f"Chunk {chunk['chunk_id']}: {chunk['document_id']}, {chunk['start']} to {chunk['end']}"
