"""Answers by quoting the sentences of the contexts that answer best; no language model, no key, no network.

Pinned parameters: `sentences` (how many at most are quoted, 1), `floor` (below that confidence it says that it does not
know), and the weights of `rules.quoting`: `words_weight`, `vectors_weight`, `order_weight`, `cues_weight`,
`headings_weight`, `previous_weight`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_project.adapters.providers.parameters import number, refuse_unknown
from mlflow_project.adapters.providers.protocol import Delta, ProviderRequest
from mlflow_project.adapters.retrieval import analysis, embeddings
from mlflow_project.domain.answer import Completion
from mlflow_project.rules.quoting import I_DO_NOT_KNOW, Quote, Sentence, Weights, rank, sentences_of
from mlflow_project.telemetry.tracing import span

FLOOR = 0.4
MOST_ASKED = 2_000
"""Characters of a question that are looked at."""

_WEIGHTS = {f"{name}_weight": default for name, default in vars(Weights()).items()}


@dataclass(frozen=True)
class Extractive:
    """`most` sentences at most; nothing below `floor`."""

    most: int
    floor: float
    weights: Weights

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Extractive:
        """Read and check the parameters.

        Raises:
            InvalidData: one is unknown, or out of range.
        """
        refuse_unknown("extractive", parameters, {"sentences", "floor", *_WEIGHTS})
        weights = {name: number(parameters, name, default, 0, 100) for name, default in _WEIGHTS.items()}
        if weights["vectors_weight"] > 0:
            embeddings.embed(["loaded now, not by the first question"])
        return cls(
            most=int(number(parameters, "sentences", 1, 1, 20)),
            floor=number(parameters, "floor", FLOOR, 0, 1),
            weights=Weights(**{name.removesuffix("_weight"): value for name, value in weights.items()}),
        )

    async def complete(self, request: ProviderRequest) -> Completion:
        """The best sentences, in the order of their documents; or that it does not know."""
        return await asyncio.to_thread(self._quoted, request) if request.is_long else self._quoted(request)

    def _quoted(self, request: ProviderRequest) -> Completion:
        question = (request.question or request.messages[-1].content)[:MOST_ASKED]
        with span("try", provider="extractive"):
            quotes = self._ranked(question, sentences_of(request.contexts))
        chosen = [quote.sentence for quote in quotes[: self.most] if quote.confidence >= self.floor]
        if not chosen:
            return Completion(I_DO_NOT_KNOW, finish_reason="stop")
        chosen.sort(key=lambda sentence: (sentence.document_id, sentence.start))
        spans = tuple((sentence.chunk_id, sentence.start, sentence.end) for sentence in chosen)
        return Completion(" ".join(sentence.text for sentence in chosen), finish_reason="stop", quotes=spans)

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Delta]:
        """Everything at once: there is nothing to wait for."""
        completion = await self.complete(request)
        yield Delta(completion.text or "", completion)

    def _ranked(self, question: str, sentences: list[Sentence]) -> list[Quote]:
        near = None
        if sentences and self.weights.vectors > 0:
            vectors = embeddings.embed([question, *(sentence.text for sentence in sentences)])
            near = [float(value) for value in vectors[1:] @ vectors[0]]
        return rank(question, sentences, near, analysis.words, self.weights)
