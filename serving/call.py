"""One request: a `Call` while it is being answered, a `Finished` when a release has answered it or failed to.

The edge makes the `Call` and fills in what it learns; routes add the release. Log, metrics, traces and events read
`Finished` and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from mlflow_project.adapters.providers.protocol import ProviderRequest
from mlflow_project.answering.question import question_slot
from mlflow_project.api_keys import ApiKey
from mlflow_project.domain.answer import Answer
from mlflow_project.domain.release import Release
from mlflow_project.domain.rollout import Arm, Unit
from mlflow_project.errors import InvalidData, ProviderError
from mlflow_project.models.sample import RowSample
from mlflow_project.snapshot.content import Placed
from mlflow_project.telemetry.tracing import Trace
from serving.live.spending import Reservation

Headers = list[tuple[bytes, bytes]]
_MOST_UNIT_CHARS = 1_000
"""Of a longer session id or user only so many characters count, so that choosing an arm takes microseconds."""


@dataclass(slots=True)
class Call:
    """What the server knows of a request while it is answered.

    `started` is in seconds of `time.perf_counter`; `status` is 0 until the response begins; `complete` is true when
    uvicorn has the response's last byte. `caller` is None if the server requires no API key. `alias` is the alias that
    the request asked for, "" until it is resolved. `session` is what the caller sent as `X-Session-Id`, `user` is
    OpenAI's field. A request with `names_version` asks for a version by its number, so no rollout divides it. `arm` and
    `rollout` say which share of a rollout the request belongs to; `rollout` is the rollout's id, None without one.
    `after_response` is called when the response has left.
    """

    request_id: str
    trace: Trace
    route: str = "none"
    started: float = field(default_factory=time.perf_counter)
    caller: ApiKey | None = None
    session: str = ""
    user: str = ""
    names_version: bool = False
    body_bytes: int = 0
    release: Release | None = None
    alias: str = ""
    arm: Arm = "production"
    rollout: int | None = None
    queued_seconds: float = 0.0
    release_headers: Headers = field(default_factory=list)
    reservation: Reservation | None = None
    caller_left: bool = False
    status: int = 0
    complete: bool = False
    after_response: list[Callable[[], None]] = field(default_factory=list)

    @property
    def trace_id(self) -> str:
        """The id of the request's trace, 32 hexadecimal digits."""
        return f"{self.trace.trace_id:032x}"

    def unit(self, kind: Unit) -> str:
        """What stays on one arm of a rollout. A request that does not name it is a unit of its own."""
        if kind == "session":
            named = self.session
        elif kind == "user":
            named = self.user
        elif kind == "key":
            named = self.caller.owner if self.caller is not None else ""
        else:
            named = ""
        return named[:_MOST_UNIT_CHARS] or self.request_id

    @property
    def the_release(self) -> Release:
        """The release that answers. Known as soon as the alias is resolved."""
        assert self.release is not None, "the alias of this request has not been resolved yet"
        return self.release

    def name_release(self, placed: Placed, stale_seconds: float | None) -> None:
        """Name the release and the arm in the response's headers and in the trace.

        Args:
            stale_seconds: how long ago the registry confirmed the alias; None: just now.
        """
        self.release = placed.release
        label = placed.release.label
        self.trace.release = label
        self.trace.root.attributes["switchyard.alias"] = placed.alias
        self.trace.root.attributes["switchyard.digest"] = placed.digest
        self.trace.root.attributes["switchyard.arm"] = self.arm
        self.release_headers = [
            (b"x-release", label.encode()),
            (b"x-release-digest", placed.digest.encode()),
            (b"x-release-arm", self.arm.encode()),
        ]
        if stale_seconds is not None:
            self.release_headers.append((b"x-release-stale", f"{stale_seconds:.1f}".encode()))

    def name_retrieval(self, request: ProviderRequest) -> None:
        """Say in the response's headers if the chunks were found by words alone, or are not reranked, because an
        endpoint failed."""
        said = [b"words"] * request.words_only + [b"not-reranked"] * request.not_reranked
        if said:
            self.release_headers.append((b"x-retrieval", b", ".join(said)))


@dataclass(frozen=True, slots=True)
class Finished:
    """A request that a release answered, or failed to answer.

    If `error` is set, `answer` is what the provider sent before it was refused; None: it sent nothing. `at` is in
    seconds since the epoch. `milliseconds` is the time since the request arrived. `sample` holds a few rows that a
    model has predicted. `context` is a text that the caller sent beside the question; `alone`: the request had neither
    other messages nor tools.
    """

    call: Call
    release: Release
    variables: Mapping[str, str]
    answer: Answer | None
    error: BaseException | None
    at: float
    milliseconds: float
    sample: RowSample | None = None
    context: str | None = None
    alone: bool = True

    @classmethod
    def of(
        cls,
        call: Call,
        release: Release,
        variables: Mapping[str, str],
        answer: Answer | None,
        error: BaseException | None,
        sample: RowSample | None = None,
        context: str | None = None,
        alone: bool = True,
    ) -> Finished:
        """A request that ends now."""
        milliseconds = 1000 * (time.perf_counter() - call.started)
        return cls(call, release, variables, answer, error, time.time(), milliseconds, sample, context, alone)

    @property
    def arm(self) -> Arm:
        """Which share of a rollout the request belongs to; `production` without a rollout."""
        return self.call.arm

    @property
    def question(self) -> str:
        """The variable that holds the question; all variables, if the template does not show which one it is."""
        slot = question_slot(self.variables)
        return self.variables[slot] if slot else "\n".join(self.variables.values())

    @property
    def succeeded(self) -> bool:
        """Whether the caller got the answer."""
        return self.error is None

    @property
    def is_callers_mistake(self) -> bool:
        """Whether the request itself was wrong, so that the release did not fail."""
        return isinstance(self.error, InvalidData)

    @property
    def error_type(self) -> str | None:
        """The name of the error's class; `CallerLeft` if the caller closed the connection."""
        if self.error is None:
            return None
        return "CallerLeft" if self.call.caller_left else type(self.error).__name__

    @property
    def provider_error(self) -> str | None:
        """The value of the metrics' label `error_type`: `http_error`, `timeout`, or `other`."""
        if self.error is None:
            return None
        kind = self.error.kind if isinstance(self.error, ProviderError) else "other"
        return kind if kind in {"http_error", "timeout"} else "other"


async def _call(request: Request) -> Call:
    """A coroutine, because FastAPI runs plain functions in a thread."""
    call: Call = request.state.call
    call.route = request.scope["route"].path
    return call


TheCall = Annotated[Call, Depends(_call)]
"""The type of a route's parameter that gets the `Call`."""
