"""What fails around the server costs no request; what fails in it costs those inside a killed worker and no more."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator

import httpx
import psutil
import pytest

from mlflow_project.errors import NotFound
from tests.conftest import RunningStack
from tests.serving.conftest import Host, Releases, until
from tests.serving.faults.conftest import Load, listening_on, stopped
from tests.serving.faults.interposed import Interposed

MakeLoad = Callable[..., Load]


@pytest.fixture(scope="module")
def between(registry_server: RunningStack) -> Iterator[Interposed]:
    """Stands between this module's follower and the real MLflow, and spoils its answers when told to."""
    with Interposed(os.environ["SWITCHYARD_MLFLOW_URI"]) as interposed:
        yield interposed


@pytest.fixture(scope="module")
def host(
    registry_server: RunningStack, released: Releases, between: Interposed, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    for system in ("one", "two"):
        released.seal("faults", system)
    released.point("faults", 1)
    running = Host(tmp_path_factory.mktemp("host"), SWITCHYARD_MLFLOW_URI=between.url, SWITCHYARD_API_WORKERS="2")
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


def is_stale(host: Host) -> bool:
    return "X-Release-Stale" in host.ask("faults").headers


def test_mlflow_stopped_costs_no_request(host: Host, released: Releases, load: MakeLoad) -> None:
    with load(host, "faults") as running:
        with stopped(*listening_on(os.environ["SWITCHYARD_MLFLOW_URI"])):
            until(lambda: is_stale(host), "answers say that they are stale")
            running.through(1)
        until(lambda: not is_stale(host), "the registry is reached again")
    assert running.failures == []
    assert running.releases == {"faults/1"}
    follows_again(host, released)


def test_minio_stopped_costs_no_request(host: Host, released: Releases, load: MakeLoad) -> None:
    with load(host, "faults") as running, stopped(*listening_on(os.environ["SWITCHYARD_S3_ENDPOINT"])):
        running.through(4)
    assert running.failures == []
    follows_again(host, released)


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
    follower = psutil.Process(host.follower.pid)
    with load(host, "faults") as running:
        follower.rlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        until(lambda: is_stale(host), "the contact can no longer be written")
        follower.rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
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
        until(lambda: not announced(silent), "the stopped worker is announced no longer", 10)
        until(lambda: silent not in host.workers() and len(host.workers()) == 2, "another took its place", 60)
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
        before = set(host.workers())
        host.server.send_signal(signal.SIGHUP)
        until(lambda: len(set(host.workers()) - before) == 2 and len(host.workers()) == 2, "both are new", 60)
        time.sleep(1)
    assert running.failures == []
