"""Embeds texts at an endpoint over HTTP: OpenAI's `/embeddings`, or Gemini's `batchEmbedContents`.

In: an `Embedder` and an endpoint. Out: one vector of length 1 for each text, and the tokens that the endpoint counted.
The endpoint's limits and the process's rate hold as for chats; tries, pauses and time limits too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlsplit, urlunsplit

import numpy as np
from numpy.typing import NDArray

from mlflow_project.adapters.providers.chat import with_path
from mlflow_project.adapters.providers.endpoints import Endpoint
from mlflow_project.adapters.providers.gemini import Gemini
from mlflow_project.adapters.providers.openai import OpenAI
from mlflow_project.adapters.providers.patience import Patience
from mlflow_project.adapters.providers.protocol import count
from mlflow_project.adapters.providers.upstream import Network, Upstream
from mlflow_project.adapters.retrieval.sentence_model import scaled
from mlflow_project.adapters.retrieval.specification import MOST_CHARACTERS, Embedder, Purpose
from mlflow_project.domain.release import Message
from mlflow_project.errors import ProviderError

IN_A_REQUEST = 64
"""Texts of one request. OpenAI takes 2,048 and Gemini 100, but a failed request of many texts costs more."""
_GEMINI_PURPOSE: Mapping[Purpose, str] = {"document": "RETRIEVAL_DOCUMENT", "question": "RETRIEVAL_QUERY"}


@dataclass(frozen=True)
class Embedded:
    """Vectors, one row of length 1 for each text. `tokens` is None if the endpoint did not count them."""

    vectors: NDArray[np.float32]
    tokens: int | None


@dataclass(frozen=True)
class EmbeddingEndpoint(ABC):
    """One model at one endpoint. A protocol says how a request is written and how its answer is read."""

    embedder: Embedder
    upstream: Upstream
    url: str

    @classmethod
    def of(cls, embedder: Embedder, endpoint: Endpoint, network: Network, patience: Mapping[str, float]) -> Self:
        """The endpoint made ready. Raises ConfigError if its key or its address is not one of this protocol."""
        chat = Gemini if embedder.kind == "gemini" else OpenAI
        address = chat.checked_address(endpoint)
        upstream = Upstream.of(
            chat.called(endpoint),
            chat.headers(endpoint),
            endpoint,
            embedder.model,
            Patience.of({**patience, **endpoint.limits.patience()}),
            network,
        )
        return cls(embedder, upstream, cls.method(address, embedder.model))

    @classmethod
    @abstractmethod
    def method(cls, address: str, model: str) -> str:
        """The address of the method."""

    @abstractmethod
    def body(self, texts: Sequence[str], purpose: Purpose) -> dict[str, Any]:
        """A request in the protocol's form."""

    @abstractmethod
    def read(self, data: Mapping[str, Any]) -> tuple[list[list[float]], int | None]:
        """The vectors in the order of the texts, and the tokens. May raise LookupError, TypeError, AttributeError."""

    async def embed(self, texts: Sequence[str], purpose: Purpose) -> Embedded:
        """Embed at most `IN_A_REQUEST` texts by one request. A blank text is not sent and has a row of zeros.

        Raises:
            ProviderError: no answer, an error status, or vectors that do not fit what was asked for.
        """
        most = self.embedder.max_characters or MOST_CHARACTERS
        sent = {place: text[:most] for place, text in enumerate(texts) if text.strip()}
        if not sent:
            return Embedded(np.zeros((len(texts), self.embedder.dimensions or 1), dtype=np.float32), 0)
        cut = list(sent.values())
        data = await self.upstream.whole(self.url, self.body(cut, purpose), [Message("user", text) for text in cut])
        rows, tokens = self._checked(data, len(cut))
        vectors = np.zeros((len(texts), rows.shape[1]), dtype=np.float32)
        vectors[list(sent)] = rows
        return Embedded(vectors, tokens)

    def _checked(self, data: Mapping[str, Any], wanted: int) -> tuple[NDArray[np.float32], int | None]:
        """Raises:
        ProviderError: there are not so many vectors of the right size, with finite numbers that are not all 0.
        """
        name = self.upstream.name
        try:
            rows, tokens = self.read(data)
            vectors = np.array(rows, dtype=np.float32)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise ProviderError(
                f"{name}'s answer holds no vectors in the protocol's form.", kind="invalid_json"
            ) from error
        dimensions = self.embedder.dimensions
        if (
            vectors.ndim != 2
            or len(vectors) != wanted
            or not np.isfinite(vectors).all()
            or not vectors.any(axis=1).all()
        ):
            raise ProviderError(f"{name} did not give a vector for each of {wanted} texts.", kind="invalid_json")
        if dimensions is not None and vectors.shape[1] != dimensions:
            said = f"{name} gave vectors of {vectors.shape[1]} dimensions, and {dimensions} were asked for."
            raise ProviderError(said, kind="invalid_json")
        return scaled(vectors), tokens


class OpenAIEmbeddings(EmbeddingEndpoint):
    """Endpoints with OpenAI's protocol of embeddings: OpenAI, Azure, vLLM, Ollama, llama.cpp, gateways."""

    @classmethod
    def method(cls, address: str, model: str) -> str:
        parts = urlsplit(address)
        before = parts.path.rstrip("/").removesuffix("/chat/completions")
        return with_path(urlunsplit(parts._replace(path=before)), "/embeddings")

    def body(self, texts: Sequence[str], purpose: Purpose) -> dict[str, Any]:
        wanted = {"dimensions": self.embedder.dimensions} if self.embedder.dimensions else {}
        return {"model": self.embedder.model, "input": list(texts), "encoding_format": "float", **wanted}

    def read(self, data: Mapping[str, Any]) -> tuple[list[list[float]], int | None]:
        rows = sorted(data["data"], key=lambda row: row["index"])
        if [row["index"] for row in rows] != list(range(len(rows))):
            raise ValueError("a vector is missing or there twice")
        return [row["embedding"] for row in rows], count((data.get("usage") or {}).get("prompt_tokens"))


class GeminiEmbeddings(EmbeddingEndpoint):
    """Gemini's API, which is told whether a text is a question."""

    @classmethod
    def method(cls, address: str, model: str) -> str:
        return f"{address}/models/{quote(model, safe='@')}:batchEmbedContents"

    def body(self, texts: Sequence[str], purpose: Purpose) -> dict[str, Any]:
        each = {"model": f"models/{self.embedder.model}", "taskType": _GEMINI_PURPOSE[purpose]}
        if self.embedder.dimensions:
            each["outputDimensionality"] = self.embedder.dimensions  # type: ignore[assignment]
        return {"requests": [{**each, "content": {"parts": [{"text": text}]}} for text in texts]}

    def read(self, data: Mapping[str, Any]) -> tuple[list[list[float]], int | None]:
        tokens = count((data.get("usageMetadata") or {}).get("promptTokenCount"))
        return [row["values"] for row in data["embeddings"]], tokens
