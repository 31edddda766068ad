"""`POST /prompts/{name}/invocations`: variables in; text or a valid object out, with citations and the release."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from serving.call import TheCall
from serving.routes.ask import Alias, Question, ask, check_texts
from serving.server import TheServer

router = APIRouter(tags=["Prompts"])

Name = Annotated[str, Path(min_length=1, max_length=255, examples=["qa"])]


class Invocation(BaseModel):
    """Values for the template's variables: none missing, none more."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"variables": {"question": "What does a gate decide?"}}]}
    )
    variables: dict[str, str] = Field(max_length=64)
    context: str | None = None

    def texts(self) -> Iterator[tuple[str, str]]:
        """Every text, after its name."""
        yield from self.variables.items()
        yield "context", self.context or ""


class CitedChunk(BaseModel):
    """Code-point offsets into the document, and the pages or slides of the chunk where the document has any."""

    chunk_id: str
    document_id: str
    start: int
    end: int
    pages: list[int] = []


class Invoked(BaseModel):
    """`object` is set where the release has a response schema, and is valid against it."""

    text: str | None
    object: Any = None
    refused: bool
    citations: list[CitedChunk]
    usage: dict[str, int | None]
    cost_usd: float | None
    latency_ms: float
    release: str
    digest: str
    request_id: str


@router.post("/prompts/{name}/invocations", summary="Ask any prompt")
async def invoke(
    name: Name, body: Invocation, call: TheCall, server: TheServer, x_alias: Alias = "Production"
) -> Invoked:
    """Answers with the release that the alias points at."""
    check_texts(server, call, body.texts())
    answer = await ask(server, call, name, x_alias, lambda _: Question(body.variables, body.context))
    release = call.the_release
    return Invoked(
        text=answer.text,
        object=answer.object,
        refused=answer.refused,
        citations=[CitedChunk.model_validate(asdict(citation)) for citation in answer.citations],
        usage=asdict(answer.usage),
        cost_usd=answer.cost_usd,
        latency_ms=answer.latency_ms,
        release=release.label,
        digest=release.digest,
        request_id=call.request_id,
    )
