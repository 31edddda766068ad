"""`make observe` on the session's stack: the queries that people type return data after real traffic, through the real
collector and the real Prometheus. Only the outside LLM is simulated."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator

import httpx
import psutil
import pytest

from mlflow_project.domain.release import Prices, ProviderChoice
from mlflow_project.telemetry import catalogue
from mlflow_project.telemetry.catalogue import CATALOGUE, Metric
from stack.addresses import read_environment
from stack.observe import processes
from stack.supervision import Supervisor
from tests.conftest import RunningStack
from tests.observability.conftest import Observed
from tests.observability.naming import prometheus_name
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import GEMINI_MODEL, Simulated
from tests.serving.conftest import Host, Releases

pytestmark = pytest.mark.long

NAME = "sentiment_analysis"
DURATION_RATE = f'rate(llm_request_duration_count{{model_name="{GEMINI_MODEL}"}}[1m])'
SLOWEST = "histogram_quantile(0.99, sum by(le, model_name) (rate(llm_request_duration_bucket[1m])))"
INPUT_TOKENS = f'llm_input_tokens_total{{model_name="{GEMINI_MODEL}"}}'
OUTPUT_TOKENS = f'llm_output_tokens_total{{model_name="{GEMINI_MODEL}"}}'
ERROR_RATE = f'rate(llm_api_errors_total{{model_name="{GEMINI_MODEL}"}}[5m])'
NOT_IN_THIS_TRAFFIC = {
    catalogue.LLM_THOUGHT_TOKENS,
    catalogue.LLM_CACHED_TOKENS,
    catalogue.RELEASES_REFUSED,
    catalogue.TURNED_AWAY,
}
EMITTED = [metric for metric in CATALOGUE if metric not in NOT_IN_THIS_TRAFFIC]
COST = f'llm_estimated_cost_usd{{model_name="{GEMINI_MODEL}"}}'


@pytest.fixture(scope="module")
def asked(
    observed: Observed, released: Releases, provider_process: Simulated, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """A host that is asked all the time; every fifth question meets a provider that refuses it."""
    host = Host(
        tmp_path_factory.mktemp("observed"),
        LLM_API_URL=provider_process.gemini_url,
        LLM_API_KEY="not-a-key",
        OTEL_EXPORTER_OTLP_ENDPOINT=observed.collector,
        SWITCHYARD_TELEMETRY_INTERVAL_MS="500",
    ).start()
    enough = threading.Event()
    asking = threading.Thread(target=lambda: _ask_until(enough, host, provider_process))
    try:
        choice = ProviderChoice("gemini", GEMINI_MODEL, {"tries": 1})
        release = released.seal(NAME, provider=choice, prices=Prices("2026-11", 0.1, 0.4))
        released.point(NAME, release.version)
        host.serves(NAME, release.version)
        asking.start()
        yield host
    finally:
        enough.set()
        if asking.is_alive():
            asking.join()
        host.stop()


def _ask_until(enough: threading.Event, host: Host, provider: Simulated) -> None:
    while not enough.wait(0.05):
        if random.random() < 0.2:
            provider.script.next.append(Behaviour(status=400))
        host.ask(NAME, "Is this text glad or sad?")


@pytest.mark.parametrize("expression", [DURATION_RATE, SLOWEST, INPUT_TOKENS, OUTPUT_TOKENS, ERROR_RATE, COST])
def test_the_query_returns_data(asked: Host, observed: Observed, expression: str) -> None:
    assert all(value > 0 for value in observed.returns(f"{expression} > 0"))


@pytest.mark.parametrize("metric", EMITTED, ids=lambda metric: metric.name)
def test_the_metric_reaches_prometheus_under_its_own_name(asked: Host, observed: Observed, metric: Metric) -> None:
    assert observed.returns(f'{{__name__="{prometheus_name(metric)}"}}')


@pytest.mark.parametrize("record", ["request_rate:1m", "error_share:5m", "request_duration_ms:p99_5m", "cost_usd:1h"])
def test_the_recording_rule_has_data(asked: Host, observed: Observed, record: str) -> None:
    assert observed.returns(f"switchyard:{record}")


def test_no_series_carries_a_question_or_an_answer(asked: Host, observed: Observed) -> None:
    observed.returns(INPUT_TOKENS)
    written = str(observed.query('{__name__=~".+"}'))
    assert "glad or sad" not in written
    assert "simulated answer" not in written


def test_after_a_flip_the_gauge_says_what_is_served_no_more(
    asked: Host, observed: Observed, released: Releases
) -> None:
    before, after = (released.seal("flipped", system=system) for system in ("one", "two"))
    for release in (before, after):
        released.point("flipped", release.version)
        assert observed.returns(f'switchyard_release_serving{{release="{release.label}"}} == 1')
    assert observed.returns(f'switchyard_release_serving{{release="{before.label}"}} == 0')


def test_a_release_that_is_refused_is_counted(asked: Host, observed: Observed, released: Releases) -> None:
    released.point("moved", released.seal("moved", system="one").version)
    asked.serves("moved", 1)
    released.point("moved", released.register("moved", system="two").version)
    assert observed.returns('switchyard_releases_refused{name="moved", alias="Production"} == 1')
    released.point("moved", 1)
    assert observed.returns('switchyard_releases_refused{name="moved", alias="Production"} == 0')


def test_a_request_that_the_guard_does_not_let_in_is_counted(asked: Host, observed: Observed) -> None:
    assert asked.http.post("/llm-query/", content=b" " * 1_100_000).status_code == 413
    assert observed.returns('switchyard_requests_turned_away_total{status="413"}')


def test_the_stack_s_own_server_sends_too_and_says_so_in_stack_env(stack: RunningStack, observed: Observed) -> None:
    assert read_environment(stack.state)[processes.OTLP] == observed.collector
    worker = next((stack.state / "serving" / "workers").glob("*.json")).stem
    assert observed.returns(f'switchyard_registry_age_seconds{{instance="{worker}"}}')


def test_both_listen_on_loopback_only_and_go_down_with_the_stack(stack: RunningStack, observed: Observed) -> None:
    marked = Supervisor(stack.state).marked()
    assert {"prometheus", "otelcol"} <= {process.name() for process in marked}
    listening = {
        connection.laddr[0]
        for process in marked
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening <= {"127.0.0.1", "::1"}


def test_a_collector_that_is_gone_costs_no_request(
    observed: Observed, released: Releases, new_host: Callable[..., Host]
) -> None:
    host = new_host(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1", SWITCHYARD_TELEMETRY_INTERVAL_MS="100").start()
    released.point("unheard", released.seal("unheard").version)
    host.serves("unheard", 1)
    assert {host.ask("unheard").status_code for _ in range(200)} == {200}


def test_a_second_make_observe_finds_both_running(stack: RunningStack, observed: Observed) -> None:
    before = {process.pid for process in Supervisor(stack.state).marked()}
    processes.up(stack.state, say=lambda _: None)
    assert {process.pid for process in Supervisor(stack.state).marked()} == before
    assert httpx.get(observed.health).status_code == 200
