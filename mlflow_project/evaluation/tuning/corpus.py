"""Cuts the documents of a knowledge base anew and indexes the chunks, in a folder of this process.

In: the chunk table that a release pins, and a splitter. Out: an open index that lives as long as the process. Vectors
are made by the embedder of the release's index, if it works on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlflow_project.adapters.delta_tables import open_table, read
from mlflow_project.adapters.retrieval import embeddings, index_builder, sentence_model
from mlflow_project.adapters.retrieval.index import Index, open_index
from mlflow_project.adapters.retrieval.index_files import write_manifest
from mlflow_project.adapters.retrieval.specification import Embedder
from mlflow_project.domain.release import KnowledgeBase
from mlflow_project.errors import NotFound
from mlflow_project.evaluation.tuning.settings import splitter_named
from mlflow_project.rules.chunking.chunks import chunks_of
from mlflow_project.rules.chunking.splitter import Splitter

MOST_CHARACTERS = 20_000_000
"""Larger corpora are not cut anew: each size would take minutes to embed."""
_AT_ONCE = 512

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True)
class Corpus:
    """The documents of a knowledge base, as (id, title, text), how they are cut now, and who embeds them."""

    documents: tuple[tuple[str, str, str], ...]
    splitter: Splitter
    embedder: Embedder | None
    index_folder: Path

    def cut(self, splitter: Splitter, folder: Path) -> Index:
        """An index of these documents, cut by a splitter. `folder` is empty."""
        built, embed = folder / "built", self._embed()
        index_builder.build(built, self._rows(splitter, embed), None)
        facts = {"specification": {"vectors": self.embedder.to_data() if self.embedder else None}}
        if self.embedder is not None and self.embedder.kind == "onnx":
            sentence_model.copy_files(self.index_folder / index_builder.EMBEDDER, built / index_builder.EMBEDDER)
        return open_index(built, folder / "open", write_manifest(built, facts))

    def _rows(self, splitter: Splitter, embed: Embed | None) -> Iterator[tuple[dict[str, Any], Any]]:
        waiting: list[dict[str, Any]] = []
        for document_id, title, text in self.documents:
            for chunk in chunks_of(document_id, text, splitter):
                headed = " > ".join(part for part in (title, chunk.heading_path) if part)
                row = {"chunk_id": chunk.chunk_id, "document_id": document_id, "title": headed, "text": chunk.text}
                waiting.append({**row, "start": chunk.start, "end": chunk.end})
            while len(waiting) >= _AT_ONCE:
                yield from _with_vectors(waiting[:_AT_ONCE], embed)
                del waiting[:_AT_ONCE]
        yield from _with_vectors(waiting, embed)

    def _embed(self) -> Embed | None:
        if self.embedder is None:
            return None
        if self.embedder.kind == "wordllama":
            return embeddings.embed
        model = sentence_model.SentenceModel(self.index_folder / index_builder.EMBEDDER, self.embedder)
        return lambda texts: model.embed(texts, "document")


def load_corpus(base: KnowledgeBase, embedder: Embedder | None, index_folder: Path) -> Corpus | str:
    """The documents of a knowledge base; or, in words, why they cannot be cut anew."""
    if embedder is not None and embedder.is_over_http:
        return f"every size would send the whole corpus to {embedder.name} again"
    try:
        chunks = {"chunks": open_table(base.table, base.delta_version)}
        documents = {"documents": open_table(base.table + "_documents")}
    except NotFound as error:
        return f"the tables of the knowledge base cannot be read: {error}"
    names = read("SELECT DISTINCT splitter FROM chunks", chunks).column("splitter").to_pylist()
    splitter = splitter_named(names[0]) if len(names) == 1 else None
    if splitter is None:
        return "the chunks of the table were not all cut by one splitter that this version knows"
    size = read("SELECT sum(character_length(text)) AS size FROM documents", documents).column("size")[0].as_py() or 0
    if size > MOST_CHARACTERS:
        return f"the corpus has {size:,} characters, and up to {MOST_CHARACTERS:,} are cut anew"
    rows = read("SELECT document_id, title, text FROM documents ORDER BY document_id", documents).to_pylist()
    texts = tuple((row["document_id"], row["title"] or "", row["text"]) for row in rows)
    return Corpus(texts, splitter, embedder, index_folder)


def _with_vectors(rows: Sequence[dict[str, Any]], embed: Embed | None) -> Iterator[tuple[dict[str, Any], Any]]:
    if embed is None:
        yield from ((row, None) for row in rows)
    elif rows:
        yield from zip(rows, embed([row["text"] for row in rows]), strict=True)
