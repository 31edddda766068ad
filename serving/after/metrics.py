"""Records the metrics of finished requests: `llm.*`, those of OpenTelemetry's GenAI conventions, and Switchyard's own
by release."""

from __future__ import annotations

from mlflow_project.domain.answer import Answer
from mlflow_project.telemetry import catalogue
from mlflow_project.telemetry.meters import Meters
from serving.call import Finished

ERROR_TYPES = ("http_error", "timeout", "other")


class RequestMetrics:
    """Each worker has one."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._begun: set[tuple[str, str]] = set()

    def record(self, finished: Finished) -> None:
        """Record one request. One that failed by the caller's own mistake is left out."""
        if not self._meters.listening or finished.is_callers_mistake:
            return
        answer = finished.answer if finished.succeeded else None
        provider = finished.release.manifest.provider
        model = provider.model if provider is not None else finished.release.name
        if finished.release.manifest.kind == "prompt":
            self._llm(finished, model, answer)
        if provider is not None:
            self._gen_ai(finished, provider.name, model, answer)
        self._by_release(finished, answer)

    def _llm(self, finished: Finished, model: str, answer: Answer | None) -> None:
        named = {"model_name": model, "endpoint": finished.call.route}
        if (model, finished.call.route) not in self._begun:
            self._begun.add((model, finished.call.route))
            for kind in ERROR_TYPES:  # begin at 0: Prometheus sees no increase in a series that begins at 1
                self._meters.record(catalogue.LLM_ERRORS, 0, **named, success="false", error_type=kind)
        error = finished.provider_error
        ended = {**named, "success": "true" if error is None else "false", "error_type": error}
        self._meters.record(catalogue.LLM_DURATION, finished.milliseconds, **ended)
        if error is not None:
            self._meters.record(catalogue.LLM_ERRORS, 1, **ended)
        if answer is None:
            return
        for metric, amount in (
            (catalogue.LLM_INPUT_TOKENS, answer.usage.input_tokens),
            (catalogue.LLM_OUTPUT_TOKENS, answer.usage.output_tokens),
            (catalogue.LLM_THOUGHT_TOKENS, answer.usage.thought_tokens),
            (catalogue.LLM_CACHED_TOKENS, answer.usage.cached_tokens),
            (catalogue.LLM_COST, answer.cost_usd),
        ):
            if amount:
                self._meters.record(metric, amount, **ended)
        if answer.text is not None:
            self._meters.record(catalogue.LLM_LENGTH, len(answer.text), **ended)
            self._meters.record(catalogue.LLM_KEYWORDS, len(set(answer.text.lower().split())), **ended)

    def _gen_ai(self, finished: Finished, provider: str, model: str, answer: Answer | None) -> None:
        """Seconds and tokens by OpenTelemetry's convention, which counts thoughts as output."""
        asked = {"operation__name": "chat", "provider__name": provider, "request__model": model}
        asked = {f"gen_ai__{name}": value for name, value in asked.items()}
        usage = answer.usage if answer is not None else None
        if usage is not None and usage.input_tokens:
            self._meters.record(catalogue.GEN_AI_TOKENS, usage.input_tokens, **asked, gen_ai__token__type="input")
        if usage is not None and (written := (usage.output_tokens or 0) + (usage.thought_tokens or 0)):
            self._meters.record(catalogue.GEN_AI_TOKENS, written, **asked, gen_ai__token__type="output")
        trace = finished.call.trace
        step = trace.step("ask")
        if step is None:
            return
        self._meters.record(catalogue.GEN_AI_DURATION, step.seconds, **asked, error__type=finished.provider_error)
        if step.first_ns is not None:
            seconds = (step.first_ns - trace.root.began_ns) / 1e9
            self._meters.record(catalogue.GEN_AI_FIRST_TOKEN, seconds, **asked)

    def _by_release(self, finished: Finished, answer: Answer | None) -> None:
        of = {"release": finished.release.label, "arm": finished.arm}
        success = "true" if finished.succeeded else "false"
        self._meters.record(catalogue.ANSWER_DURATION, finished.milliseconds, **of, success=success)
        if answer is not None and answer.cost_usd:
            self._meters.record(catalogue.ANSWER_COST, answer.cost_usd, **of)
        if answer is not None and answer.refused:
            self._meters.record(catalogue.ANSWERS_REFUSED, 1, **of)
        retrieved = finished.call.trace.step("retrieve")
        if retrieved is not None:
            self._meters.record(catalogue.RETRIEVAL_DURATION, 1000 * retrieved.seconds, **of)
            if retrieved.attributes.get("chunks") == 0:
                self._meters.record(catalogue.RETRIEVAL_EMPTY, 1, **of)
            if retrieved.attributes.get("words_only"):
                self._meters.record(catalogue.RETRIEVAL_WORDS_ONLY, 1, **of)
