"""Metrics of answered and failed requests: the `llm.*` names, OpenTelemetry's GenAI conventions beside them, and
Switchyard's own by release."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_project.telemetry import catalogue
from mlflow_project.telemetry.catalogue import Metric
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.series import Series
from mlflow_project.telemetry.tracing import Trace
from serving.call import Finished

ERROR_TYPES = ("http_error", "timeout", "other")
_MOST_KNOWN = 4096

Measured = Iterator[tuple[Series, float]]


class RequestMetrics:
    """Records finished requests. Series are looked up once for all requests with the same labels."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._known: dict[tuple[str | None, ...], _Labelled] = {}

    def record(self, finished: Finished) -> None:
        """Record one request. A caller's own mistake is no failure of the release, and is left out."""
        if not self._meters.listening or finished.is_callers_mistake:
            return
        key = (finished.release.label, finished.call.route, finished.provider_error)
        labelled = self._known.get(key)
        if labelled is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            labelled = self._known[key] = _Labelled(self._meters, finished)
        measured = [*_llm(labelled.llm, finished), *_by_release(labelled, finished)]
        if finished.release.manifest.provider is not None:
            measured += _gen_ai(labelled, finished, finished.call.trace)
        self._meters.record_all(measured)


class _Bound(dict[Metric, Series]):
    """The series of one set of labels."""

    def __init__(self, meters: Meters, **labels: object) -> None:
        super().__init__()
        self._meters = meters
        self._labels = labels

    def __missing__(self, metric: Metric) -> Series:
        found = self[metric] = self._meters.series(metric, self._labels)
        return found


class _Labelled:
    """The series of one release, route and outcome."""

    def __init__(self, meters: Meters, finished: Finished) -> None:
        release, error = finished.release, finished.provider_error
        provider = release.manifest.provider
        model = provider.model if provider is not None else release.name
        success = "true" if finished.succeeded else "false"
        named = {"model_name": model, "endpoint": finished.call.route}
        for kind in ERROR_TYPES:  # at 0 first: Prometheus sees no increase of a series that begins at 1
            meters.record(catalogue.LLM_ERRORS, 0, **named, success="false", error_type=kind)
        self.llm = _Bound(meters, **named, success=success, error_type=error)
        asked = {
            "gen_ai__operation__name": "chat",
            "gen_ai__provider__name": provider.name if provider is not None else None,
            "gen_ai__request__model": model,
        }
        self.first_token = _Bound(meters, **asked)
        self.operation = _Bound(meters, **asked, error__type=error)
        self.tokens_in = _Bound(meters, **asked, gen_ai__token__type="input")
        self.tokens_out = _Bound(meters, **asked, gen_ai__token__type="output")
        self.release = _Bound(meters, release=release.label)
        self.answer = _Bound(meters, release=release.label, success=success)


def _llm(series: _Bound, finished: Finished) -> Measured:
    yield series[catalogue.LLM_DURATION], finished.milliseconds
    if not finished.succeeded:
        yield series[catalogue.LLM_ERRORS], 1
        return
    answer = finished.answer
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
            yield series[metric], amount
    if answer.text is not None:
        yield series[catalogue.LLM_LENGTH], len(answer.text)
        yield series[catalogue.LLM_KEYWORDS], len(set(answer.text.lower().split()))


def _gen_ai(labelled: _Labelled, finished: Finished, trace: Trace) -> Measured:
    """Seconds and tokens by OpenTelemetry's convention, which counts thoughts as output."""
    if finished.succeeded and finished.answer is not None:
        usage = finished.answer.usage
        if usage.input_tokens:
            yield labelled.tokens_in[catalogue.GEN_AI_TOKENS], usage.input_tokens
        if written := (usage.output_tokens or 0) + (usage.thought_tokens or 0):
            yield labelled.tokens_out[catalogue.GEN_AI_TOKENS], written
    asked = trace.step("ask")
    if asked is None:
        return
    yield labelled.operation[catalogue.GEN_AI_DURATION], asked.seconds
    if asked.first_ns is not None:
        yield labelled.first_token[catalogue.GEN_AI_FIRST_TOKEN], (asked.first_ns - trace.root.began_ns) / 1e9


def _by_release(labelled: _Labelled, finished: Finished) -> Measured:
    yield labelled.answer[catalogue.ANSWER_DURATION], finished.milliseconds
    answer = finished.answer if finished.succeeded else None
    if answer is not None and answer.cost_usd:
        yield labelled.release[catalogue.ANSWER_COST], answer.cost_usd
    if answer is not None and answer.refused:
        yield labelled.release[catalogue.ANSWERS_REFUSED], 1
    retrieved = finished.call.trace.step("retrieve")
    if retrieved is not None:
        yield labelled.release[catalogue.RETRIEVAL_DURATION], 1000 * retrieved.seconds
        if retrieved.attributes.get("chunks") == 0:
            yield labelled.release[catalogue.RETRIEVAL_EMPTY], 1
