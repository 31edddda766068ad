"""`index` builds the search index of a chunk table; `index show` says what is in the newest one, and why.

The build runs in its own process, by Python: it starts Spark only if vectors of WordLlama are missing.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from mlflow_project.commands.arguments import Text, whole_number
from mlflow_project.commands.knowledge import run_job
from mlflow_project.commands.output import Json, emit, reports_errors, table
from mlflow_project.errors import InvalidData

_SHOW = "show"
_WHY = {
    "wordllama": "WordLlama's vectors are weak on special texts: 0.2 is the largest weight that was never below words "
    "alone (docs/decisions/0019).",
    "onnx": "0.2 was measured for WordLlama. A sentence model may bear more: `switchyard tune` measures it.",
    "openai": "0.2 was measured for WordLlama. This embedder may bear more: `switchyard tune` measures it.",
    "gemini": "0.2 was measured for WordLlama. This embedder may bear more: `switchyard tune` measures it.",
}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(index)


@reports_errors
def index(
    chunk_table: Annotated[
        Text, typer.Argument(metavar="TABLE|show", parser=str, help="A chunk table, or the word `show`.")
    ],
    described: Annotated[
        Text | None, typer.Argument(metavar="TABLE", parser=str, help="After `show`: the table to describe.")
    ] = None,
    version: Annotated[
        int | None, typer.Option(metavar="N", parser=whole_number(0), help="The Delta version. Default: the newest.")
    ] = None,
    vectors: Annotated[bool, typer.Option("--vectors", help="Add vectors, for hybrid search.")] = False,
    embedder: Annotated[
        str | None,
        typer.Option(
            metavar="EMBEDDER",
            help="Who makes the vectors: wordllama (default), openai:MODEL, gemini:MODEL or onnx:FOLDER.",
        ),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="NAME", help="An endpoint of providers.yaml. Default: LLM_API_URL.")
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(metavar="N", parser=whole_number(1), help="Numbers of a vector. Default: the model's.")
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(metavar="N", parser=whole_number(1), help="Cut texts after so many characters, or tokens (onnx)."),
    ] = None,
    reranker: Annotated[
        str | None,
        typer.Option(
            metavar="RERANKER", help="Who orders what was found: onnx:FOLDER or endpoint:MODEL. Default: none."
        ),
    ] = None,
    reranker_endpoint: Annotated[
        str | None, typer.Option(metavar="NAME", help="The reranker's endpoint. Default: LLM_API_URL.")
    ] = None,
    per_minute: Annotated[
        int | None, typer.Option(metavar="N", parser=whole_number(1), help="The most requests in a minute.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Build the search index of a chunk table.

    Does nothing if that Delta version of the table has such an index already. `switchyard index show TABLE` describes
    the newest index.
    """
    chosen = {
        "--version": version,
        "--embedder": embedder,
        "--endpoint": endpoint,
        "--dimensions": dimensions,
        "--max-length": max_length,
        "--reranker": reranker,
        "--reranker-endpoint": reranker_endpoint,
        "--per-minute": per_minute,
    }
    options = [part for name, value in chosen.items() if value is not None for part in (name, str(value))]
    options += ["--vectors"] if vectors else []
    if described is None:
        run_job("python", "build_index.py", [chunk_table, *options], as_json)
        return
    if chunk_table != _SHOW:
        raise InvalidData(f"Name one chunk table, or `show` and one; {chunk_table} {described} is neither.")
    if options:
        raise InvalidData(f"`switchyard index show` takes no {options[0]}: it describes the newest index.")
    _show_index(described, as_json)


def _show_index(chunk_table: str, as_json: bool) -> None:
    from mlflow_project.adapters.object_store import ObjectStore
    from mlflow_project.adapters.retrieval import index_store
    from mlflow_project.adapters.retrieval.embeddings import DIMENSIONS
    from mlflow_project.adapters.retrieval.specification import Embedder
    from mlflow_project.domain.release import Retrieval
    from mlflow_project.settings import StoreSettings, load

    store = ObjectStore(load(StoreSettings))
    pinned = index_store.latest(store, chunk_table)
    manifest = index_store.manifest_of(store, pinned.index)
    embedder = Embedder.from_data(manifest["specification"].get("vectors"))
    default = Retrieval(fusion="scores")
    data: dict[str, Any] = {
        "table": pinned.table,
        "delta_version": pinned.delta_version,
        "index": pinned.index,
        **manifest["counts"],
        "bytes": sum(file["bytes"] for file in manifest["files"]),
        "words": manifest["specification"].get("words"),
        "filters": manifest["specification"].get("filters"),
        "embedder": None,
    }
    if "reranker" in manifest["specification"]:
        data["reranker"] = manifest["specification"]["reranker"]
    if embedder is not None:
        described = {key: value for key, value in vars(embedder).items() if value is not None}
        described["dimensions"] = manifest.get("dimensions") or embedder.dimensions or DIMENSIONS
        data |= {
            "embedder": {"name": embedder.name, **described, "length": 1},
            "weights": {"words": default.words_weight, "vectors": default.vectors_weight, "fusion": default.fusion},
            "why": _WHY[embedder.kind],
        }
    emit(data, as_json, lambda console: _print_index(console, data))


def _print_index(console: Console, data: dict[str, Any]) -> None:
    embedder, size = data["embedder"], f"{data['bytes'] / 1e6:.1f} MB"
    rows = [
        ["table", f"{data['table']} at Delta version {data['delta_version']}"],
        ["digest", data["index"]],
        ["size", f"{data['chunks']} chunks of {data['documents']} documents, {size}"],
        ["words", f"BM25, analysis {data['words']}"],
    ]
    if embedder is None:
        rows.append(["vectors", "none: the index finds words only"])
    else:
        weights = data["weights"]
        rows += [
            ["vectors", f"{embedder['name']}, {embedder['dimensions']} dimensions, scaled to length 1"],
            *([name, str(embedder[key])] for key, name in _SHOWN.items() if key in embedder),
            ["default weights", f"words {weights['words']:g}, vectors {weights['vectors']:g}, by {weights['fusion']}"],
            ["why", data["why"]],
        ]
    if "reranker" in data:
        found = data["reranker"]
        rows.append(["reranker", f"{found['kind']}:{found['model']}, if a template sets `rerank`"])
    console.print(table(["", data["table"].rsplit("/", 1)[-1]], rows))


_SHOWN = {
    "endpoint": "endpoint",
    "max_characters": "cut after characters",
    "max_tokens": "cut after tokens",
    "pooling": "pooling",
    "files": "model files",
}
