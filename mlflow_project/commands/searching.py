"""`search`: look up chunks in the search index of a table, as a release that pins it would."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mlflow_project.commands.arguments import Text, whole_number
from mlflow_project.commands.output import Json, emit, reports_errors, table
from mlflow_project.errors import InvalidData, ProviderError

if TYPE_CHECKING:
    from mlflow_project.adapters.retrieval.explained import Hit, Place, Way
    from mlflow_project.adapters.retrieval.index import Index

_MOST_CHUNKS = 100
_SHOWN = 200
"""Characters of a chunk that a person sees. `--json` prints all."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(search)


@reports_errors
def search(
    chunk_table: Annotated[Text, typer.Argument(metavar="TABLE", parser=str, help="A chunk table with an index.")],
    question: Annotated[Text, typer.Argument(metavar="QUESTION", parser=str, help="What to look for.")],
    by_words: Annotated[bool, typer.Option("--words", help="Rank by words alone (BM25).")] = False,
    by_vectors: Annotated[bool, typer.Option("--vectors", help="Rank by vectors alone (cosine).")] = False,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="Join both rankings. The default with vectors.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say how each chunk was found.")] = False,
    chunks: Annotated[int, typer.Option(metavar="N", parser=whole_number(1), help="How many chunks, at most 100.")] = 5,
    as_json: Json = False,
) -> None:
    """Find chunks in the newest search index of a table.

    Shows the chunks, best first, with their scores and places. Starts no Spark and asks no model.
    """
    import tempfile
    from pathlib import Path

    from mlflow_project.adapters.object_store import ObjectStore
    from mlflow_project.adapters.retrieval import index_store
    from mlflow_project.adapters.retrieval.explained import search_index
    from mlflow_project.adapters.retrieval.index import open_index
    from mlflow_project.settings import StoreSettings, load, state_folder

    way = _way(by_words, by_vectors, hybrid)
    if chunks > _MOST_CHUNKS:
        raise InvalidData(f"--chunks is {chunks}, and must be at most {_MOST_CHUNKS}.")
    if not question.strip():
        raise InvalidData("The question is empty: write what to look for, in quotes.")
    store = ObjectStore(load(StoreSettings))
    pinned = index_store.latest(store, chunk_table)
    kept = state_folder() / "evaluation" / "indexes"
    kept.mkdir(parents=True, exist_ok=True)
    folder = index_store.fetch(store, pinned.index, kept)
    with tempfile.TemporaryDirectory(prefix="switchyard-search-") as scratch:
        index = open_index(folder, Path(scratch), pinned.index)
        vector = None if way == "words" else _vector(index, question)
        used, hits = search_index(index, question, way, chunks, vector)
    data = {
        "table": pinned.table,
        "delta_version": pinned.delta_version,
        "index": pinned.index,
        "way": used,
        "hits": [_plain(rank, hit) for rank, hit in enumerate(hits, start=1)],
    }
    emit(data, as_json, lambda console: _show(console, data, hits, explain))


def _vector(index: Index, question: str) -> Any:
    """The question's vector, if an endpoint embeds questions for this index. Else the index makes it itself.

    Raises:
        ProviderError: the endpoint failed.
    """
    import asyncio

    from mlflow_project.adapters.providers import Providers
    from mlflow_project.settings import ProviderSettings, load

    embedder = index.embedder
    if embedder is None or not index.asks_an_endpoint:
        return None

    async def ask() -> Any:
        async with Providers(load(ProviderSettings)) as providers:
            return (await providers.embeddings_for(embedder).embed([question], "question")).vectors[0]

    try:
        return asyncio.run(ask())
    except ProviderError as error:
        said = f"{error} To search by words alone, add --words."
        raise ProviderError(said, kind=error.kind, status=error.status, retry_after=error.retry_after) from error


def _way(by_words: bool, by_vectors: bool, hybrid: bool) -> Way | None:
    chosen: list[Way] = []
    chosen += ["words"] if by_words else []
    chosen += ["vectors"] if by_vectors else []
    chosen += ["hybrid"] if hybrid else []
    if len(chosen) > 1:
        raise InvalidData(f"Give one of --words, --vectors and --hybrid, not {len(chosen)}.")
    return chosen[0] if chosen else None


def _plain(rank: int, hit: Hit) -> dict[str, Any]:
    return {
        "rank": rank,
        **asdict(hit.context),
        "by_words": asdict(hit.by_words) if hit.by_words else None,
        "by_vectors": asdict(hit.by_vectors) if hit.by_vectors else None,
        "words": list(hit.words),
    }


def _show(console: Console, data: dict[str, Any], hits: list[Hit], explain: bool) -> None:
    console.print(
        f"{data['table']} at Delta version {data['delta_version']}, by {data['way']}:", markup=False, soft_wrap=True
    )
    if not hits:
        console.print("No chunk was found.")
        return
    names = ["", "score", "document", "from", "to", "pages", "title", "text"]
    rows = [_row(rank, hit) for rank, hit in enumerate(hits, start=1)]
    if explain:
        names = [*names, "by words", "by vectors", "words that hit"]
        explained = [[_place(hit.by_words), _place(hit.by_vectors), " ".join(hit.words)] for hit in hits]
        rows = [[*row, *more] for row, more in zip(rows, explained, strict=True)]
    console.print(table(names, rows))


def _row(rank: int, hit: Hit) -> list[Any]:
    found = hit.context
    text = " ".join(found.text.split())
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + " …"
    pages = ", ".join(map(str, found.pages))
    return [rank, f"{found.score:.4g}", found.document_id, found.start, found.end, pages, found.title, shown]


def _place(place: Place | None) -> str:
    return f"{place.rank}. ({place.score:.3g})" if place else "-"
