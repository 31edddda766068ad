"""`POST /llm-query/`: one question to the default prompt. Its body, answer and error details are pinned: nothing here
is renamed."""

from __future__ import annotations

import time
from collections.abc import Iterator

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from serving.call import TheCall
from serving.live.shelf import LiveRelease
from serving.routes.ask import Alias, Question, ask, check_texts, variables_for
from serving.server import TheServer

router = APIRouter(tags=["AI/LLM"])

NO_RESPONSE = "No response from LLM."


class LLMQuery(BaseModel):
    """A question, and optionally a context that the caller brings along."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"text_input": "What does a gate decide?"}]}
    )
    text_input: str = Field(min_length=1)
    context: str | None = None

    def texts(self) -> Iterator[tuple[str, str]]:
        """Every text, after its name."""
        yield "text_input", self.text_input
        yield "context", self.context or ""

    def question(self, live: LiveRelease) -> Question:
        """The text as the variable that the release's template has for it."""
        return Question(variables_for(live.prompt.template.variables, self.text_input, {}), self.context)


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
async def llm_query(query: LLMQuery, call: TheCall, server: TheServer, x_alias: Alias = "Production") -> LLMAnswer:
    """The question goes to the release that the alias points at; the header `X-Release` names it."""
    started = time.perf_counter()
    check_texts(server, call, query.texts())
    answer = await ask(server, call, server.settings.default_prompt, x_alias, query.question)
    return LLMAnswer(
        original_input=query.text_input,
        generated_text=NO_RESPONSE if answer.text is None else answer.text,
        tokens_used=answer.usage.total_tokens,
        processing_time_ms=round(1000 * (time.perf_counter() - started), 3),
    )
