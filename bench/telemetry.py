"""What each signal costs the server on the request path: on and off, in one run.

`python -m bench.telemetry [--seconds 2.5] [--rounds 5]`, with Go; no stack has to run. One server a row, each
with one worker over the same simulated provider, which takes the telemetry too; each row adds one signal to
nothing at all. Figures are medians of rounds in turn.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench import gateway_sides as sides
from bench.loading import Loaded, Side, rounds
from bench.peers import MODEL
from bench.report import Measure, report
from mlflow_project.domain.release import ProviderChoice
from tests.serving.snapshots import Snapshots

NAME = "bench-telemetry"
CALLERS = 16
NOTHING, EVERYTHING = "nothing", "everything"
GOAL = 1.25
"""Everything on may cost a quarter more CPU a request than nothing at all."""

OFF = {"SWITCHYARD_LOG_QUERIES": "false", "SWITCHYARD_EVENT_SHARE": "0"}
SENT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "SWITCHYARD_TRACE_SHARE": "0", "SWITCHYARD_QUALITY_SHARE": "0"}
LOGGED = {"SWITCHYARD_LOG_QUERIES": "true"}
TEXTS = {"SWITCHYARD_LOG_TEXTS": "true"}
EVENTS = {"SWITCHYARD_EVENT_SHARE": "1"}
SIGNALS: dict[str, dict[str, str]] = {
    NOTHING: {},
    "logs": LOGGED,
    "logs with masked texts": LOGGED | TEXTS,
    "metrics": SENT,
    "metrics, quality of 5 %": SENT | {"SWITCHYARD_QUALITY_SHARE": "0.05"},
    "metrics, traces of 5 %": SENT | {"SWITCHYARD_TRACE_SHARE": "0.05"},
    "metrics, traces of all": SENT | {"SWITCHYARD_TRACE_SHARE": "1"},
    "events of all, masked": EVENTS,
    EVERYTHING: LOGGED | TEXTS | EVENTS | SENT | {"SWITCHYARD_TRACE_SHARE": "0.05", "SWITCHYARD_QUALITY_SHARE": "0.05"},
}


def main() -> None:
    """Start a host for each signal, load all in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.5)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        provider = sides.provider(running, folder, 50)
        hosts = list(_hosts(running, folder, provider.url))
        found = rounds(hosts, provider.pid, given.seconds, given.rounds, "-callers", CALLERS)
    report("telemetry", list(_measures(found)), f"What each signal costs, {CALLERS} callers, provider at 50 ms")


def _hosts(running: ExitStack, folder: Path, to: str) -> Iterator[Side]:
    backend = to.removesuffix("/v1/chat/completions")
    for number, (name, settings) in enumerate(SIGNALS.items()):
        told = {key: value or backend for key, value in settings.items()}
        releases = Snapshots(folder / f"host-{number}")
        releases.seal(NAME, provider=ProviderChoice("openai", MODEL, {"tries": 1}))
        releases.point(NAME, 1)
        host = releases.host(**{"LLM_API_URL": to, **OFF, **told})
        running.callback(host.stop)
        host.start_server()
        assert host.server is not None, "the server was started"
        url = f"http://127.0.0.1:{host.port}/v1/chat/completions"
        yield Side(name, url, host.server.pid, {**sides.CHAT, "model": NAME})


def _measures(found: dict[str, Loaded]) -> Iterator[Measure]:
    base = found[NOTHING]
    for name, side in found.items():
        yield Measure(f"{name}: CPU", side.cpu, "ms/request", NOTHING, side.cpu / base.cpu)
        yield Measure(f"{name}: p50", side.p50, "ms", NOTHING, side.p50 / base.p50)
        yield Measure(f"{name}: p99", side.p99, "ms", NOTHING, side.p99 / base.p99)
        yield Measure(f"{name}: failed", side.failed, "requests", goal="0", met=side.failed == 0)
    ratio = found[EVERYTHING].cpu / base.cpu
    yield Measure("everything: CPU", found[EVERYTHING].cpu, "ms/request", NOTHING, ratio, f"<= {GOAL}", ratio <= GOAL)


if __name__ == "__main__":
    main()
