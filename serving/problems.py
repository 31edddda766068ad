"""Where errors become HTTP answers: RFC 9457 problem details for every route but `/llm-query/`, which has its own form.

Below `/v1/` a problem also carries OpenAI's member `error`, which its clients read. A detail never carries a key, an
upstream header or a prompt: our errors' messages are written for people and hold none, and what we did not foresee is
named by its type alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http.client import responses
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mlflow_project.errors import (
    Exhausted,
    InvalidAnswer,
    InvalidData,
    NotFound,
    ProviderError,
    Refused,
    Unavailable,
    WorkspaceError,
)

logger = logging.getLogger(__name__)


class Unauthorized(Refused):
    """Nothing shows who asks: 401, not 403."""


class TooLarge(InvalidData):
    """A text longer than this server takes: 413."""


class BadRequest(InvalidData):
    """A request that asks for what this route does not do: 400, not 422."""


_STATUS: tuple[tuple[type[WorkspaceError], int], ...] = (
    (BadRequest, 400),
    (Unauthorized, 401),
    (TooLarge, 413),
    (InvalidAnswer, 502),
    (InvalidData, 422),
    (NotFound, 404),
    (Refused, 403),
    (Exhausted, 429),
    (Unavailable, 503),
)
_PROVIDER_STATUS = {"timeout": 504, "circuit_open": 503}
_OPENAI_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error"}


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
"""What the documentation says of errors, for every route but `/llm-query/`."""
PLAIN: dict[int | str, dict[str, Any]] = {
    status: {"description": why, "content": {"application/json": {"schema": {"required": ["detail"]}}}}
    for status, why in {**_DOCUMENTED, 500: "The provider failed"}.items()
}
"""The same for `/llm-query/`."""


def status_of(error: WorkspaceError) -> int:
    """The HTTP status that an error of ours answers with."""
    if isinstance(error, ProviderError):
        return 429 if error.status == 429 else _PROVIDER_STATUS.get(error.kind, 502)
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def refusal(
    path: str, status: int, detail: Any, *, headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """An error in the form of the route that was asked."""
    if path.startswith("/llm-query"):
        return JSONResponse({"detail": detail}, status, headers=headers)
    title = responses.get(status, "Error")
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    if path.startswith("/v1/"):
        body["error"] = openai_error(status, detail)
    return JSONResponse(body, status, headers=headers, media_type="application/problem+json")


def openai_error(status: int, detail: str) -> dict[str, Any]:
    """What OpenAI's clients look for in an error."""
    kind = _OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"message": detail, "type": kind, "param": None, "code": None}


def retry_headers(error: WorkspaceError, status: int) -> dict[str, str]:
    """`Retry-After`, in whole seconds, on every 429 and 503."""
    if status not in {429, 503}:
        return {}
    seconds = getattr(error, "retry_after", None) or 1
    return {"Retry-After": str(max(1, round(seconds)))}


ANSWERED = (WorkspaceError, RequestValidationError, HTTPException)
"""What a request may end with by right; all else is a defect of ours."""


def add_to(app: FastAPI) -> None:
    """Register the mapping."""
    for kind in ANSWERED:
        app.add_exception_handler(kind, response_to)
    app.add_exception_handler(Exception, _defect)


async def response_to(request: Request, error: Exception) -> JSONResponse:
    """The answer to one that is `ANSWERED`."""
    if isinstance(error, RequestValidationError):
        return _invalid(request, error)
    if isinstance(error, HTTPException):
        return refusal(request.url.path, error.status_code, str(error.detail), headers=error.headers)
    assert isinstance(error, WorkspaceError), "there are three kinds"
    return _ours(request, error)


def _ours(request: Request, error: WorkspaceError) -> JSONResponse:
    status = status_of(error)
    if status >= 500:
        logger.warning("a request failed", extra={"status": status, "error": type(error).__name__})
    return refusal(request.url.path, status, str(error), headers=retry_headers(error, status))


def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    """Where and what, without the input: that may be a prompt."""
    mistakes = [{"loc": list(item["loc"]), "msg": item["msg"], "type": item["type"]} for item in error.errors()]
    if request.url.path.startswith("/llm-query"):
        return refusal(request.url.path, 422, mistakes)
    told = "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in mistakes)
    status = 400 if request.url.path.startswith("/v1/") else 422
    return refusal(request.url.path, status, f"The request breaks this route's form: {told}.", errors=mistakes)


async def _defect(request: Request, error: Exception) -> JSONResponse:
    """It is raised again behind this answer, and uvicorn logs it, once, with its trace."""
    name = type(error).__name__
    if request.url.path.startswith("/llm-query"):
        return refusal(request.url.path, 500, f"An unexpected error during LLM query: {name}")
    return refusal(request.url.path, 500, f"An unexpected error ({name}). The server's log has the trace.")
