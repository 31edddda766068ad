"""One answered or failed request as the metrics see it: the `llm.*` names, OpenTelemetry's GenAI conventions beside
them, and Switchyard's own by release."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mlflow_project.domain.answer import Usage
from mlflow_project.telemetry import catalogue
from mlflow_project.telemetry.catalogue import Metric
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.series import Series
from mlflow_project.telemetry.tracing import Trace

ERROR_TYPES = ("http_error", "timeout", "other")
_MOST_KNOWN = 4096

Measured = Iterator[tuple[Series, float]]


@dataclass(slots=True)
class LlmCall:
    """One request as the metrics see it. `error_type` is `http_error`, `timeout` or `other` on failure, else None;
    `provider` is the name of who answered, where OpenTelemetry's GenAI conventions are to be followed; `release`, where
    it is known, as `qa/7`."""

    model_name: str
    endpoint: str
    duration_ms: float
    usage: Usage = field(default_factory=Usage)
    cost_usd: float | None = None
    text: str | None = None
    error_type: str | None = None
    provider: str | None = None
    release: str | None = None
    refused: bool = False


class CallMeters:
    """Records calls; the series of those that have the same labels are looked up once."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._known: dict[tuple[str | None, ...], _SameLabels] = {}

    def record(self, call: LlmCall, trace: Trace | None = None) -> None:
        """Record one request; failures record their duration too. The trace knows how long its steps took."""
        key = (call.model_name, call.endpoint, call.provider, call.release, call.error_type)
        same = self._known.get(key)
        if same is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            same = self._known[key] = _SameLabels(self._meters, call)
        measured = [*_llm(same.llm, call)]
        if call.provider is not None:
            measured += _gen_ai(same, call, trace)
        if call.release is not None:
            measured += _by_release(same, call, trace)
        self._meters.record_all(measured)


class _Bound(dict[Metric, Series]):
    """One set of labels: the series that they have."""

    def __init__(self, meters: Meters, **labels: object) -> None:
        super().__init__()
        self._meters = meters
        self._labels = labels

    def __missing__(self, metric: Metric) -> Series:
        found = self[metric] = self._meters.series(metric, self._labels)
        return found


class _SameLabels:
    """Calls of one model, endpoint, provider and release that ended alike."""

    def __init__(self, meters: Meters, call: LlmCall) -> None:
        success = "false" if call.error_type else "true"
        named = {"model_name": call.model_name, "endpoint": call.endpoint}
        for kind in ERROR_TYPES:  # from 0 on, or Prometheus would not see the first one
            meters.record(catalogue.LLM_ERRORS, 0, **named, success="false", error_type=kind)
        self.llm = _Bound(meters, **named, success=success, error_type=call.error_type)
        asked = {"operation__name": "chat", "provider__name": call.provider, "request__model": call.model_name}
        asked = {f"gen_ai__{name}": value for name, value in asked.items()}
        self.first_token = _Bound(meters, **asked)
        self.operation = _Bound(meters, **asked, error__type=call.error_type)
        self.tokens_in = _Bound(meters, **asked, gen_ai__token__type="input")
        self.tokens_out = _Bound(meters, **asked, gen_ai__token__type="output")
        self.release = _Bound(meters, release=call.release)
        self.answer = _Bound(meters, release=call.release, success=success)


def _llm(series: _Bound, call: LlmCall) -> Measured:
    yield series[catalogue.LLM_DURATION], call.duration_ms
    if call.error_type:
        yield series[catalogue.LLM_ERRORS], 1
    for metric, amount in (
        (catalogue.LLM_INPUT_TOKENS, call.usage.input_tokens),
        (catalogue.LLM_OUTPUT_TOKENS, call.usage.output_tokens),
        (catalogue.LLM_THOUGHT_TOKENS, call.usage.thought_tokens),
        (catalogue.LLM_CACHED_TOKENS, call.usage.cached_tokens),
        (catalogue.LLM_COST, call.cost_usd),
    ):
        if amount:
            yield series[metric], amount
    if call.text is not None:
        yield series[catalogue.LLM_LENGTH], len(call.text)
        yield series[catalogue.LLM_KEYWORDS], len(set(call.text.lower().split()))


def _gen_ai(same: _SameLabels, call: LlmCall, trace: Trace | None) -> Measured:
    """Seconds and tokens by OpenTelemetry's convention, which counts thoughts as output."""
    if call.usage.input_tokens:
        yield same.tokens_in[catalogue.GEN_AI_TOKENS], call.usage.input_tokens
    if written := (call.usage.output_tokens or 0) + (call.usage.thought_tokens or 0):
        yield same.tokens_out[catalogue.GEN_AI_TOKENS], written
    asked = trace.step("ask") if trace is not None else None
    if trace is None or asked is None:
        return
    yield same.operation[catalogue.GEN_AI_DURATION], asked.seconds
    if asked.first_ns is not None:
        yield same.first_token[catalogue.GEN_AI_FIRST_TOKEN], (asked.first_ns - trace.root.began_ns) / 1e9


def _by_release(same: _SameLabels, call: LlmCall, trace: Trace | None) -> Measured:
    yield same.answer[catalogue.ANSWER_DURATION], call.duration_ms
    if call.cost_usd:
        yield same.release[catalogue.ANSWER_COST], call.cost_usd
    if call.refused:
        yield same.release[catalogue.ANSWERS_REFUSED], 1
    retrieved = trace.step("retrieve") if trace is not None else None
    if retrieved is not None:
        yield same.release[catalogue.RETRIEVAL_DURATION], 1000 * retrieved.seconds
        if retrieved.attributes.get("chunks") == 0:
            yield same.release[catalogue.RETRIEVAL_EMPTY], 1
