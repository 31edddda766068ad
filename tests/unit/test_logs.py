"""A log event says where it belongs: one JSON object a line for machines, a readable line on a terminal."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from mlflow_project.logs import JsonLines, Readable
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
