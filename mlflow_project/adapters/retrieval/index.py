"""Searches one index: words by BM25, vectors by cosine, both joined by their scores or by their ranks.

In: a fetched index folder (see `index_store.fetch`) and questions, which may be any text at all. Out: contexts, best
first. An index is searched in a private copy, whose digests are checked and whose files lose their names once they are
open: whatever somebody writes into the index folder later, what was checked is what is searched.
In a large index the first 64 numbers of each vector choose 1,000 candidates, and whole vectors rank those: WordLlama's
are trained so that they can be cut (Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022).
Joined by scores, a chunk's score is `words_weight` times its BM25 score as a share of the highest one that the question
could get, plus `vectors_weight` times its cosine (docs/decisions/0019). Joined by ranks, weighted reciprocal rank
fusion with k = 60: Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet", SIGIR 2009.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tantivy
from numpy.typing import NDArray

from mlflow_project.adapters.retrieval import embeddings
from mlflow_project.adapters.retrieval.analysis import TOKENIZER, analyzer, words
from mlflow_project.adapters.retrieval.chunk_file import ChunkFile
from mlflow_project.adapters.retrieval.cross_encoder import CrossEncoder
from mlflow_project.adapters.retrieval.index_builder import EMBEDDER, HEAD, HEADS, RERANKER, VECTORS, WORDS, filter_term
from mlflow_project.adapters.retrieval.index_files import MANIFEST, verify
from mlflow_project.adapters.retrieval.sentence_model import SentenceModel
from mlflow_project.adapters.retrieval.specification import Embedder, Reranker
from mlflow_project.domain.answer import Context
from mlflow_project.domain.release import Retrieval
from mlflow_project.errors import IndexBroken, InvalidData

RANK_CONSTANT = 60
DEPTH = 100
CANDIDATES = 1000
MOST_WORDS = 64
TITLE_BOOST = 0.5
SATURATION = 2.2
"""By how much the factor of a word's frequency is bounded in BM25: k1 + 1, with tantivy's k1 of 1.2."""

Ranking = list[tuple[int, float]]
"""Ordinal numbers of chunks with their scores, best first."""

Filters = frozenset[tuple[str, str]]
"""Metadata fields with the value that each must have."""


def open_index(folder: Path, scratch: Path, name: str) -> Index:
    """Open a checked, private copy of a fetched index.

    Args:
        scratch: a writable folder for the copy. It is empty again when this returns, and the disk space of the copy is
            free when the index is closed or the process ends.
        name: the digest that the index goes by (`sha256:…`).

    Raises:
        IndexBroken: the folder does not hold exactly this index.
        InvalidData: the copy cannot be written or opened.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    copy = Path(tempfile.mkdtemp(prefix="index-", dir=scratch))
    try:
        try:
            shutil.copytree(folder, copy, dirs_exist_ok=True)
        except FileNotFoundError as error:
            raise IndexBroken(f"{folder} holds no search index that can be read: {error}.") from error
        return Index(verify(copy, name))
    except (OSError, shutil.Error, ValueError) as error:
        raise InvalidData(f"The search index in {folder} cannot be copied or opened: {error}.") from error
    finally:
        shutil.rmtree(copy, ignore_errors=True)


class Index:
    """An open index. Its files may be removed while it is open: it keeps them mapped into memory."""

    def __init__(self, folder: Path) -> None:
        self._index = tantivy.Index.open(str(folder / WORDS))
        self._index.register_tokenizer(TOKENIZER, analyzer())
        self._searcher = self._index.searcher()
        self._chunks = ChunkFile(folder)
        path = folder / VECTORS
        self._vectors: NDArray[np.float32] | None = np.load(path, mmap_mode="r") if path.exists() else None
        heads = folder / HEADS
        self._heads: NDArray[np.float32] | None = np.load(heads, mmap_mode="r") if heads.exists() else None
        self._allowed: dict[Filters, NDArray[np.bool_]] = {}
        specification = json.loads((folder / MANIFEST).read_bytes()).get("specification", {})
        self.embedder = _embedder_of(specification) if self._vectors is not None else None
        self.reranker = Reranker.from_data(specification.get("reranker"))
        self._cross_encoder = (
            CrossEncoder(folder / RERANKER, self.reranker) if self.reranker and self.reranker.kind == "onnx" else None
        )
        self._sentence_model = (
            SentenceModel(folder / EMBEDDER, self.embedder) if self.embedder and self.embedder.kind == "onnx" else None
        )

    def __len__(self) -> int:
        return len(self._chunks)

    @property
    def has_vectors(self) -> bool:
        return self._vectors is not None

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has; 0 without vectors."""
        return 0 if self._vectors is None else int(self._vectors.shape[1])

    @property
    def asks_an_endpoint(self) -> bool:
        """Whether an endpoint embeds questions, so that a search by vectors needs to be given the question's vector."""
        return self.embedder is not None and self.embedder.is_over_http

    def search(
        self,
        question: str,
        retrieval: Retrieval,
        where: Mapping[str, str] | None = None,
        vector: NDArray[np.float32] | None = None,
    ) -> list[Context]:
        """The best `retrieval.chunks` contexts; nothing found is an empty list.

        Args:
            where: like the retrieval's own and besides it, keeps chunks whose document id, language or other metadata
                have these values.
            vector: the question's vector, if an endpoint embeds questions. Without it, and in an index without
                vectors, words alone are searched.
        """
        if not len(self) or retrieval.chunks < 1:
            return []
        filters = frozenset([*(retrieval.where or {}).items(), *(where or {}).items()])
        lacks_vector = self.asks_an_endpoint and vector is None
        by_vectors = retrieval.vectors_weight > 0 and self.has_vectors and not lacks_vector
        by_words = retrieval.words_weight > 0 or not by_vectors
        looked_at = (retrieval.rerank or 0) if self._cross_encoder is not None else 0
        depth = max(retrieval.chunks, looked_at)
        if not by_vectors:
            ranking = self._by_words(question, depth, filters)
        elif by_words:
            both = replace(retrieval, chunks=depth)
            ranking = self._by_both(question, self._vector_of(question, vector), both, filters)
        else:
            ranking = self._by_vectors(self._vector_of(question, vector), depth, filters)
        found = [self._context(ordinal, score) for ordinal, score in ranking[:depth]]
        if looked_at and self._cross_encoder is not None:
            found = [*self._cross_encoder.order(question, found[:looked_at]), *found[looked_at:]]
        return found[: retrieval.chunks]

    def _vector_of(self, question: str, vector: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Raises:
        InvalidData: the vector that was given has another number of dimensions than the index.
        """
        if vector is None:
            own = self._sentence_model
            vector = own.embed([question], "question")[0] if own else embeddings.embed([question])[0]
        if len(vector) != self.dimensions:
            raise InvalidData(
                f"The question's vector has {len(vector)} dimensions, and those of the index have {self.dimensions}: "
                "the model behind the endpoint is another one now. Build the index again."
            )
        return vector

    def _by_both(self, question: str, asked: NDArray[np.float32], retrieval: Retrieval, where: Filters) -> Ranking:
        depth = max(DEPTH, retrieval.chunks)
        by_words, by_vectors = self._by_words(question, depth, where), self._by_vectors(asked, depth, where)
        if retrieval.fusion != "scores":
            return fuse([(retrieval.words_weight, by_words), (retrieval.vectors_weight, by_vectors)])
        cosines = dict(by_vectors) | self._cosines(asked, [ordinal for ordinal, _ in by_words])
        highest, found = self._highest_score(question), dict(by_words)
        scores = {
            ordinal: retrieval.words_weight * found.get(ordinal, 0.0) / highest
            + retrieval.vectors_weight * max(0.0, cosine)
            for ordinal, cosine in cosines.items()
        }
        return sorted(scores.items(), key=lambda item: (-item[1], item[0]))

    def _highest_score(self, question: str) -> float:
        """The BM25 score of a text that has nothing but this question's words, again and again.

        If the question's rare words are in no chunk, every chunk has a small share of this score, and vectors decide.
        """
        return SATURATION * sum(self._rarity(word) for word in _asked(question)) or 1.0

    def _rarity(self, word: str) -> float:
        """The inverse document frequency of a word, by tantivy's formula."""
        having = self._searcher.doc_freq("text", word)
        return math.log(1.0 + (len(self) - having + 0.5) / (having + 0.5))

    def _cosines(self, asked: NDArray[np.float32], ordinals: Sequence[int]) -> dict[int, float]:
        assert self._vectors is not None
        if not ordinals:
            return {}
        found = _products(self._vectors[np.asarray(ordinals)], asked)
        return {ordinal: float(cosine) for ordinal, cosine in zip(ordinals, found, strict=True)}

    def _by_words(self, question: str, limit: int, where: Filters) -> Ranking:
        asked = _asked(question)
        if not asked:
            return []
        found = self._any_of(asked)
        if where:
            found = tantivy.Query.boolean_query([(tantivy.Occur.Must, found), *self._filters(where)])
        hits = self._searcher.search(found, limit=limit, count=False).hits
        ordinals = self._searcher.fast_field_values("ordinal", [address for _, address in hits])
        return [(int(ordinal), float(hit[0])) for ordinal, hit in zip(ordinals, hits, strict=True)]

    def _any_of(self, asked: Sequence[str]) -> tantivy.Query:
        """One flat union: nested ones cost tantivy twice the time for the same scores."""
        term, schema = tantivy.Query.term_query, self._index.schema
        texts = [term(schema, "text", word, "freq") for word in asked]
        titles = [tantivy.Query.boost_query(term(schema, "title", word, "freq"), TITLE_BOOST) for word in asked]
        return tantivy.Query.boolean_query([(tantivy.Occur.Should, query) for query in (*texts, *titles)])

    def _filters(self, where: Filters) -> list[tuple[tantivy.Occur, tantivy.Query]]:
        return [
            (
                tantivy.Occur.Must,
                tantivy.Query.const_score_query(
                    tantivy.Query.term_query(self._index.schema, "filters", filter_term(key, value), "basic"), 0.0
                ),
            )
            for key, value in where
        ]

    def _by_vectors(self, asked: NDArray[np.float32], limit: int, where: Filters) -> Ranking:
        assert self._vectors is not None
        if not asked.any():
            return []
        exact = self._heads is None
        scores = _products(self._vectors, asked) if self._heads is None else _products(self._heads, asked[:HEAD])
        if where:
            scores = np.where(self._mask(where), scores, -np.inf)
        best = _highest(scores, limit if exact else max(limit, CANDIDATES))
        found = scores[best] if exact else _products(self._vectors[best], asked)
        order = np.lexsort((best, -found))[:limit]
        return [(int(best[place]), float(found[place])) for place in order]

    def _mask(self, where: Filters) -> NDArray[np.bool_]:
        if where not in self._allowed:
            found = self._searcher.search(
                tantivy.Query.boolean_query(self._filters(where)), limit=len(self), count=False
            )
            ordinals = self._searcher.fast_field_values("ordinal", [address for _, address in found.hits])
            mask = np.zeros(len(self), dtype=np.bool_)
            mask[ordinals] = True
            if len(self._allowed) >= 64:
                self._allowed.clear()
            self._allowed[where] = mask
        return self._allowed[where]

    def _context(self, ordinal: int, score: float) -> Context:
        row = self._chunks[ordinal]
        place = row["start"], row["end"]
        pages = tuple(row.get("pages", ()))
        return Context(row["chunk_id"], row["document_id"], row["title"], row["text"], *place, score, pages)


def _embedder_of(specification: Mapping[str, Any]) -> Embedder:
    """The embedder that the manifest names. Indexes of before there was a choice have WordLlama's vectors."""
    return Embedder.from_data(specification.get("vectors")) or Embedder()


def _asked(question: str) -> list[str]:
    """The different words of a question, at most 64."""
    return list(dict.fromkeys(words(question)))[:MOST_WORDS]


def _products(rows: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row's product with the vector, in this thread alone: `@` wakes BLAS's threads for it, and on a busy machine
    waiting for those takes ten times longer than the work."""
    products: NDArray[np.float32] = np.einsum("ij,j->i", rows, vector)
    return products


def _highest(scores: NDArray[np.float32], limit: int) -> NDArray[np.intp]:
    """The places of the highest scores, in no order, without those that a filter took out."""
    limit = min(limit, len(scores))
    best: NDArray[np.intp] = np.argpartition(scores, len(scores) - limit)[len(scores) - limit :]
    return best[np.isfinite(scores[best])]


def fuse(rankings: Sequence[tuple[float, Ranking]]) -> Ranking:
    """Weighted reciprocal rank fusion: the sum of weight / (60 + rank); ties go to the lower ordinal."""
    scores: dict[int, float] = {}
    for weight, ranking in rankings:
        for rank, (ordinal, _) in enumerate(ranking, start=1):
            scores[ordinal] = scores.get(ordinal, 0.0) + weight / (RANK_CONSTANT + rank)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))
