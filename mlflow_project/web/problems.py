"""The one place that turns errors into HTTP responses.

Four forms: RFC 9457 problem details; the same with OpenAI's member `error`, or with KServe's, for their clients; and
`/llm-query/`'s own.
The message of a `WorkspaceError` never contains a key, a prompt or a provider's header, so callers may see it. Of an
unexpected error they see only the type, since its message may contain anything.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http.client import responses
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mlflow_project.errors import InvalidAnswer, InvalidData, ProviderError, Refused, WorkspaceError

logger = logging.getLogger(__name__)

_MOST_MISTAKES = 20
_MOST_NAME = 100

Form = Literal["problem", "openai", "kserve", "llm-query"]

FORMS: Mapping[str, Form] = {"llm-query": "llm-query", "v1": "openai", "v2": "kserve"}
"""The form of errors by the first part of a path; all others are plain problem details."""


class BadRequest(InvalidData):
    """The request asks for something that this route does not offer: 400, not 422."""

    http_status = 400


class Unauthorized(Refused):
    """The request does not show who sends it: 401, not 403."""

    http_status = 401


class TooLarge(InvalidData):
    """A text is longer than the limit."""

    http_status = 413


_NO_JSON = {"loc": ["body"], "msg": "the body must be JSON, and its Content-Type must say so", "type": "content_type"}
_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}
_DOCUMENTED = {
    400: "Not supported, or not well formed",
    401: "No valid API key",
    403: "Not allowed",
    404: "No such release is live",
    413: "The body is too large",
    422: "Wrong form, or wrong variables",
    429: "A limit of the caller's, or the provider's",
    502: "The provider failed",
    503: "Nothing is served yet, or too busy",
    504: "The provider took too long",
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": why, "content": {"application/problem+json": {"schema": _PROBLEM_SCHEMA}}}
    for status, why in _DOCUMENTED.items()
}
"""The OpenAPI document's errors of every route but `/llm-query/`."""
PLAIN: dict[int | str, dict[str, Any]] = {
    status: {"description": why, "content": {"application/json": {"schema": {"required": ["detail"]}}}}
    for status, why in {**_DOCUMENTED, 500: "The provider failed"}.items()
}
"""The OpenAPI document's errors of `/llm-query/`."""


def add_to(app: FastAPI) -> None:
    """Register `respond` for every error that a route can end with."""
    for kind in (WorkspaceError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, respond)


async def respond(request: Request, error: Exception) -> JSONResponse:
    """The response to an error of a route. Starlette raises an unexpected error again, and uvicorn logs it."""
    answer = response(request.url.path, error)
    if isinstance(error, WorkspaceError) and answer.status_code >= 500:
        logger.warning("a request failed", extra={"status": answer.status_code, "error": type(error).__name__})
    return answer


def response(path: str, error: Exception) -> JSONResponse:
    """The response to an error of a request for this path."""
    form = FORMS.get(path[1:].partition("/")[0], "problem")
    status, detail, headers = _described(error, form)
    if form == "llm-query":
        mistakes = _mistakes(error) if isinstance(error, RequestValidationError) else detail
        return JSONResponse({"detail": mistakes}, status, headers)
    body = {"type": "about:blank", "title": responses.get(status, "Error"), "status": status, "detail": detail}
    if isinstance(error, RequestValidationError):
        body["errors"] = _mistakes(error)
    if form == "openai":
        body["error"] = openai_error(status, detail)
    if form == "kserve":
        body["error"] = detail
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def openai_error(status: int, detail: str) -> dict[str, Any]:
    """The member `error`, as OpenAI's clients read it."""
    types = {401: "authentication_error", 403: "permission_error"}
    kind = types.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"message": detail, "type": kind, "param": None, "code": None}


def _described(error: Exception, form: Form) -> tuple[int, str, dict[str, str]]:
    """Status, detail and headers."""
    if isinstance(error, WorkspaceError):
        status, detail = _of_llm_query(error) if form == "llm-query" else (error.http_status, str(error))
        return status, detail, {**getattr(error, "headers", {}), **_retry_after(error, status)}
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail), dict(error.headers or {})
    if isinstance(error, RequestValidationError):
        reasons = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in _mistakes(error))
        return 400 if form == "openai" else 422, f"The request breaks this route's form: {reasons}.", {}
    name = type(error).__name__
    if form == "llm-query":
        return 500, f"An unexpected error during LLM query: {name}", {}
    return 500, f"An unexpected error ({name}). The server's log has the trace.", {}


def _of_llm_query(error: WorkspaceError) -> tuple[int, str]:
    """Status and detail in the form of `/llm-query/`, which is pinned."""
    if isinstance(error, ProviderError):
        if error.kind == "http_error" and error.status is not None:
            return error.status, f"LLM API HTTP Error: {error.status} - {error}"
        if error.kind == "invalid_json":
            return 500, "Invalid JSON response from LLM API."
        return 500, f"LLM API Request Error: {error}"
    if isinstance(error, InvalidAnswer):
        return 500, f"An unexpected error during LLM query: {error}"
    return error.http_status, str(error)


def _retry_after(error: WorkspaceError, status: int) -> dict[str, str]:
    """`Retry-After` in whole seconds, on every 429 and 503."""
    return {"Retry-After": str(max(1, round(error.retry_after or 1)))} if status in {429, 503} else {}


def _mistakes(error: RequestValidationError) -> list[dict[str, Any]]:
    """The place and the message of the first mistakes, without the input, which may be a prompt."""
    if isinstance(error.body, bytes):  # FastAPI reads no other body as JSON
        return [_NO_JSON]
    mistakes = list(error.errors())[:_MOST_MISTAKES]
    return [
        {"loc": [_short(part) for part in each["loc"]], "msg": each["msg"], "type": each["type"]} for each in mistakes
    ]


def _short(part: str | int) -> str | int:
    """Shorten a part of a location: the name of a field may be as long as the body."""
    return part if isinstance(part, int) or len(part) <= _MOST_NAME else part[:_MOST_NAME] + "…"
