"""What the meters record, and what bounds them."""

from typing import Any

import pytest

from mlflow_project.domain.answer import Answer, Usage
from mlflow_project.domain.release import Manifest, ProviderChoice, Release
from mlflow_project.errors import ProviderError
from mlflow_project.telemetry import catalogue, tracing
from mlflow_project.telemetry.meters import MOST_VALUES, Meters
from mlflow_project.telemetry.tracing import Trace
from serving.after.metrics import RequestMetrics
from serving.call import Call, Finished


def points(meters: Meters) -> dict[str, list[Any]]:
    return {metric.name: found for metric, found in meters.now().items()}


@pytest.fixture
def meters() -> Meters:
    return Meters()


def finished(answer: Answer | None = None, error: Exception | None = None, trace: Trace | None = None) -> Finished:
    """A request to `qa/7`, of the model `m` at gemini, that took 12.5 ms."""
    release = Release(7, "sha256:7", Manifest("prompt", "qa", provider=ProviderChoice("gemini", "m", {})))
    call = Call("r", trace or Trace("POST", None, listening=False), "/llm-query/")
    return Finished(call, release, {}, answer, error, 0.0, 12.5)


def test_what_is_measured_by_release_names_the_arm(meters: Meters) -> None:
    asked = finished(Answer("a", cost_usd=0.25))
    asked.call.arm = "canary"
    RequestMetrics(meters).record(asked)
    measured = points(meters)["switchyard.answer.cost_usd"][0].labels
    assert measured == {"release": "qa/7", "arm": "canary"}


def test_a_call_records_duration_tokens_cost_and_length(meters: Meters) -> None:
    usage = Usage(input_tokens=10, output_tokens=5)
    RequestMetrics(meters).record(finished(Answer("a b a", usage=usage, cost_usd=0.25)))
    found = points(meters)
    assert found["llm.request.duration"][0].sum == 12.5
    assert found["llm.input.tokens_total"][0].value == 10
    assert found["llm.estimated.cost_usd"][0].value == 0.25
    assert found["llm.response.keywords_count"][0].sum == 2
    assert found["llm.request.duration"][0].labels == {
        "model_name": "m",
        "endpoint": "/llm-query/",
        "success": "true",
    }


def test_a_failed_call_records_its_duration_and_its_kind_of_error(meters: Meters) -> None:
    RequestMetrics(meters).record(finished(error=ProviderError("It did not answer in time.", kind="timeout")))
    found = points(meters)
    errors = {point.labels["error_type"]: point.value for point in found["llm.api.errors_total"]}
    assert errors == {"http_error": 0, "timeout": 1, "other": 0}
    assert found["llm.request.duration"][0].labels["error_type"] == "timeout"


def test_a_streamed_call_records_its_first_token_its_providers_time_and_its_release(meters: Meters) -> None:
    trace = tracing.begin("POST")
    with tracing.span("retrieve", chunks=0), tracing.span("ask") as ask:
        ask.first()
    trace.end()
    tracing.leave()
    RequestMetrics(meters).record(finished(Answer("I do not know.", refused=True), trace=trace))
    found = points(meters)
    for name in ("gen_ai.client.operation.duration", "gen_ai.server.time_to_first_token", "switchyard.answer.duration"):
        assert sum(found[name][0].counts) == 1
    for name in ("switchyard.retrieval.empty_total", "switchyard.answers.refused_total"):
        assert (found[name][0].value, found[name][0].labels) == (1, {"release": "qa/7", "arm": "production"})


def test_ten_thousand_model_names_stay_a_bounded_number_of_series(meters: Meters) -> None:
    for number in range(10_000):
        meters.record(catalogue.LLM_DURATION, 1.0, model_name=f"model-{number}")
    found = points(meters)["llm.request.duration"]
    assert len(found) == MOST_VALUES + 1
    assert sum(sum(point.counts) for point in found) == 10_000


def test_a_label_that_the_catalogue_does_not_name_is_a_mistake(meters: Meters) -> None:
    with pytest.raises(ValueError, match="takes no label text"):
        meters.record(catalogue.LLM_DURATION, 1.0, text="never")


def test_where_nobody_listens_nothing_is_recorded_and_nothing_fails() -> None:
    deaf = Meters(listening=False)
    deaf.record(catalogue.LLM_DURATION, 1.0, model_name="m")
    assert points(deaf) == {}
