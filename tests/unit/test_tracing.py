"""Traces: which steps are noted, what goes on to a provider, what is kept when a request ends, what it may cost."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.client import HTTPException

import pytest
from opentelemetry.sdk.resources import Resource

from mlflow_project.telemetry import tracing
from mlflow_project.telemetry.outbox import Outbox
from mlflow_project.telemetry.traces import Keeping, Traces, spans_of
from mlflow_project.telemetry.tracing import MOST_STEPS, Trace, span

CALLERS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def _no_trace_left() -> Iterator[None]:
    yield
    tracing.leave()


def ended(*, milliseconds: float = 1, failed: bool = False, trace_id: int | None = None) -> Trace:
    trace = tracing.begin("POST")
    trace.trace_id = trace_id if trace_id is not None else trace.trace_id
    trace.root.error = "ProviderError" if failed else None
    trace.root.ended_ns = trace.root.began_ns + int(milliseconds * 1e6)
    return trace


def test_outside_of_a_request_a_step_does_nothing() -> None:
    with span("retrieve") as step:
        step.note(chunks=3)
        step.first()
    assert step.headers() == {}
    assert tracing.current() is None


def test_ids_come_in_the_order_of_time_and_share_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spool's index of requests relies on the first, sampling and strangers' joins on the second."""
    ids = []
    for now in (1_700_000_000_000_000_000, 1_700_000_000_001_000_000, 1_800_000_000_000_000_000):
        monkeypatch.setattr(tracing.time, "time_ns", lambda now=now: now)
        ids.append(tracing.begin("POST").trace_id)
    assert ids == sorted(ids)
    assert all(0 < each < 1 << 128 for each in ids)
    assert len({each % (1 << 80) for each in ids}) == 3
    assert int(f"{ids[0]:032x}"[:12], 16) == 1_700_000_000_000


def test_steps_stand_below_the_one_that_was_open() -> None:
    trace = tracing.begin("POST")
    with span("ask") as ask, pytest.raises(ValueError, match="no"), span("try", provider="gemini"):
        raise ValueError("no")
    trace.end()
    ask_span, try_span = spans_of(trace, Resource({}))[1:]
    assert ask_span.context is not None
    assert try_span.parent is not None
    assert try_span.parent.span_id == ask_span.context.span_id
    assert dict(try_span.attributes or {}) == {"provider": "gemini", "error.type": "ValueError"}
    assert isinstance(ask, tracing.Step)


def test_a_callers_trace_goes_on_and_out_to_the_provider() -> None:
    trace = tracing.begin("POST", CALLERS, "vendor=1")
    with span("try") as step:
        headers = step.headers()
    trace.end()
    assert headers["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert headers["traceparent"].split("-")[2] != "b7ad6b7169203331"
    assert headers["tracestate"] == "vendor=1"
    root = spans_of(trace, Resource({}))[0]
    assert root.parent is not None
    assert f"{root.parent.span_id:016x}" == "b7ad6b7169203331"
    assert spans_of(trace, Resource({}), whole=True)[0].parent is None


@pytest.mark.parametrize(
    "malformed",
    ["", "00", CALLERS[:-3], "ff" + CALLERS[2:], CALLERS.upper(), f"00-{'0' * 32}-b7ad6b7169203331-01", CALLERS + "x"],
)
def test_a_malformed_context_begins_a_trace_of_its_own(malformed: str) -> None:
    assert tracing.remote_of(malformed) is None


def test_every_failure_and_every_slow_request_is_kept_and_a_share_of_the_rest() -> None:
    keeping = Keeping(share=0.1, slow_ms=100)
    assert keeping.why(ended(failed=True)) == "error"
    assert keeping.why(ended(milliseconds=101)) == "slow"
    kept = sum(keeping.why(ended()) == "share" for _ in range(5000))
    assert 350 < kept < 650
    assert {keeping.why(ended(trace_id=7)), Keeping(0.1, 1e9).why(ended(trace_id=7))} == {"share"}
    assert Keeping(0, 100).why(ended()) is None


def test_a_request_has_a_bounded_number_of_steps() -> None:
    trace = tracing.begin("POST")
    for _ in range(1000):
        with span("try"):
            pass
    assert len(trace.steps) == MOST_STEPS


def test_a_full_outbox_drops_and_counts_and_never_waits() -> None:
    free, took = threading.Event(), threading.Event()

    def slow(items: Sequence[Trace]) -> bool:
        took.set()
        return free.wait(10)

    outbox = Outbox("traces", slow, most=10, batch=1, seconds=0.001)
    traces = Traces(Keeping(1.0, 1.0), [outbox])
    traces.ended(ended())
    assert took.wait(5)
    for _ in range(100):
        traces.ended(ended())
    assert (len(outbox), outbox.dropped) == (10, 90)
    free.set()
    traces.close()
    assert len(outbox) == 0


def test_what_a_backend_does_not_take_is_counted() -> None:
    outbox: Outbox[int] = Outbox("traces", lambda items: False, seconds=0.001)
    for number in range(5):
        outbox.put(number)
    outbox.close()
    assert (len(outbox), outbox.dropped) == (0, 5)


def test_a_backend_that_breaks_ends_no_thread() -> None:
    took = threading.Event()

    def broken_at_first(items: Sequence[int]) -> bool:
        if 0 in items:
            raise HTTPException
        took.set()
        return True

    outbox: Outbox[int] = Outbox("traces", broken_at_first, batch=1, seconds=0.001)
    outbox.put(0)
    outbox.put(1)
    assert took.wait(5)
    outbox.close()
    assert (len(outbox), outbox.dropped) == (0, 1)


def test_a_trace_that_ended_leaves_nothing_to_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        trace = tracing.begin("POST")
        with span("ask"), suppress(ValueError), span("try"):
            raise ValueError
        trace.end()
        tracing.leave()
        del trace
        assert gc.collect() == 0
    finally:
        gc.enable()
