"""The vectors of chunks from an embedder that the user chose: an endpoint over HTTP, or an ONNX sentence model.

In: a chunk table at one version. Out: rows in `<chunk_table>_vectors`, committed as the vectors arrive, so that a build
that broke off continues with what is missing and pays for nothing twice. Starts no Spark: the endpoint does the work,
or onnxruntime with all cores of this machine.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake
from deltalake.exceptions import DeltaError

from mlflow_project.adapters.delta_tables import batches, open_table, storage_options
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.providers import Providers
from mlflow_project.adapters.providers.embedding import IN_A_REQUEST, Embedded
from mlflow_project.adapters.retrieval import cross_encoder, embeddings, sentence_model
from mlflow_project.adapters.retrieval.specification import MOST_CHARACTERS, OVER_HTTP, Embedder, Reranker
from mlflow_project.errors import InvalidData, NotFound, Unavailable
from mlflow_project.settings import ProviderSettings, load
from spark_jobs import tables
from spark_jobs.lease import one_writer
from spark_jobs.tables import Tables

AT_ONCE = 4
"""Requests on their way. If the machine fails, at most so many answers are lost and paid for again."""
IN_A_COMMIT = 512
"""Chunks that a sentence model embeds before they are committed. They cost time and no money."""

Batch = list[tuple[str, str]]
"""Ids of chunks with their texts."""


@dataclass(frozen=True)
class Chosen:
    """An embedder, and the folder of its files if it is a sentence model."""

    embedder: Embedder
    folder: Path | None = None


@dataclass(frozen=True)
class ChosenReranker:
    """A reranker, and the folder of its files if it is a cross-encoder."""

    reranker: Reranker
    folder: Path | None = None


@dataclass
class Spent:
    """What one build embedded. `usd` is None if the endpoint has no price for the model. `estimated`: the endpoint did
    not count tokens, so WordLlama's tokenizer did."""

    chunks: int = 0
    tokens: int = 0
    usd: float | None = None
    estimated: bool = False


def choose(
    asked: str, endpoint: str | None, dimensions: int | None, max_length: int | None, store: ObjectStore, scratch: Path
) -> Chosen:
    """The embedder that the options of a build name.

    Args:
        asked: `wordllama`, `openai:MODEL`, `gemini:MODEL`, or `onnx:FOLDER`, whose folder may lie in a bucket.
        max_length: where texts are cut, in characters for an endpoint and in tokens for a sentence model.
        scratch: where a folder of a bucket is copied to.

    Raises:
        InvalidData: there is no such embedder, or an option does not fit it.
    """
    kind, _, model = asked.partition(":")
    if asked == "wordllama":
        if endpoint or dimensions or max_length:
            raise InvalidData("--endpoint, --dimensions and --max-length are for other embedders than wordllama.")
        return Chosen(Embedder())
    if kind not in (*OVER_HTTP, "onnx") or not model:
        raise InvalidData(
            f"There is no embedder {asked!r}. There are: wordllama, openai:MODEL, gemini:MODEL and onnx:FOLDER."
        )
    if kind == "onnx":
        if endpoint:
            raise InvalidData("--endpoint is for the embedders openai and gemini.")
        folder = _fetched(model, store, scratch) if model.startswith(("s3://", "s3a://")) else Path(model)
        return Chosen(sentence_model.describe(folder, dimensions, max_length), folder)
    return Chosen(
        Embedder(
            kind="gemini" if kind == "gemini" else "openai",
            model=model,
            endpoint=endpoint,
            dimensions=dimensions,
            max_characters=max_length or MOST_CHARACTERS,
        )
    )


def choose_reranker(asked: str, endpoint: str | None, store: ObjectStore, scratch: Path) -> ChosenReranker:
    """The reranker that the options of a build name: `onnx:FOLDER`, whose folder may lie in a bucket, or
    `endpoint:MODEL`.

    Raises:
        InvalidData: there is no such reranker, or an option does not fit it.
    """
    kind, _, model = asked.partition(":")
    if kind not in ("onnx", "endpoint") or not model:
        raise InvalidData(f"There is no reranker {asked!r}. There are: onnx:FOLDER and endpoint:MODEL.")
    if kind == "endpoint":
        return ChosenReranker(Reranker("endpoint", model, endpoint, max_characters=MOST_CHARACTERS))
    if endpoint:
        raise InvalidData("--reranker-endpoint is for the reranker endpoint:MODEL.")
    folder = _fetched(model, store, scratch) if model.startswith(("s3://", "s3a://")) else Path(model)
    return ChosenReranker(cross_encoder.describe(folder), folder)


def complete(at: Tables, version: int, chosen: Chosen, per_minute: float | None) -> Spent:
    """Embed the chunks of a table version that have no vector of this embedder.

    Args:
        per_minute: the most requests in a minute, tries after a failure included; None: no limit of ours.

    Raises:
        ProviderError: the endpoint failed. What it gave before is kept. Refused: another writer holds the table.
    """
    with one_writer(at.vectors) as may_commit:
        spent = Spent()

        def keep(batch: Batch, embedded: Embedded) -> None:
            may_commit()
            _append(at.vectors, chosen.embedder, batch, embedded)
            spent.chunks += len(batch)
            spent.estimated |= embedded.tokens is None
            spent.tokens += sum(embeddings.count_tokens(text) for _, text in batch) * (embedded.tokens is None)
            spent.tokens += embedded.tokens or 0

        missing = _missing(at, version, chosen.embedder)
        if chosen.folder is not None:
            _run_model(chosen, chosen.folder, missing, keep)
        else:
            spent.usd = asyncio.run(_ask_endpoint(chosen.embedder, missing, keep, spent, per_minute))
    return spent


def _missing(at: Tables, version: int, embedder: Embedder) -> Iterator[tuple[str, str]]:
    opened = {"chunks": open_table(at.chunks, version)}
    query = "SELECT DISTINCT chunk_id, text_content FROM chunks"
    try:
        opened["vectors"] = open_table(at.vectors)
    except NotFound:  # these are the first vectors of the table
        pass
    else:
        query += f" WHERE chunk_id NOT IN (SELECT chunk_id FROM vectors WHERE model = '{embedder.key}')"
    for batch in batches(query, opened):
        yield from zip(batch.column("chunk_id").to_pylist(), batch.column("text_content").to_pylist(), strict=True)


def _run_model(
    chosen: Chosen, folder: Path, missing: Iterator[tuple[str, str]], keep: Callable[[Batch, Embedded], None]
) -> None:
    model = sentence_model.SentenceModel(folder, chosen.embedder, threads=os.cpu_count() or 1)
    for batch in _batched(missing, IN_A_COMMIT):
        keep(batch, Embedded(model.embed([text for _, text in batch], "document"), 0))


async def _ask_endpoint(
    embedder: Embedder,
    missing: Iterator[tuple[str, str]],
    keep: Callable[[Batch, Embedded], None],
    spent: Spent,
    per_minute: float | None,
) -> float | None:
    """Ask for several batches at once, and keep each answer as it comes. Returns the cost.

    After a failure nothing more is asked, and the answers that are on their way are still kept.
    """
    async with Providers(load(ProviderSettings), per_minute=per_minute) as providers:
        endpoint = providers.embeddings_for(embedder)
        prices = providers.endpoints.get(embedder.endpoint).prices.get(embedder.model)
        waiting, failures = _batched(missing, IN_A_REQUEST), list[Exception]()

        async def work() -> None:
            while not failures and (batch := next(waiting, None)):
                try:
                    keep(batch, await endpoint.embed([text for _, text in batch], "document"))
                except Exception as error:
                    failures.append(error)

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    if failures:
        raise failures[0]
    return None if prices is None else spent.tokens * prices.input_per_million / 1_000_000


def _batched(rows: Iterator[tuple[str, str]], size: int) -> Iterator[Batch]:
    while batch := list(islice(rows, size)):
        yield batch


def _append(address: str, embedder: Embedder, batch: Batch, embedded: Embedded) -> None:
    """Raises:
    Unavailable: the table cannot be written.
    """
    columns = [
        pa.array([chunk_id for chunk_id, _ in batch], pa.string()),
        pa.array([embedder.key] * len(batch), pa.string()),
        pa.array([np.asarray(vector, dtype="<f4").tobytes() for vector in embedded.vectors], pa.binary()),
    ]
    rows = pa.Table.from_arrays(columns, schema=tables.VECTORS)
    options = storage_options() if address.startswith("s3") else None
    try:
        write_deltalake(address, rows, mode="append", storage_options=options)
    except (DeltaError, OSError) as error:
        raise Unavailable(f"{address} could not be written: {error}") from error


def _fetched(address: str, store: ObjectStore, scratch: Path) -> Path:
    """Copy a folder of a bucket to this machine.

    Raises:
        NotFound: the bucket has no such folder.
    """
    bucket, _, prefix = tables.address(address).removeprefix("s3a://").partition("/")
    folder = scratch / Path(prefix).name
    found = [each.key for each in store.list(bucket, f"{prefix}/")]
    if not found:
        raise NotFound(f"There is no folder {address}.")
    for key in found:
        path = folder / key.removeprefix(f"{prefix}/")
        if ".." in path.parts:
            raise InvalidData(f"{key} in the bucket {bucket} has a name that leads out of its folder.")
        path.parent.mkdir(parents=True, exist_ok=True)
        store.download(bucket, key, path)
    return folder
