"""`POST /v1/embeddings`: the vectors that search uses here, from WordLlama, for callers who index texts themselves."""

from __future__ import annotations

import asyncio
import base64
from typing import Any, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from mlflow_project.adapters.retrieval.embeddings import DIMENSIONS, count_tokens, embed
from mlflow_project.errors import NotFound
from mlflow_project.web.problems import BadRequest
from serving.call import TheCall
from serving.routes.ask import check_texts
from serving.server import TheServer

router = APIRouter(prefix="/v1", tags=["OpenAI"])

MODEL = "wordllama-256"
MOST_TEXTS = 2_048


class EmbeddingsRequest(BaseModel):
    """OpenAI's request. `input` is text: token numbers belong to the tokenizer of one model, and not of this one."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"model": MODEL, "input": "What does a gate decide?"}]}
    )
    model: str
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1, le=DIMENSIONS)
    user: str | None = None

    def texts(self) -> list[str]:
        """The texts to embed.

        Raises:
            BadRequest: there is none, there are too many, or token numbers came in their place.
        """
        texts = [self.input] if isinstance(self.input, str) else self.input
        if not texts or len(texts) > MOST_TEXTS:
            raise BadRequest(f"`input` must hold 1 to {MOST_TEXTS} texts; it holds {len(texts)}.")
        if not all(isinstance(text, str) and text for text in texts):
            raise BadRequest(
                "`input` must hold texts that are not empty, and no token numbers. LangChain sends texts with "
                "OpenAIEmbeddings(check_embedding_ctx_length=False)."
            )
        return [str(text) for text in texts]


@router.post("/embeddings", summary="Embed texts")
async def embeddings(body: EmbeddingsRequest, call: TheCall, server: TheServer) -> Response:
    """Rows of length 1, in the order of the texts."""
    if body.model != MODEL:
        raise NotFound(f"There is no embedding model {body.model!r} here. There is {MODEL!r}.")
    texts = body.texts()
    check_texts(server, call, ((f"input[{place}]", text) for place, text in enumerate(texts)))
    vectors, tokens = await asyncio.to_thread(_embedded, texts, body.dimensions or DIMENSIONS)
    rows = [_base64(row) if body.encoding_format == "base64" else row for row in vectors]
    data = [{"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(rows)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    answer = {"object": "list", "data": data, "model": MODEL, "usage": usage}
    return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


def _embedded(texts: list[str], dimensions: int) -> tuple[Any, int]:
    """Vectors of so many dimensions, and the number of tokens. Fewer dimensions are the first ones, scaled to length
    1: WordLlama is trained so that they stand for the whole (Matryoshka representation learning)."""
    vectors = embed(texts)[:, :dimensions]
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return scaled, sum(map(count_tokens, texts))


def _base64(row: Any) -> str:
    return base64.b64encode(row.astype("<f4").tobytes()).decode()
