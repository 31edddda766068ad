"""A log event says where it belongs: one JSON object a line for machines, a readable line on a terminal."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from mlflow_project.logs import JsonLines, Readable
from mlflow_project.rules.masking import Masker
from mlflow_project.telemetry import tracing


def record(**fields: object) -> logging.LogRecord:
    made = logging.LogRecord("serving", logging.INFO, __file__, 1, "LLM Query", (), None)
    made.__dict__.update(fields)
    return made


@pytest.fixture(autouse=True)
def _no_trace_left() -> Iterator[None]:
    yield
    tracing.leave()


def test_an_event_carries_its_requests_trace_its_open_step_and_its_release() -> None:
    trace = tracing.begin("POST")
    trace.release = "qa/7"
    with tracing.span("ask") as step:
        event = json.loads(JsonLines().format(record(latency_ms=3.5)))
    assert event["trace_id"] == f"{trace.trace_id:032x}"
    assert isinstance(step, tracing.Step)
    assert event["span_id"] == f"{step.span_id:016x}"
    assert (event["release"], event["message"], event["latency_ms"]) == ("qa/7", "LLM Query", 3.5)


def test_an_event_is_one_line_whatever_stands_in_it() -> None:
    assert "\n" not in JsonLines().format(record(error="two\nlines\u2028three"))


def test_a_terminal_shows_the_fields_too() -> None:
    assert Readable().format(record(release="qa/7")) == "info    serving: LLM Query  release=qa/7"


def test_what_an_exception_says_is_cleaned_before_it_is_written() -> None:
    try:
        raise ValueError("who is anna@example.com")
    except ValueError:
        defect = record(exc_info=sys.exc_info())

    def clean(text: str) -> str:
        return Masker().mask(text).text

    for written in (JsonLines(clean).format(defect), Readable(clean).format(defect)):
        assert "who is [email]" in written
        assert "anna" not in written
