"""Which embedder makes the vectors of an index, and which reranker orders what was found: everything that decides what
the two return.

In and out: the fields `vectors` and `reranker` in the specification of an index. Two indexes whose specifications
differ are two indexes, and a question is embedded by the specification of the index that it is asked to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mlflow_project.adapters.retrieval import embeddings
from mlflow_project.errors import InvalidData
from mlflow_project.rules.canonical import digest_of

EmbedderKind = Literal["wordllama", "openai", "gemini", "onnx"]
Purpose = Literal["document", "question"]
"""What a text is embedded for. Some models treat a question in another way than the texts that it is compared with."""
Pooling = Literal["mean", "first"]
"""How the vectors of a text's tokens become one, unless the graph does it itself: their mean, or that of the first."""

OVER_HTTP = ("openai", "gemini")
MOST_CHARACTERS = 8_000
"""Longer texts are cut before they are sent to an endpoint, unless the user sets another limit."""
MOST_TOKENS = 256
"""Longer texts are cut before a sentence model reads them, unless its folder or the user sets another limit."""


@dataclass(frozen=True)
class Embedder:
    """What decides the vectors. Every vector is scaled to length 1, whatever the embedder returns.

    `model` is the endpoint's name of the model, or the name of the sentence model's folder. `endpoint` is an entry of
    `providers.yaml`; None: the address that `LLM_API_URL` sets. `dimensions` None means as many as the model has.
    Texts are cut after `max_characters` (endpoints) or `max_tokens` (sentence models). `files` maps each file of a
    sentence model to its digest; `question_prefix` and `document_prefix` are written before the texts.
    """

    kind: EmbedderKind = "wordllama"
    model: str = embeddings.MODEL
    endpoint: str | None = None
    dimensions: int | None = None
    max_characters: int | None = None
    max_tokens: int | None = None
    pooling: Pooling | None = None
    question_prefix: str | None = None
    document_prefix: str | None = None
    files: Mapping[str, str] | None = None

    @property
    def is_over_http(self) -> bool:
        """Whether texts and questions leave this machine."""
        return self.kind in OVER_HTTP

    @property
    def key(self) -> str:
        """Names the vectors of this embedder in the table of vectors."""
        return self.model if self.kind == "wordllama" else f"{self.kind}/{digest_of(self.to_data())}"

    @property
    def name(self) -> str:
        """What people call it, as in the option `--embedder`."""
        return self.kind if self.kind == "wordllama" else f"{self.kind}:{self.model}"

    def to_data(self) -> Any:
        """JSON-ready. WordLlama is one text, as in indexes that were built before there was a choice."""
        if self.kind == "wordllama":
            return self.model
        return {**{key: value for key, value in asdict(self).items() if value is not None}, "length": 1}

    @classmethod
    def from_data(cls, data: Any) -> Embedder | None:
        """Read the field of an index's specification; None: the index has no vectors.

        Raises:
            InvalidData: a newer version of Switchyard wrote it.
        """
        if data is None or isinstance(data, str):
            return None if data is None else cls(model=data)
        try:
            return cls(**{key: value for key, value in data.items() if key != "length"})
        except (TypeError, AttributeError) as error:
            raise InvalidData(f"The embedder of this index cannot be read: {error}. Build the index again.") from error


@dataclass(frozen=True)
class Reranker:
    """A model that reads a question together with each chunk, and orders the chunks by how well they answer.

    `kind` onnx: a cross-encoder whose `files` the index carries. `kind` endpoint: a service in the form of Cohere's and
    Jina's `/rerank`, at an entry of `providers.yaml`. Chunks are cut after `max_characters` or `max_tokens`.
    """

    kind: Literal["onnx", "endpoint"]
    model: str
    endpoint: str | None = None
    max_characters: int | None = None
    max_tokens: int | None = None
    files: Mapping[str, str] | None = None

    @property
    def name(self) -> str:
        """What people call it, as in the option `--reranker`."""
        return f"{self.kind}:{self.model}"

    def to_data(self) -> dict[str, Any]:
        """JSON-ready."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_data(cls, data: Any) -> Reranker | None:
        """Read the field of an index's specification; None: the index has no reranker.

        Raises:
            InvalidData: a newer version of Switchyard wrote it.
        """
        try:
            return None if data is None else cls(**data)
        except TypeError as error:
            raise InvalidData(f"The reranker of this index cannot be read: {error}. Build the index again.") from error
