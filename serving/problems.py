"""Where errors become HTTP answers: RFC 9457 problem details for every route but `/llm-query/`, which has its own form.

A detail never carries a key, an upstream header or a prompt: our errors' messages are written for people and hold none,
and what we did not foresee is named by its type alone.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mlflow_project.errors import (
    InvalidAnswer,
    InvalidData,
    NotFound,
    ProviderError,
    Refused,
    Unavailable,
    WorkspaceError,
)

logger = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[WorkspaceError], int], ...] = (
    (InvalidAnswer, 502),
    (InvalidData, 422),
    (NotFound, 404),
    (Refused, 403),
    (Unavailable, 503),
)
_PROVIDER_STATUS = {"timeout": 504, "circuit_open": 503}


def status_of(error: WorkspaceError) -> int:
    """The HTTP status that an error of ours answers with."""
    if isinstance(error, ProviderError):
        return _PROVIDER_STATUS.get(error.kind, 502)
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem(status: int, detail: str, *, headers: dict[str, str] | None = None, **more: Any) -> JSONResponse:
    """A problem detail; the type says nothing beyond the status."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return JSONResponse(body, status, headers=headers, media_type="application/problem+json")


def plain_problem(status: int, detail: str, *, headers: dict[str, str] | None = None) -> JSONResponse:
    """The form of `/llm-query/`: a detail and no more."""
    return JSONResponse({"detail": detail}, status, headers=headers)


def add_to(app: FastAPI) -> None:
    """Register the mapping."""
    app.add_exception_handler(WorkspaceError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _defect)


def retry_headers(error: WorkspaceError, status: int) -> dict[str, str]:
    """`Retry-After`, in whole seconds, on every 429 and 503."""
    if status not in {429, 503}:
        return {}
    seconds = getattr(error, "retry_after", None) or 1
    return {"Retry-After": str(max(1, round(seconds)))}


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, WorkspaceError)
    status = status_of(error)
    if status >= 500:
        logger.warning("a request failed", extra={"status": status, "error": type(error).__name__})
    return _in_the_routes_form(request, status, str(error), headers=retry_headers(error, status))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if _plain(request):
        return JSONResponse({"detail": _mistakes(error)}, 422)
    return problem(422, "The request does not have the form that this route asks for.", errors=_mistakes(error))


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _in_the_routes_form(request, error.status_code, str(error.detail), headers=dict(error.headers or {}))


async def _defect(request: Request, error: Exception) -> JSONResponse:
    logger.error("a defect of ours", exc_info=error)
    name = type(error).__name__
    if _plain(request):
        return plain_problem(500, f"An unexpected error during LLM query: {name}")
    return problem(500, f"An unexpected error ({name}). The server's log has the trace.")


def _in_the_routes_form(request: Request, status: int, detail: str, *, headers: dict[str, str]) -> JSONResponse:
    if _plain(request):
        return plain_problem(status, detail, headers=headers)
    return problem(status, detail, headers=headers)


def _plain(request: Request) -> bool:
    return request.url.path.startswith("/llm-query")


def _mistakes(error: RequestValidationError) -> list[dict[str, str]]:
    """Where and what, without the input: that may be a prompt."""
    return [{"where": ".".join(str(part) for part in item["loc"]), "what": item["msg"]} for item in error.errors()]
