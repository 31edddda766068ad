"""People's judgements on MLflow's traces, over `MlflowApi`.

In: feedback about a traced answer. Out: an assessment `feedback` on the trace, and an expectation where the feedback
corrects the answer. Sending the same feedback twice leaves one assessment; changed feedback overrides the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow_project.adapters.mlflow_api import MlflowApi
from mlflow_project.domain.event import FeedbackEvent
from mlflow_project.settings import RegistrySettings

_TRACES = "3.0/mlflow/traces"
_EVENT, _FEEDBACK = "switchyard.event", "switchyard.feedback"


def trace_id_of(otel_trace_id: str) -> str:
    """What MLflow calls a trace that came by OTLP."""
    return f"tr-{otel_trace_id}"


class Assessments:
    """All calls may raise `Unavailable`; `NotFound` means that MLflow has no such trace (yet)."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._api = MlflowApi(settings)

    def assess(self, event: FeedbackEvent) -> None:
        """Write the feedback to its trace, unless the trace has it already."""
        if event.trace_id is None:
            return
        trace = trace_id_of(event.trace_id)
        known = self.of(trace)
        if not any(one.get("metadata", {}).get(_EVENT) == event.event_id for one in known):
            for body in _assessments(event, trace, known):
                self._api.send("POST", f"{_TRACES}/{trace}/assessments", {"assessment": body})

    def of(self, trace: str) -> Sequence[Mapping[str, Any]]:
        """The assessments that a trace has."""
        found = self._api.get(f"{_TRACES}/{trace}")["trace"]["trace_info"]
        assessments: Sequence[Mapping[str, Any]] = found.get("assessments", ())
        return assessments


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
