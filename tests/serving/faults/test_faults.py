"""What fails around the server costs no request; what fails in it costs those inside a killed worker and no more."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator

import httpx
import psutil
import pytest

from mlflow_project.domain.release import ProviderChoice
from mlflow_project.errors import NotFound
from tests.conftest import RunningStack
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import Simulated
from tests.serving.conftest import Host, Releases, until
from tests.serving.faults.conftest import Load, listening_on, stopped
from tests.serving.faults.interposed import SLOW_SECONDS, Interposed

MakeLoad = Callable[..., Load]
POLL_SECONDS = 0.05
"""How often the tests' follower looks."""


@pytest.fixture(scope="module")
def between(registry_server: RunningStack) -> Iterator[Interposed]:
    """Stands between this module's follower and the real MLflow, and spoils its answers when told to."""
    with Interposed(os.environ["SWITCHYARD_MLFLOW_URI"]) as interposed:
        yield interposed


@pytest.fixture(scope="module")
def host(
    registry_server: RunningStack,
    released: Releases,
    between: Interposed,
    provider_process: Simulated,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Host]:
    for system in ("one", "two"):
        released.seal("faults", system)
    released.seal("slowly", provider=ProviderChoice("openai", "simulated-1", {"tries": 1}))
    for name in ("faults", "slowly"):
        released.point(name, 1)
    running = Host(
        tmp_path_factory.mktemp("host"),
        SWITCHYARD_MLFLOW_URI=between.url,
        SWITCHYARD_API_WORKERS="2",
        SWITCHYARD_API_WORKER_SILENCE="8",
        LLM_API_URL=provider_process.openai_url,
    )
    running.start()
    until(lambda: len(running.workers()) == 2, "both workers are up")
    running.serves("faults", 1)
    yield running
    running.stop()


def follows_again(host: Host, released: Releases) -> None:
    """Flip both ways: the host follows as it did before the fault."""
    for version in (2, 1):
        released.point("faults", version)
        for _ in range(6):
            host.http.close()
            host.http = httpx.Client(base_url=f"http://127.0.0.1:{host.port}", timeout=10)
            host.serves("faults", version)


def kill(*pids: int) -> None:
    for pid in pids:
        psutil.Process(pid).kill()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


def serving_pid(host: Host, stream: httpx.Response) -> int:
    """The worker that holds the other end of this connection."""
    mine = stream.extensions["network_stream"].get_extra_info("client_addr")
    held = {pid: psutil.Process(pid).net_connections("tcp") for pid in host.workers()}
    return next(pid for pid, found in held.items() if any(c.raddr and c.raddr == tuple(mine) for c in found))


def is_stale(host: Host) -> bool:
    return "X-Release-Stale" in host.ask("faults").headers


def test_an_outage_of_a_hundred_intervals_costs_no_request(host: Host, released: Releases, load: MakeLoad) -> None:
    with load(host, "faults") as running:
        with stopped(*listening_on(os.environ["SWITCHYARD_MLFLOW_URI"])):
            until(lambda: is_stale(host), "answers say that they are stale")
            running.through(100 * POLL_SECONDS)
        until(lambda: not is_stale(host), "the registry is reached again")
    assert running.failures == []
    assert running.releases == {"faults/1"}
    follows_again(host, released)


def test_minio_stopped_costs_no_request(host: Host, released: Releases, load: MakeLoad) -> None:
    with load(host, "faults") as running, stopped(*listening_on(os.environ["SWITCHYARD_S3_ENDPOINT"])):
        running.through(4)
    assert running.failures == []
    follows_again(host, released)


def test_a_killed_minio_costs_no_request(host: Host, released: Releases, load: MakeLoad) -> None:
    url = os.environ["SWITCHYARD_S3_ENDPOINT"]
    with load(host, "faults") as running:
        kill(*listening_on(url))
        until(lambda: answers(f"{url}/minio/health/live"), "MinIO is started again")
        running.through(0.5)
    assert running.failures == []
    follows_again(host, released)


@pytest.mark.long
def test_a_killed_mlflow_costs_no_request(host: Host, released: Releases, load: MakeLoad) -> None:
    url = os.environ["SWITCHYARD_MLFLOW_URI"]
    with load(host, "faults") as running:
        kill(*listening_on(url))
        until(lambda: is_stale(host), "answers say that they are stale")
        until(lambda: answers(f"{url}/health"), "MLflow is started again", 120)
    assert running.failures == []
    until(lambda: not is_stale(host), "the registry is reached again")
    follows_again(host, released)


def test_a_stream_ends_whole_whatever_falls_around_it(host: Host, provider_server: Simulated) -> None:
    assert host.follower is not None
    provider_server.will(always=Behaviour(text="x" * 40, pieces=40, pause_ms=50))
    body = {"model": "slowly", "stream": True, "messages": [{"role": "user", "content": "x"}]}
    with (
        stopped(host.follower.pid, *listening_on(os.environ["SWITCHYARD_MLFLOW_URI"])),
        httpx.stream("POST", f"http://127.0.0.1:{host.port}/v1/chat/completions", json=body, timeout=10) as stream,
    ):
        lines = stream.iter_lines()
        assert next(lines).startswith("data: ")
        other = next(pid for pid in host.workers() if pid != serving_pid(host, stream))
        kill(other)
        assert [line for line in lines if line][-1] == "data: [DONE]"
    until(lambda: other not in host.workers() and len(host.workers()) == 2, "a new worker took its place", 60)


@pytest.mark.parametrize("spoilt", ["500", "html", "half", "drop", "wrong", "hang"])
def test_an_mlflow_that_answers_nonsense_costs_no_request_and_moves_nothing(
    host: Host, released: Releases, between: Interposed, load: MakeLoad, spoilt: str
) -> None:
    with load(host, "faults", callers=2) as running:
        between.spoilt = spoilt
        running.through(2.5)
        between.spoilt = None
    assert running.failures == []
    assert running.releases == {"faults/1"}
    until(lambda: not is_stale(host), "the registry is reached again")


@pytest.mark.long
def test_an_mlflow_slow_by_30_seconds_costs_no_request(
    host: Host, released: Releases, between: Interposed, load: MakeLoad
) -> None:
    with load(host, "faults") as running:
        between.spoilt = "slow"
        until(lambda: is_stale(host), "answers say that they are stale")
        running.through(SLOW_SECONDS + 2)  # the late answers come, and nobody waits for them
        between.spoilt = None
    assert running.failures == []
    assert running.releases == {"faults/1"}
    until(lambda: not is_stale(host), "the registry is reached again")


def test_a_stopped_follower_is_seen_by_the_age_of_its_contact(host: Host, load: MakeLoad) -> None:
    assert host.follower is not None
    with load(host, "faults") as running, stopped(host.follower.pid):
        until(lambda: is_stale(host), "answers say that they are stale")
        assert host.releases()["registry"]["reachable"] is False
    assert running.failures == []
    until(lambda: not is_stale(host), "the follower follows again")


def test_a_killed_follower_starts_again_where_it_was(host: Host, released: Releases, load: MakeLoad) -> None:
    assert host.follower is not None
    with load(host, "faults") as running:
        host.follower.kill()
        host.follower.wait()
        running.through(1)
        host.start_follower()
        until(lambda: not is_stale(host), "the follower follows again")
    assert running.failures == []
    follows_again(host, released)


def test_a_full_disk_costs_no_request_and_is_got_over(host: Host, released: Releases, load: MakeLoad) -> None:
    assert host.follower is not None
    writers = [psutil.Process(pid) for pid in (host.follower.pid, *host.workers())]
    with load(host, "faults") as running:
        for writer in writers:
            writer.rlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        until(lambda: is_stale(host), "the contact can no longer be written")
        for writer in writers:
            writer.rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        until(lambda: not is_stale(host), "the contact is written again")
    assert running.failures == []
    follows_again(host, released)


def test_a_killed_worker_costs_only_what_was_inside_it(host: Host, released: Releases, load: MakeLoad) -> None:
    killed = host.workers()[0]
    with load(host, "faults", callers=4) as running:
        running.through(0.5)
        psutil.Process(killed).kill()
        until(lambda: killed not in host.workers() and len(host.workers()) == 2, "a new worker took its place")
        running.through(0.5)
    assert len(running.failures) <= 4
    follows_again(host, released)


def test_a_stopped_worker_is_no_longer_announced_and_is_replaced(host: Host, released: Releases) -> None:
    store, presence = released.parts.store, f"hosts/{host.folder.name}.json"
    silent = host.workers()[0]

    def announced(pid: int) -> bool:
        try:
            return f"-{pid}" in store.get(store.settings.coordination_bucket, presence).decode()
        except NotFound:
            return False

    until(lambda: announced(silent), "both workers are announced")
    with stopped(silent):
        until(lambda: not announced(silent), "the stopped worker is announced no longer", 60)
        until(lambda: silent not in host.workers() and len(host.workers()) == 2, "another took its place", 120)
    follows_again(host, released)


@pytest.mark.long
def test_slow_callers_are_sent_away(host: Host) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", host.port)) as slow:
        slow.sendall(b"GET /releases HTTP/1.1\r\nX-Slow: ")
        slow.settimeout(15)
        assert b"408" in slow.recv(100)


@pytest.mark.long
def test_a_rolling_restart_under_load_loses_nothing(host: Host, load: MakeLoad) -> None:
    assert host.server is not None
    with load(host, "faults") as running:
        for _ in range(3):
            before = set(host.workers())
            host.server.send_signal(signal.SIGHUP)
            until(lambda before=before: len(before | set(host.workers())) == 4, "both are new", 60)
            until(lambda: len(host.workers()) == 2, "the old ones are gone", 60)
            running.through(1)
    assert running.failures == []
