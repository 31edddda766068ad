"""What a provider says when it refuses, made fit to be shown: no key, no prompt, one line, not long."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import orjson

from mlflow_project.domain.release import Message
from mlflow_project.rules.masking import Masker

LONGEST = 300
_READ = 10_000
_ECHO = 16

_MASKER = Masker()


def complaint(status: int, body: bytes, secret: str, messages: Sequence[Message]) -> str:
    """The error message of a JSON body, cleaned; the status's phrase where there is none or it repeats the prompt."""
    text = " ".join(_message(body).split())[:_READ]
    if not text or _echoes(text, messages):
        return _phrase(status)
    if secret:
        text = text.replace(secret, "[key]")
    return _MASKER.mask(text).text[:LONGEST]  # cut last: half of a number would not be known for one


def retry_after(value: str | None) -> float | None:
    """Seconds out of a `Retry-After` header: a number or a date."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _message(body: bytes) -> str:
    try:
        data: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    if isinstance(data, list) and data:  # Gemini's streaming address answers an array
        data = data[0]
    error = data.get("error", data) if isinstance(data, dict) else None
    said = error.get("message") if isinstance(error, dict) else error
    return said if isinstance(said, str) else ""


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "the provider refused"


def _echoes(text: str, messages: Sequence[Message]) -> bool:
    sent = [" ".join(message.content.split()) for message in messages]
    if any(len(content) >= 4 and content in text for content in sent):
        return True
    pieces = [text[place : place + _ECHO] for place in range(len(text) - _ECHO + 1)]
    return any(piece in content for content in sent for piece in pieces)
