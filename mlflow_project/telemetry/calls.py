"""One answered or failed request as the metrics see it: the `llm.*` names, OpenTelemetry's GenAI conventions beside
them, and Switchyard's own by release."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlflow_project.domain.answer import Usage
from mlflow_project.telemetry import catalogue
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.tracing import Trace

ERROR_TYPES = ("http_error", "timeout", "other")


@dataclass(frozen=True)
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


def record_llm_call(meters: Meters, call: LlmCall, trace: Trace | None = None) -> None:
    """Record one request; failures record their duration too. The trace knows how long its steps took."""
    labels: dict[str, object] = {"model_name": call.model_name, "endpoint": call.endpoint}
    if meters.first_time("errors", call.model_name, call.endpoint):
        for kind in ERROR_TYPES:  # from 0 on, or Prometheus would not see the first one
            meters.record(catalogue.LLM_ERRORS, 0, **labels, success="false", error_type=kind)
    labels |= {"success": "false" if call.error_type else "true", "error_type": call.error_type}
    meters.record(catalogue.LLM_DURATION, call.duration_ms, **labels)
    if call.error_type:
        meters.record(catalogue.LLM_ERRORS, 1, **labels)
    for metric, amount in (
        (catalogue.LLM_INPUT_TOKENS, call.usage.input_tokens),
        (catalogue.LLM_OUTPUT_TOKENS, call.usage.output_tokens),
        (catalogue.LLM_THOUGHT_TOKENS, call.usage.thought_tokens),
        (catalogue.LLM_CACHED_TOKENS, call.usage.cached_tokens),
        (catalogue.LLM_COST, call.cost_usd),
    ):
        if amount:
            meters.record(metric, amount, **labels)
    if call.text is not None:
        meters.record(catalogue.LLM_LENGTH, len(call.text), **labels)
        meters.record(catalogue.LLM_KEYWORDS, len({word.lower() for word in call.text.split()}), **labels)
    _record_gen_ai(meters, call, trace)
    _record_release(meters, call, trace)


def _record_gen_ai(meters: Meters, call: LlmCall, trace: Trace | None) -> None:
    """Seconds and tokens by OpenTelemetry's convention, which counts thoughts as output."""
    if call.provider is None:
        return
    labels: dict[str, object] = {"gen_ai__operation__name": "chat", "gen_ai__provider__name": call.provider}
    labels |= {"gen_ai__request__model": call.model_name}
    written = (call.usage.output_tokens or 0) + (call.usage.thought_tokens or 0)
    for kind, amount in (("input", call.usage.input_tokens), ("output", written)):
        if amount:
            meters.record(catalogue.GEN_AI_TOKENS, amount, gen_ai__token__type=kind, **labels)
    asked = trace.step("ask") if trace is not None else None
    if trace is None or asked is None:
        return
    meters.record(catalogue.GEN_AI_DURATION, asked.seconds, error__type=call.error_type, **labels)
    if asked.first_ns is not None:
        meters.record(catalogue.GEN_AI_FIRST_TOKEN, (asked.first_ns - trace.root.began_ns) / 1e9, **labels)


def _record_release(meters: Meters, call: LlmCall, trace: Trace | None) -> None:
    if call.release is None:
        return
    success = "false" if call.error_type else "true"
    meters.record(catalogue.ANSWER_DURATION, call.duration_ms, release=call.release, success=success)
    if call.cost_usd:
        meters.record(catalogue.ANSWER_COST, call.cost_usd, release=call.release)
    if call.refused:
        meters.record(catalogue.ANSWERS_REFUSED, 1, release=call.release)
    retrieved = trace.step("retrieve") if trace is not None else None
    if retrieved is not None:
        meters.record(catalogue.RETRIEVAL_DURATION, 1000 * retrieved.seconds, release=call.release)
        if retrieved.attributes.get("chunks") == 0:
            meters.record(catalogue.RETRIEVAL_EMPTY, 1, release=call.release)
