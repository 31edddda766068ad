"""What a provider says when it refuses, made fit to be shown: no key, no prompt, one line, not long."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import orjson

from mlflow_project.domain.release import Message
from mlflow_project.rules.masking import Masker

LONGEST = 300
LONGEST_WAIT = 86_400.0
_READ = 2_000
_ECHO = 16
"""So many characters of a prompt in a row count as repeating it."""


def complaint(status: int, body: bytes, secret: str, messages: Sequence[Message], masker: Masker) -> str:
    """The error message of a JSON body, cleaned; the status's phrase where there is none or it repeats the prompt."""
    text = " ".join(_message(body).split())[:_READ]
    if not text or _echoes(text, messages):
        return _phrase(status)
    if secret:
        text = text.replace(secret, "[key]")
    return masker.mask(text).text[:LONGEST]  # cut last: half of a number would not be known for one


def retry_after(value: str | None) -> float | None:
    """Seconds out of a `Retry-After` header: a number or a date."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else min(max(0.0, seconds), LONGEST_WAIT)


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
    halves, pieces = _windows(text, _ECHO // 2), _windows(text, _ECHO)
    return any(_shares(content, halves, pieces) for content in sent)


def _shares(content: str, halves: set[str], pieces: set[str]) -> bool:
    """Whether a content holds one of the pieces. Every piece covers a half that begins at a multiple of its length, so
    looking at those alone finds all pieces, in an eighth of the time."""
    step = _ECHO // 2
    for place in range(0, len(content), step):
        if content[place : place + step] in halves:
            around = content[max(0, place - step) : place + _ECHO]
            if not pieces.isdisjoint(_windows(around, _ECHO)):
                return True
    return False


def _windows(text: str, length: int) -> set[str]:
    return {text[place : place + length] for place in range(len(text) - length + 1)}
