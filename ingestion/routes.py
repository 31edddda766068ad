"""The routes of the ingestion service: documents, conversations, events; single, as a JSON array, or as NDJSON."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from ingestion.edge import Call
from ingestion.intake import Answer, Intake, Origin, status_of
from ingestion.lines import elements_of
from ingestion.streaming import StreamedAnswers
from mlflow_project.errors import InvalidData, WorkspaceError
from mlflow_project.rules.ingestion import RAW_CONVERSATIONS, RAW_DOCUMENTS, Stream, topic_of_stream
from mlflow_project.web.problems import BadRequest, TooLarge

router = APIRouter()
_NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"})
_MOST_IN_ARRAY = 10_000
_ARRAY_RECORDS = 8
"""An array may have as many bytes as this number of the largest records."""
_READ_AT_ONCE = 65_536
"""Larger arrays are read in a thread, so that no other request waits."""
_BODY_SECONDS = 30.0
_MOST_KEY = 255


class UnsupportedMedia(InvalidData):
    """The body is compressed, or says so."""

    http_status = 415


@router.post("/ingest/documents", status_code=202)
async def documents(request: Request) -> Response:
    """Take documents: `{"id", "text", "title"?, "language"?, "metadata"?}`."""
    return await _take(request, RAW_DOCUMENTS)


@router.post("/ingest/conversations", status_code=202)
async def conversations(request: Request) -> Response:
    """Take conversations: `{"id", "messages": [{"role", "content"}]}`."""
    return await _take(request, RAW_CONVERSATIONS)


@router.post("/ingest/events/{stream}", status_code=202)
async def events(request: Request, stream: str) -> Response:
    """Take events of a stream whose schema is registered."""
    return await _take(request, topic_of_stream(stream))


@router.delete("/ingest/documents/{id:path}", status_code=202)
async def delete_document(request: Request, id: str) -> Response:
    """Take a document out of the tables and the index, at the next preparation."""
    intake: Intake = request.state.intake
    intake.courier.check_room()
    _check_path(request.scope.get("raw_path", b""))
    return _single(await intake.delete(intake.stream(RAW_DOCUMENTS), id, _origin(request)))


@router.get("/health/live")
async def live() -> Response:
    """Whether the process answers."""
    return PlainTextResponse("ok\n")


@router.get("/health/ready")
async def ready(request: Request) -> Response:
    """Whether records are taken; `kafka` says whether they go to Kafka or to the spool."""
    intake: Intake = request.state.intake
    spool = request.state.spool
    intake.courier.check_room()
    kafka = "spooling" if intake.courier.spooling else "ok"
    return JSONResponse({"kafka": kafka, "spooled_records": spool.count, "spooled_bytes": spool.bytes})


async def _take(request: Request, topic: str) -> Response:
    intake: Intake = request.state.intake
    stream, origin = intake.stream(topic), _origin(request)
    intake.courier.check_room()
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("Send the body without Content-Encoding: compressed bodies are not read.")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() in _NDJSON:
        return StreamedAnswers(intake, stream, origin)
    body = await _body(request, _ARRAY_RECORDS * intake.most_bytes)
    if body.lstrip()[:1] == b"[":
        elements = await asyncio.to_thread(elements_of, body) if len(body) > _READ_AT_ONCE else elements_of(body)
        return await _array(intake, stream, elements, origin)
    [answer] = await intake.take(stream, [(None, body)], origin)
    return _single(answer)


async def _array(intake: Intake, stream: Stream, elements: list[bytes], origin: Origin) -> Response:
    if len(elements) > _MOST_IN_ARRAY:
        raise TooLarge(f"An array may hold {_MOST_IN_ARRAY:,} records: send NDJSON, which has no limit.")
    answers = await intake.take(stream, list(enumerate(elements, 1)), origin)
    taken = sum(answer.taken for answer in answers)
    status = status_of(answers)
    body = {
        "accepted": taken,
        "refused": len(answers) - taken,
        "results": [answer.to_dict(line) for line, answer in enumerate(answers, 1)],
    }
    return JSONResponse(body, status, _retry_after(max((a.retry_after or 0 for a in answers), default=0) or None))


def _single(answer: Answer) -> Response:
    if answer.taken:
        return JSONResponse(dict(answer.fields), answer.status)
    detail = answer.fields.get("detail") or "; ".join(
        f"{each['path']} {each['reason']}" for each in answer.fields.get("errors", ())
    )
    body: dict[str, Any] = {"type": "about:blank", "status": answer.status, **answer.fields, "detail": detail}
    headers = _retry_after(answer.retry_after)
    return JSONResponse(body, answer.status, headers, media_type="application/problem+json")


def _check_path(raw_path: bytes) -> None:
    """Raises:
    BadRequest: the path is no UTF-8. The server has put other characters in place of those bytes.
    """
    try:
        unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError as error:
        raise BadRequest("The id in the path is no UTF-8: write its bytes as %XX of its UTF-8.") from error


def _retry_after(seconds: float | None) -> dict[str, str]:
    return {} if seconds is None else {"Retry-After": str(max(1, round(seconds)))}


def _origin(request: Request) -> Origin:
    call: Call = request.state.call
    version, key = request.query_params.get("version"), request.headers.get("idempotency-key")
    if version is not None and not (version.isascii() and version.isdigit() and len(version) <= 6):
        raise BadRequest("`version` is the number of a schema version: ?version=2.")
    if key is not None and not (0 < len(key) <= _MOST_KEY and key.isprintable()):
        raise BadRequest(f"Idempotency-Key must be a printable text of at most {_MOST_KEY} characters.")
    return Origin(
        call.request_id,
        f"00-{call.trace.trace_id:032x}-{call.trace.root.span_id:016x}-01",
        call.caller.owner if call.caller is not None else "",
        call.caller.id if call.caller is not None else "",
        key,
        None if version is None else int(version),
    )


async def _body(request: Request, most_bytes: int) -> bytes:
    """The whole body, within a size and a time."""
    found = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for piece in request.stream():
                found += piece
                if len(found) > most_bytes:
                    raise TooLarge(f"The body is larger than the {most_bytes:,} bytes allowed here: send NDJSON.")
    except TimeoutError as error:
        raise BodyTooSlow(f"The body did not arrive within {_BODY_SECONDS:g} s.") from error
    return bytes(found)


class BodyTooSlow(WorkspaceError):
    """The body did not arrive in time."""

    http_status = 408
