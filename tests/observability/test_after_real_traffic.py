"""`make observe` on the session's stack: the queries that people type return data after real traffic, through the real
collector and the real Prometheus. Only the outside LLM is simulated."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import httpx
import psutil
import pytest

from mlflow_project.api_keys import KeyFile
from mlflow_project.settings import RegistrySettings, load
from mlflow_project.telemetry.catalogue import CATALOGUE, Metric
from observability.grafana.contents import BOARDS, FLIPS, MODEL
from stack.addresses import read_environment
from stack.observe import processes
from stack.supervision import Supervisor
from tests.conftest import RunningStack
from tests.observability import traffic
from tests.observability.conftest import Observed
from tests.observability.naming import prometheus_name
from tests.observability.traffic import NAME
from tests.provider.fixtures import GEMINI_MODEL, Simulated
from tests.serving.conftest import Host, Releases, until

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

DURATION_RATE = f'rate(llm_request_duration_count{{model_name="{GEMINI_MODEL}"}}[1m])'
SLOWEST = "histogram_quantile(0.99, sum by(le, model_name) (rate(llm_request_duration_bucket[1m])))"
INPUT_TOKENS = f'llm_input_tokens_total{{model_name="{GEMINI_MODEL}"}}'
OUTPUT_TOKENS = f'llm_output_tokens_total{{model_name="{GEMINI_MODEL}"}}'
ERROR_RATE = f'rate(llm_api_errors_total{{model_name="{GEMINI_MODEL}"}}[5m])'
COST = f'llm_estimated_cost_usd{{model_name="{GEMINI_MODEL}"}}'
PANELS = [
    (board.title, panel.title, expr.replace(MODEL, GEMINI_MODEL))
    for board in BOARDS
    for panel in board.panels
    for expr in panel.series
]


@pytest.fixture(scope="module")
def asked(
    observed: Observed, released: Releases, provider_process: Simulated, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """A host that is asked all the time, after a flip, a verdict, a job and a look for drift."""
    folder = tmp_path_factory.mktemp("observed")
    keys = KeyFile(folder / "keys.json")
    (asker, _), (limited, _) = keys.create("asker", ("call",)), keys.create("few", ("call",), {"requests": "2/minute"})
    host = Host(
        folder / "host",
        LLM_API_URL=provider_process.gemini_url,
        LLM_API_KEY="not-a-key",
        OTEL_EXPORTER_OTLP_ENDPOINT=observed.collector,
        SWITCHYARD_API_KEYS_FILE=str(folder / "keys.json"),
        SWITCHYARD_EVENT_SHIP_MS="2000",
        SWITCHYARD_TELEMETRY_INTERVAL_MS="500",
        SWITCHYARD_QUALITY_SHARE="1",
        SWITCHYARD_LOG_TEXTS="true",
        SWITCHYARD_TRACE_TEXTS="true",
        SWITCHYARD_TRACE_SHARE="0.02",
        SWITCHYARD_TRACE_EXPERIMENT="0",
    ).start()
    host.http.headers.update(traffic.bearer(asker))
    enough = threading.Event()
    asking = threading.Thread(target=lambda: traffic.ask_until(enough, host, provider_process, limited))
    try:
        base = traffic.knowledge_base(folder / "index")
        before, after = (traffic.seal(released, base, system) for system in ("one", "two"))
        released.point(NAME, before.version)
        host.serves(NAME, before.version)
        began = time.monotonic()
        asking.start()
        traffic.flip_by_command(host, observed, after.version)
        traffic.prepare_by_job(host, observed, folder)
        traffic.look_for_drift(host, observed, began)
        traffic.send_this_process(released, observed)
        yield host
    finally:
        enough.set()
        if asking.is_alive():
            asking.join()
        host.stop()


@pytest.mark.parametrize("expression", [DURATION_RATE, SLOWEST, INPUT_TOKENS, OUTPUT_TOKENS, ERROR_RATE, COST])
def test_the_query_returns_data(asked: Host, observed: Observed, expression: str) -> None:
    assert all(value > 0 for value in observed.returns(f"{expression} > 0"))


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_the_metric_reaches_prometheus_under_its_own_name(asked: Host, observed: Observed, metric: Metric) -> None:
    assert observed.returns(f'last_over_time({{__name__="{prometheus_name(metric)}"}}[1d])')


@pytest.mark.parametrize("record", ["request_rate:1m", "error_share:5m", "request_duration_ms:p99_5m", "cost_usd:1h"])
def test_the_recording_rule_has_data(asked: Host, observed: Observed, record: str) -> None:
    assert observed.returns(f"switchyard:{record}")


@pytest.mark.parametrize(("board", "panel", "expression"), PANELS)
def test_a_panel_of_a_dashboard_has_data(
    asked: Host, observed: Observed, board: str, panel: str, expression: str
) -> None:
    assert observed.returns(expression)


def test_prometheus_has_loaded_every_alert(observed: Observed) -> None:
    assert {"FlipStuck", "SealBroken", "Drift", "QueueLong", "NothingServed"} <= set(traffic.read_rules(observed))


def test_a_provider_is_told_the_trace(asked: Host, provider_process: Simulated) -> None:
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    asked.ask(NAME, "Is anna@example.com known?", traceparent=caller)
    told = [request.headers.get("traceparent", "") for request in provider_process.requests]
    assert any(header.startswith("00-0af7651916cd43dd8448eb211c80319c-") for header in told)


@pytest.mark.parametrize("tie", ["prompt = '{}'", "tags.`switchyard.release` = '{}'"])
def test_mlflow_finds_a_trace_by_its_prompt_and_by_its_release(asked: Host, tie: str) -> None:
    asked.ask(NAME, "Is anna@example.com known?")
    version = asked.releases()["releases"][0]["version"]
    registry = load(RegistrySettings).mlflow_uri

    def found() -> list[dict[str, object]]:
        locations = [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}]
        body = {"locations": locations, "filter": tie.format(f"{NAME}/{version}"), "max_results": 5}
        answer = httpx.post(f"{registry}/api/3.0/mlflow/traces/search", json=body, timeout=30)
        return list(answer.json().get("traces", [])) if answer.status_code == 200 else []

    until(lambda: bool(found()), "a trace in MLflow", 60)
    assert "anna@example.com" not in str(found())


def test_no_series_carries_a_question_or_an_answer(asked: Host, observed: Observed) -> None:
    observed.returns(INPUT_TOKENS)
    written = str(observed.query('{__name__=~".+"}'))
    assert "gate decide" not in written
    assert "on evidence" not in written


def test_after_a_flip_the_gauge_says_what_is_served_no_more(
    asked: Host, observed: Observed, released: Releases
) -> None:
    before, after = (released.seal("flipped", system=system) for system in ("one", "two"))
    for release in (before, after):
        released.point("flipped", release.version)
        assert observed.returns(f'switchyard_release_serving{{release="{release.label}"}} == 1')
    assert observed.returns(f'switchyard_release_serving{{release="{before.label}"}} == 0')
    assert {row["metric"]["release"] for row in observed.query(FLIPS)} >= {after.label}


def test_a_release_that_is_refused_is_counted(asked: Host, observed: Observed, released: Releases) -> None:
    released.point("moved", released.seal("moved", system="one").version)
    asked.serves("moved", 1)
    released.point("moved", released.register("moved", system="two").version)
    assert observed.returns(
        'switchyard_releases_refused{release="moved/2", alias="Production", reason="unsealed"} == 1'
    )
    released.point("moved", 1)
    assert observed.returns(
        'switchyard_releases_refused{release="moved/2", alias="Production", reason="unsealed"} == 0'
    )


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
