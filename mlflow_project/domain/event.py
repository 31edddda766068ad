"""Events of live traffic: an answered request, a pair of answers with a shadow, and feedback about an answer.

Texts are masked already; they are None where there is no text or masking failed. Times are UTC in ISO 8601, so they
sort as text. `to_dict` returns one JSON-ready row with `kind` and `schema`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from mlflow_project.domain.rollout import Arm

EVENT_SCHEMA = "switchyard.event/v1"
MOST_CHUNKS = 200
"""The most chunk ids that an event names."""


@dataclass(frozen=True)
class AnswerEvent:
    """One answered or failed request. Lengths are in characters, of the texts as they were before masking.

    `groundedness` is computed by the evaluation's scorer; None if that gave no score. `key_id` is None if the server
    demands no key. `error_type` is None if the request was answered. `trace_id` is OpenTelemetry's, in hex.
    `arm` is which share of a rollout the request belonged to. `sample` is set for models: some rows and their
    predictions, in the form of `models.sample`.

    `route` is the path of the HTTP route. `session` is a digest of the caller's `X-Session-Id`. `inputs` is a JSON
    object with what belongs to the request beside the question: the template's other `variables`, and `context`. It is
    None if the request cannot be asked again: a text was cut or withheld, or it had other messages or tools.

    `chunks` are the ids of the chunks that the provider was given, in the order in which it got them, at most
    `MOST_CHUNKS`. The id `given` stands for a context that the caller sent. It is None if the request failed, for a
    model, for a release without a knowledge base, and in events of servers that did not record it yet.
    """

    kind: ClassVar[str] = "answer"

    event_id: str
    at: str
    request_id: str
    key_id: str | None
    name: str
    release: str
    digest: str
    question: str | None
    answer: str | None
    question_chars: int
    answer_chars: int | None
    keywords: int | None
    refused: bool
    schema_failed: bool
    error_type: str | None
    tokens: int | None
    cost_usd: float | None
    latency_ms: float
    groundedness: float | None
    trace_id: str | None
    arm: Arm = "production"
    sample: str | None = None
    route: str | None = None
    session: str | None = None
    inputs: str | None = None
    chunks: tuple[str, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"schema": EVENT_SCHEMA, "kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class ShadowEvent:
    """One request that production answered and of which a shadow got a copy, with both answers.

    `shadow` is the serial of the ledger's record that began the shadow. `scores` are those of the production answer, by
    the evaluation's scorers. `agreement` compares both answers (0 to 1). `error_type` is None if the shadow answered.
    `cost_usd` is what the shadow's answer cost.
    """

    kind: ClassVar[str] = "shadow"

    event_id: str
    at: str
    shadow: int
    request_id: str
    name: str
    release: str
    digest: str
    shadow_release: str
    shadow_digest: str
    route: str
    session: str | None
    question: str | None
    answer: str | None
    shadow_answer: str | None
    agreement: float | None
    scores: Mapping[str, float | None]
    shadow_scores: Mapping[str, float | None]
    error_type: str | None
    cost_usd: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"schema": EVENT_SCHEMA, "kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class FeedbackEvent:
    """One judgement of one answer. Of several events with the same `feedback_id` the newest counts.

    `source` is `caller`, `admin` or `review`. `author` is the id of the caller's key, or the reviewer; None if the
    server demands no key. A higher `score` is better.
    """

    kind: ClassVar[str] = "feedback"

    event_id: str
    at: str
    feedback_id: str
    request_id: str
    answer_event: str | None
    name: str
    release: str
    digest: str
    source: str
    author: str | None
    score: float | None
    label: str | None
    comment: str | None
    corrected_answer: str | None
    trace_id: str | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"schema": EVENT_SCHEMA, "kind": self.kind, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FeedbackEvent:
        """Read what `to_dict` wrote."""
        return cls(**{key: value for key, value in data.items() if key not in ("schema", "kind")})
