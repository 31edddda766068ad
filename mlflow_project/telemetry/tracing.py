"""What one request did, step by step: `begin` at the door, `with span("retrieve"):` wherever something is done.

Out: a `Trace` in memory; whether it is kept is decided when its root ends (see `traces`). Outside of a request, or
where nobody listens, `span` gives one shared step that does nothing. No text, key or name that a caller chose goes in.

W3C Trace Context (https://www.w3.org/TR/trace-context/): `begin` reads the caller's `traceparent`, `Step.headers` are
what goes on to the provider.
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
    """Where a caller's own trace stands; `state` is passed on as it came."""

    trace_id: int
    span_id: int
    state: str = ""


class Step:
    """One thing that was done, as a context manager. Nanoseconds of `time.perf_counter_ns`; `error` is a type's name,
    `first_ns` when the first piece of a stream came. It knows its trace only while it is open: a circle of the two
    would be left to the garbage collector, whose pauses requests feel.
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
        """How long it took."""
        return (self.ended_ns - self.began_ns) / 1e9

    def note(self, **attributes: Any) -> None:
        """Add what only came to light on the way. Dots in a name are written `__`."""
        self.attributes.update((name.replace("__", "."), value) for name, value in attributes.items())

    def first(self) -> None:
        """The first piece of a stream is here."""
        if self.first_ns is None:
            self.first_ns = time.perf_counter_ns()

    def headers(self) -> dict[str, str]:
        """The context for whoever is asked in this step."""
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
    """The step of a request that nobody traces."""

    __slots__ = ()

    def note(self, **attributes: Any) -> None:
        """Nothing."""

    def first(self) -> None:
        """Nothing."""

    def headers(self) -> dict[str, str]:
        """None."""
        return {}

    def __enter__(self) -> Nothing:
        return self

    def __exit__(self, *why: object) -> None:
        return None


_NOTHING = Nothing()


class Trace:
    """A request. `open` is the step that runs now; `provider` and `usage` are those of its answer; `texts` are
    (question, answer), masked, where they are recorded. The ids of its steps follow one another from a random one on;
    `last_id` is the newest.
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
        """The last step of this name."""
        for step in reversed(self.steps):
            if step.name == name:
                return step
        return None

    def end(self) -> None:
        """The request is over."""
        self.root.ended_ns = time.perf_counter_ns()
        del self.root.trace


def _new_id(now_ns: int) -> int:
    """128 bits, of which the first 48 are the time in milliseconds, as in a UUID 7 (RFC 9562): where they are an index,
    new ones come at its end, which is a fifth of the work. The rest is chance, as W3C Trace Context asks."""
    return (now_ns // 1_000_000) << 80 | random.getrandbits(80)


_CURRENT: ContextVar[Trace | None] = ContextVar("switchyard_trace", default=None)


def begin(name: str, traceparent: str = "", tracestate: str = "", *, listening: bool = True) -> Trace:
    """Begin a request's trace; from here on it is the current one of this task and of those that it starts."""
    trace = Trace(name, remote_of(traceparent, tracestate), listening=listening)
    _CURRENT.set(trace)
    return trace


def leave() -> None:
    """There is no current trace any more."""
    _CURRENT.set(None)


def current() -> Trace | None:
    """The trace of the request that this code runs for."""
    return _CURRENT.get()


def span(name: str, **attributes: Any) -> Step | Nothing:
    """A step of the current request, with attributes that have plain names: `with span("retrieve") as step`."""
    trace = _CURRENT.get()
    if trace is None or not trace.listening or len(trace.steps) >= MOST_STEPS:
        return _NOTHING
    return Step(trace, name, attributes)


def remote_of(traceparent: str, tracestate: str = "") -> Remote | None:
    """What a caller's headers say; None when they are missing or malformed."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if found is None:
        return None
    state = tracestate if len(tracestate) <= 512 and tracestate.isascii() and tracestate.isprintable() else ""
    return Remote(int(found[1], 16), int(found[2], 16), state)
