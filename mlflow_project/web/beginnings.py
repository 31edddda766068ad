"""The beginning of every request: its id and its trace, from the headers that the caller sent."""

from __future__ import annotations

import re
from typing import NamedTuple

from starlette.types import Scope

from mlflow_project.rules.masking import Masker
from mlflow_project.telemetry import tracing
from mlflow_project.telemetry.tracing import Trace

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_UUID = re.compile(r"[0-9A-Fa-f]{8}-?(?:[0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}")


class Beginning(NamedTuple):
    """The id of a request, and its trace."""

    request_id: str
    trace: Trace


def begin(scope: Scope, masker: Masker, *, listening: bool) -> Beginning:
    """Begin a request. Its id is the caller's `X-Request-Id` if that may be logged, or else the id of its trace."""
    headers = dict(scope["headers"])
    context = [headers.get(name, b"").decode("latin-1") for name in (b"traceparent", b"tracestate")]
    trace = tracing.begin(scope["method"], *context, listening=listening)
    own = headers.get(b"x-request-id", b"").decode("latin-1")
    request_id = own if _is_recordable(own, masker) else f"{trace.trace_id:032x}"
    trace.root.attributes["switchyard.request_id"] = request_id
    return Beginning(request_id, trace)


def _is_recordable(request_id: str, masker: Masker) -> bool:
    """Whether a caller's id may be logged as it is: the masker finds nothing in it. A UUID is accepted whatever its
    digits are.
    """
    if _ID.fullmatch(request_id) is None:
        return False
    return _UUID.fullmatch(request_id) is not None or not masker.mask(request_id).found
