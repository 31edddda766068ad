"""Requests a second, latency and CPU of the server beside other ways to reach a provider, all in one run.

`python -m bench.gateway [--seconds 4] [--rounds 3]`, with Go, over MinIO and MLflow of its own. Sides: the provider
directly, a raw relay (ASGI and aiohttp: the limit for Python), FastAPI relays with httpx and with httpx over aiohttp
(the best that people write), LiteLLM's proxy, `mlflow gateway`, and Switchyard with everything on. One worker each; the
provider takes 50 ms. Windows of all sides take turns; each figure is the median of its rounds. The table also shows
what else used the machine's processors meanwhile: runs that differ in it cannot be compared.

`--short` measures the closed and the open loop over a snapshot on disk, without peers, registry and store; its figures
join those of the last whole run. `--without-peers` leaves out LiteLLM and `mlflow gateway`, which are installed into an
environment of their own on first use.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from bench import gateway_sides as sides
from bench.loading import Loaded, Side, load, rounds
from bench.registry import own_registry
from bench.report import Measure, report

LATENCY_MS = 50.0
OURS, RAW, FASTAPI = "switchyard", "raw relay", "FastAPI + httpx-aiohttp"
GENTLE = ("-rate", 50)
FIRST_TOKEN = '"content":"A"'


@dataclass
class Bench:
    """The sides of a run, and how long each is loaded."""

    seconds: float
    count: int
    provider: Side
    others: list[Side]
    missing: dict[str, str] = field(default_factory=dict)

    def rounds(self, chosen: list[Side], *options: object) -> dict[str, Loaded]:
        return rounds(chosen, self.provider.pid, self.seconds, self.count, *options)


def main() -> None:
    """Start all sides, load each in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-peers", action="store_true", help="while developing: their goals are not measured")
    parser.add_argument("--short", action="store_true", help="while developing: the closed loop against the relays")
    given = parser.parse_args()
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        measures = list((_short if given.short else _measured)(running, folder, given))
    report("gateway", measures, f"Gateways, provider at {LATENCY_MS:g} ms", part=given.short)


def _measured(running: ExitStack, folder: Path, given: argparse.Namespace) -> Iterator[Measure]:
    running.enter_context(own_registry())
    provider = sides.provider(running, folder, LATENCY_MS)
    missing: dict[str, str] = {}
    others = [provider, *sides.relays(running, folder, provider.url)]
    others += [] if given.without_peers else sides.peers(running, folder, provider.url, missing)
    switchyard = sides.Switchyard(running, folder, provider.url)
    bench = Bench(given.seconds, given.rounds, provider, others, missing)
    host, ready = switchyard.host("snapshot")
    yield Measure("start to ready", ready, "s", goal="<= 3", met=ready <= 3)
    ours = switchyard.side(host)
    yield from _closed_loop(bench, ours)
    yield from _open_loop(bench, ours)
    yield from _streaming(bench, switchyard.side(host, stream=True))
    yield from _memory(sides.memory_mb(ours.pid), "prompts and an index")
    yield from _retrieval(bench, [switchyard.side(host, prompt) for prompt in sides.PROMPTS])
    host.stop_follower()  # a second follower would load MLflow while the next rows are measured
    strict, _ = switchyard.host("strict", SWITCHYARD_RESOLVE="strict")
    yield from _strict(bench, ours, switchyard.side(strict), switchyard.registry_uri)
    strict.stop()
    two, _ = switchyard.host("two", SWITCHYARD_API_WORKERS="2")
    yield from _two_workers(bench, ours, switchyard.side(two))


def _short(running: ExitStack, folder: Path, given: argparse.Namespace) -> Iterator[Measure]:
    provider = sides.provider(running, folder, LATENCY_MS)
    others = [provider, *sides.relays(running, folder, provider.url, RAW, FASTAPI)]
    ours = sides.over_a_snapshot(running, folder, provider.url)
    bench = Bench(given.seconds, given.rounds, provider, others)
    yield from _beside_the_relays(bench.rounds([*others, ours], "-callers", 64))
    yield from _open_loop(bench, ours)
    yield from _streaming(bench, Side(OURS, ours.url, ours.pid, {**ours.body, "stream": True}, ours.key))
    yield from _memory(sides.memory_mb(ours.pid), "prompts only")
    two = sides.over_a_snapshot(running, folder / "two", provider.url, SWITCHYARD_API_WORKERS="2")
    yield from _two_workers(bench, ours, two)


def _closed_loop(bench: Bench, ours: Side) -> Iterator[Measure]:
    found = bench.rounds([*bench.others, ours], "-callers", 64)
    for against, least in (("litellm", 10.0), ("mlflow gateway", 1.3)):
        if against in found:
            yield _rate_against(found, against, least)
        else:
            why = bench.missing.get(against, "it was left out")
            rate = found[OURS].rate
            yield Measure("64 callers, requests/s", rate, "requests/s", f"{against}: {why}", None, ">=", False)
    yield from _beside_the_relays(found)


def _rate_against(found: Mapping[str, Loaded], against: str, least: float) -> Measure:
    mine, other = found[OURS].rate, found[against].rate
    ratio = mine / other if other else float("inf")
    return Measure("64 callers, requests/s", mine, "requests/s", against, ratio, f">= {least:g}x", ratio >= least)


def _beside_the_relays(found: Mapping[str, Loaded]) -> Iterator[Measure]:
    yield from (row for name, side in found.items() for row in _figures(f"64 callers, {name}", side))
    mine = found[OURS]
    yield _rate_against(found, FASTAPI, 0.8)
    ratio = mine.cpu / found[FASTAPI].cpu
    yield Measure("server CPU", mine.cpu, "ms/request", FASTAPI, ratio, "<= 1.6x", ratio <= 1.6)
    yield Measure("server CPU beside the limit", mine.cpu, "ms/request", RAW, mine.cpu / found[RAW].cpu)
    yield Measure("load generator", mine.generator, "of a core", goal="<= 0.5", met=mine.generator <= 0.5)
    yield Measure("provider", mine.provider, "of a core", goal="<= 0.5", met=mine.provider <= 0.5)
    for name in (RAW, FASTAPI, OURS):
        yield Measure(f"everything else meanwhile, {name}", found[name].others, "of a core")


def _open_loop(bench: Bench, ours: Side) -> Iterator[Measure]:
    """Requests that come at a steady rate, whether or not earlier ones are answered: 40 % of what we can take."""
    relay = next(side for side in bench.others if side.name == FASTAPI)
    saturated = load(ours, bench.provider.pid, bench.seconds, "-callers", 256)
    rate = 0.4 * saturated.rate
    found = bench.rounds([relay, ours], "-rate", rate)
    yield Measure("saturation, 256 callers", saturated.rate, "requests/s")
    for name, most in (("p50", 2.0), ("p99", 10.0)):
        added = getattr(found[OURS], name) - getattr(found[FASTAPI], name)
        what = f"open loop at 40 % of saturation, {name} above the relay's"
        yield Measure(what, added, "ms", FASTAPI, goal=f"<= {most:g} ms", met=added <= most)
    yield Measure("open loop, everything else meanwhile", found[OURS].others, "of a core")
    yield Measure("open loop, failed", found[OURS].failed, "requests", goal="0", met=found[OURS].failed == 0)


def _two_workers(bench: Bench, one: Side, two: Side) -> Iterator[Measure]:
    """Two workers have the processors that generator and provider leave them; the ratio is to one worker, as if both
    had a processor of their own."""
    named = Side("two workers", two.url, two.pid, two.body, two.key)
    found = bench.rounds([one, named], "-callers", 128)
    both = found["two workers"]
    left = (psutil.cpu_count() or 2) - both.generator - both.provider - both.others
    ratio = both.rate / found[OURS].rate * 2 / min(2.0, max(1.0, left))
    yield Measure("two workers, 128 callers", both.rate, "requests/s", "one worker", ratio, ">= 1.7x", ratio >= 1.7)


def _streaming(bench: Bench, ours: Side) -> Iterator[Measure]:
    body = {**bench.provider.body, "stream": True}
    direct = Side("provider", bench.provider.url, bench.provider.pid, body)
    found = bench.rounds([direct, ours], "-callers", 16, "-until", FIRST_TOKEN)
    added = found[OURS].p50 - found["provider"].p50
    yield Measure("16 streams, first token above direct, p50", added, "ms", "provider", None, "<= 4 ms", added <= 4)


def _retrieval(bench: Bench, prompts: list[Side]) -> Iterator[Measure]:
    named = [Side(str(side.body["model"]), side.url, side.pid, side.body, side.key) for side in prompts]
    plain, *others = (found := bench.rounds(named, *GENTLE))
    for name, most in zip(others, (1.5, 9.0), strict=True):
        added = found[name].p50 - found[plain].p50
        yield Measure(f"{name}: added p50", added, "ms", plain, goal=f"<= {most:g} ms", met=added <= most)


def _strict(bench: Bench, ours: Side, strict: Side, registry_uri: str) -> Iterator[Measure]:
    """The reads are timed alone, before and after: while strict callers ask, the registry answers others later."""
    reads = _alias_reads_ms(registry_uri)
    named = Side("strict", strict.url, strict.pid, strict.body, strict.key)
    found = bench.rounds([ours, named], "-callers", 16)
    read = statistics.median(reads + _alias_reads_ms(registry_uri))
    added, most = found["strict"].p50 - found[OURS].p50, 2 * read + 3
    yield Measure("one alias read, p50", read, "ms")
    goal = "<= 2 alias reads + 3 ms"
    yield Measure("strict, 16 callers: added p50", added, "ms", f"{most:.1f} ms", added / most, goal, added <= most)


def _alias_reads_ms(uri: str) -> list[float]:
    times = []
    with httpx.Client(base_url=uri) as http:
        for _ in range(50):
            began = time.perf_counter()
            asked = {"name": "bench-plain", "alias": "Production"}
            http.get("/api/2.0/mlflow/registered-models/alias", params=asked).raise_for_status()
            times.append(1000 * (time.perf_counter() - began))
    return times


def _memory(megabytes: float, what: str) -> Iterator[Measure]:
    yield Measure(f"memory of a worker, {what}", megabytes, "MB", goal="<= 150", met=megabytes <= 150)


def _figures(what: str, side: Loaded) -> Iterator[Measure]:
    rows: Mapping[str, tuple[float, str]] = {
        "": (side.rate, "requests/s"),
        ": p50": (side.p50, "ms"),
        ": p99": (side.p99, "ms"),
        ": server CPU": (side.cpu, "ms/request"),
        ": failed": (side.failed, "requests"),
    }
    yield from (Measure(what + name, value, unit) for name, (value, unit) in rows.items())


if __name__ == "__main__":
    main()
