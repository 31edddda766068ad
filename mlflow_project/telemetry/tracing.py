"""Records what one request does, step by step: `begin` when it arrives, `with span("retrieve"):` around each step.

Out: a `Trace` in memory. `traces` decides whether it is kept when the request ends. Outside of a request, or if traces
are not recorded, `span` returns one shared step that does nothing. A trace contains no text, key or name that a caller
chose.

W3C Trace Context (https://www.w3.org/TR/trace-context/): `begin` reads the caller's `traceparent`; `Step.headers` go to
the provider.
"""

from __future__ import annotations

import random
import re
import time
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from mlflow_project.domain.answer import Usage
from mlflow_project.domain.release import ProviderChoice

MOST_STEPS = 64
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")


@dataclass(frozen=True)
class Remote:
    """The caller's own trace and span. `state` is passed on unchanged."""

    trace_id: int
    span_id: int
    state: str = ""


class Step:
    """One step of a request, as a context manager.

    Times are in nanoseconds of `time.perf_counter_ns`; `first_ns` is when the first piece of a stream came. `error` is
    the name of an exception's class. A step refers to its trace only while it is open: a reference cycle would be left
    to the garbage collector, whose pauses delay requests.
    """

    __slots__ = ("attributes", "began_ns", "ended_ns", "error", "first_ns", "name", "parent", "span_id", "trace")

    def __init__(self, trace: Trace, name: str, attributes: dict[str, Any]) -> None:
        self.trace = trace
        self.name = name
        self.attributes = attributes
        self.span_id = trace.last_id = trace.last_id + 1
        self.parent: Step | None = None
        self.began_ns = self.ended_ns = 0
        self.first_ns: int | None = None
        self.error: str | None = None

    @property
    def seconds(self) -> float:
        """How long the step took."""
        return (self.ended_ns - self.began_ns) / 1e9

    def note(self, **attributes: Any) -> None:
        """Add attributes. In a name, `__` stands for a dot."""
        self.attributes.update((name.replace("__", "."), value) for name, value in attributes.items())

    def first(self) -> None:
        """Note that the first piece of a stream has come."""
        if self.first_ns is None:
            self.first_ns = time.perf_counter_ns()

    def headers(self) -> dict[str, str]:
        """The headers that pass this trace on to a provider."""
        found = {"traceparent": f"00-{self.trace.trace_id:032x}-{self.span_id:016x}-01"}
        remote = self.trace.remote
        return found | {"tracestate": remote.state} if remote is not None and remote.state else found

    def __enter__(self) -> Step:
        self.parent, self.trace.open = self.trace.open, self
        self.trace.steps.append(self)
        self.began_ns = time.perf_counter_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended_ns = time.perf_counter_ns()
        self.trace.open = self.parent
        if kind is not None and issubclass(kind, Exception):
            self.error = kind.__name__
            self.trace.step_failed = True
        del self.trace


class Nothing:
    """A step that records nothing."""

    __slots__ = ()

    def note(self, **attributes: Any) -> None:
        """Do nothing."""

    def first(self) -> None:
        """Do nothing."""

    def headers(self) -> dict[str, str]:
        """No headers."""
        return {}

    def __enter__(self) -> Nothing:
        return self

    def __exit__(self, *why: object) -> None:
        return None


_NOTHING = Nothing()


class Trace:
    """The trace of one request.

    `open` is the step that runs now. `provider` and `usage` are those of the answer. `texts` are question and answer,
    masked, if texts are recorded. The ids of its steps are consecutive, from a random number on; `last_id` is the
    newest.
    """

    __slots__ = (
        *("last_id", "listening", "open", "provider", "release", "remote", "root"),
        *("step_failed", "steps", "texts", "trace_id", "usage", "wall_ns"),
    )

    def __init__(self, name: str, remote: Remote | None, *, listening: bool) -> None:
        self.wall_ns = time.time_ns()
        self.trace_id = remote.trace_id if remote is not None else _new_id(self.wall_ns)
        self.remote = remote
        self.listening = listening
        self.release: str | None = None
        self.provider: ProviderChoice | None = None
        self.usage: Usage | None = None
        self.texts: tuple[str | None, str | None] = (None, None)
        self.steps: list[Step] = []
        self.open: Step | None = None
        self.step_failed = False
        self.last_id = random.getrandbits(63)
        self.root = Step(self, name, {})
        self.root.began_ns = time.perf_counter_ns()

    @property
    def failed(self) -> bool:
        """Whether the request, or a step of it, ended with an error."""
        return self.step_failed or self.root.error is not None

    def step(self, name: str) -> Step | None:
        """The last step of this name; None: there is none."""
        for step in reversed(self.steps):
            if step.name == name:
                return step
        return None

    def end(self) -> None:
        """End the trace."""
        self.root.ended_ns = time.perf_counter_ns()
        del self.root.trace


def _new_id(now_ns: int) -> int:
    """128 bits: the time in milliseconds in the first 48, as in a UUID 7 (RFC 9562), the rest random, as W3C Trace
    Context asks. A database that sorts by this id appends new ones at the end, which takes a fifth of the work.
    """
    return (now_ns // 1_000_000) << 80 | random.getrandbits(80)


_CURRENT: ContextVar[Trace | None] = ContextVar("switchyard_trace", default=None)


def begin(name: str, traceparent: str = "", tracestate: str = "", *, listening: bool = True) -> Trace:
    """Begin a request's trace. It becomes the current trace of this task and of the tasks that it starts."""
    trace = Trace(name, remote_of(traceparent, tracestate), listening=listening)
    _CURRENT.set(trace)
    return trace


def leave() -> None:
    """End the role of the current trace: there is none afterwards."""
    _CURRENT.set(None)


def current() -> Trace | None:
    """The trace of the current request; None: there is none."""
    return _CURRENT.get()


def span(name: str, **attributes: Any) -> Step | Nothing:
    """A step of the current request, with attributes that have plain names: `with span("retrieve") as step`."""
    trace = _CURRENT.get()
    if trace is None or not trace.listening or len(trace.steps) >= MOST_STEPS:
        return _NOTHING
    return Step(trace, name, attributes)


def remote_of(traceparent: str, tracestate: str = "") -> Remote | None:
    """The caller's trace as its headers name it; None: they are missing or malformed."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if found is None:
        return None
    state = tracestate if len(tracestate) <= 512 and tracestate.isascii() and tracestate.isprintable() else ""
    return Remote(int(found[1], 16), int(found[2], 16), state)
