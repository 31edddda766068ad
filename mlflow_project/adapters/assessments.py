"""Judgements on MLflow's traces, over REST, since importing MLflow's client takes seconds.

In: a judgement of a traced answer. Out: an assessment `feedback` on the trace, and an expectation where the judgement
corrects the answer. Telling it twice leaves one; a judgement that was changed overrides the one before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from mlflow_project.domain.event import FeedbackEvent
from mlflow_project.errors import InvalidData, NotFound, Unavailable
from mlflow_project.settings import RegistrySettings

_EVENT, _FEEDBACK = "switchyard.event", "switchyard.feedback"


def trace_id_of(otel_trace_id: str) -> str:
    """What MLflow calls a trace that came by OTLP."""
    return f"tr-{otel_trace_id}"


class Assessments:
    """All calls may raise `Unavailable`; `NotFound` means that MLflow has no such trace (yet)."""

    def __init__(self, settings: RegistrySettings) -> None:
        self.uri = settings.mlflow_uri.rstrip("/")
        self._http = httpx.Client(base_url=self.uri, timeout=settings.registry_timeout)

    def assess(self, event: FeedbackEvent) -> None:
        """Tell the event's trace, unless it was told before."""
        if event.trace_id is None:
            return
        trace = trace_id_of(event.trace_id)
        known = self.of(trace)
        if not any(one.get("metadata", {}).get(_EVENT) == event.event_id for one in known):
            for body in _assessments(event, trace, known):
                self._send("POST", f"/{trace}/assessments", {"assessment": body})

    def of(self, trace: str) -> Sequence[Mapping[str, Any]]:
        """The assessments that a trace has."""
        found = self._send("GET", f"/{trace}")["trace"]["trace_info"]
        assessments: Sequence[Mapping[str, Any]] = found.get("assessments", ())
        return assessments

    def _send(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        try:
            answer = self._http.request(method, f"/api/3.0/mlflow/traces{path}", json=body)
        except httpx.HTTPError as error:
            raise Unavailable(f"MLflow at {self.uri} does not answer ({type(error).__name__}).") from error
        if answer.is_success:
            data: dict[str, Any] = answer.json()
            return data
        said = f"MLflow at {self.uri} answered {answer.status_code} to {method} {path}: {answer.text[:300]}"
        if answer.status_code == 404:
            raise NotFound(said)
        raise InvalidData(said) if answer.status_code < 500 else Unavailable(said)


def _assessments(event: FeedbackEvent, trace: str, known: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    said: list[tuple[str, dict[str, Any]]] = []
    value = event.score if event.score is not None else event.label
    if value is not None or event.comment is not None:
        said.append(("feedback", {"feedback": {"value": value if value is not None else "comment"}}))
    if event.corrected_answer is not None:
        said.append(("expected_response", {"expectation": {"value": event.corrected_answer}}))
    before = {
        one["assessment_name"]: one["assessment_id"]
        for one in known
        if one.get("metadata", {}).get(_FEEDBACK) == event.feedback_id
    }
    metadata = {_EVENT: event.event_id, _FEEDBACK: event.feedback_id, "switchyard.release": event.release}
    metadata |= {"label": event.label} if event.label is not None else {}
    return [
        {
            "assessment_name": name,
            "trace_id": trace,
            "source": {"source_type": "HUMAN", "source_id": event.author or event.source},
            "create_time": event.at,
            "last_update_time": event.at,
            "metadata": metadata,
            "valid": True,
            **({"rationale": event.comment} if event.comment is not None else {}),
            **({"overrides": before[name]} if name in before else {}),
            **value,
        }
        for name, value in said
    ]
