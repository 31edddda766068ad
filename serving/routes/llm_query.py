"""`POST /llm-query/`: the plain door. Its body, answer and error details are pinned; nothing here is renamed."""

from __future__ import annotations

import logging
import time

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from mlflow_project.errors import InvalidAnswer, InvalidData, NotFound, ProviderError
from serving.json_route import JsonRoute
from serving.routes.answered import Alias, answered

logger = logging.getLogger(__name__)
router = APIRouter(tags=["AI/LLM"], route_class=JsonRoute)

NO_RESPONSE = "No response from LLM."


class LLMQuery(BaseModel):
    """A question, and optionally a context that the caller brings along."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"text_input": "What does a gate decide?"}]}
    )
    text_input: str = Field(min_length=1)
    context: str | None = None


class LLMAnswer(BaseModel):
    """`tokens_used` is the total that the provider reported, or null."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "original_input": "What does a gate decide?",
                    "generated_text": "A gate decides, on evidence, whether an alias may move.",
                    "tokens_used": None,
                    "processing_time_ms": 3.2,
                }
            ]
        }
    )
    original_input: str
    generated_text: str
    tokens_used: int | None
    processing_time_ms: float


@router.post("/llm-query/", summary="Ask the default prompt")
async def llm_query(query: LLMQuery, request: Request, x_alias: Alias = "Production") -> LLMAnswer:
    """The question goes to the release that the alias points at; the header `X-Release` names it."""
    began = time.perf_counter()
    name = request.app.state.settings.default_prompt
    try:
        answer, _ = await answered(request, name, x_alias, query.text_input, context=query.context)
    except ProviderError as error:
        raise _provider_failure(error) from error
    except (InvalidData, NotFound):
        raise
    except InvalidAnswer as error:
        raise HTTPException(500, f"An unexpected error during LLM query: {error}") from error
    return LLMAnswer(
        original_input=query.text_input,
        generated_text=NO_RESPONSE if answer.text is None else answer.text,
        tokens_used=answer.usage.total_tokens,
        processing_time_ms=round(1000 * (time.perf_counter() - began), 3),
    )


def _provider_failure(error: ProviderError) -> HTTPException:
    if error.kind == "http_error" and error.status is not None:
        return HTTPException(error.status, f"LLM API HTTP Error: {error.status} - {error}")
    if error.kind == "invalid_json":
        return HTTPException(500, "Invalid JSON response from LLM API.")
    return HTTPException(500, f"LLM API Request Error: {error}")
