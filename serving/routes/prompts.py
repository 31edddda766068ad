"""`POST /prompts/{name}/invocations`: variables in; text or a valid object out, with citations and the release."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from serving.json_route import JsonRoute
from serving.routes.answered import Alias, answered

router = APIRouter(tags=["Prompts"], route_class=JsonRoute)

Name = Annotated[str, Path(min_length=1, max_length=255, examples=["qa"])]


class Invocation(BaseModel):
    """Values for the template's variables: none missing, none more."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"variables": {"question": "What does a gate decide?"}}]}
    )
    variables: dict[str, str] = Field(max_length=64)
    context: str | None = None


class CitedChunk(BaseModel):
    """Code-point offsets into the document."""

    chunk_id: str
    document_id: str
    start: int
    end: int


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
async def invoke(name: Name, body: Invocation, request: Request, x_alias: Alias = "Production") -> Invoked:
    """Answers with the release that the alias points at."""
    answer, release = await answered(request, name, x_alias, body.variables, context=body.context)
    return Invoked(
        text=answer.text,
        object=answer.object,
        refused=answer.refused,
        citations=[CitedChunk(**asdict(citation)) for citation in answer.citations],
        usage=asdict(answer.usage),
        cost_usd=answer.cost_usd,
        latency_ms=answer.latency_ms,
        release=release.label,
        digest=release.digest,
        request_id=request.state.request_id,
    )
