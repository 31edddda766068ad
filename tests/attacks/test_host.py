"""Attacks on one host: its serving folder, and what others write about hosts in the coordination bucket.

The attacker holds, by test: the right to write into the serving folder, or the stack's credentials for the object
store. No attack makes the server answer with content that no gate has sealed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlflow_project.adapters.lease import Lease
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.retrieval import index_builder, index_files, index_store
from mlflow_project.domain.release import KnowledgeBase, Retrieval
from mlflow_project.errors import IndexBroken
from mlflow_project.promotion.hosts import forget, presences, read_hosts
from mlflow_project.promotion.promote import promote
from mlflow_project.promotion.receipts import Wanted, workers_with
from mlflow_project.settings import StoreSettings, load
from tests.releases.conftest import Yard, store, yard
from tests.releases.toll import Toll
from tests.serving.conftest import Host, Releases, host, new_host, released, until

__all__ = ["host", "new_host", "released", "store", "yard"]

GONE = {"SWITCHYARD_MLFLOW_URI": "http://127.0.0.1:9", "SWITCHYARD_S3_ENDPOINT": "http://127.0.0.1:9"}
NEVER = 9e18


def _emptied(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "live": []}))


def test_an_emptied_snapshot_costs_no_answer_and_is_written_again_within_a_look(host: Host, released: Releases) -> None:
    """The attacker writes into the serving folder: an empty list of live releases. He gets nothing."""
    released.seal("emptied", "one")
    released.point("emptied", 1)
    host.serves("emptied", 1)
    snapshot = host.folder / "snapshot.json"
    whole = json.loads(snapshot.read_text())["live"]
    _emptied(snapshot)
    statuses = set()

    def restored() -> bool:
        statuses.add(host.ask("emptied").status_code)
        return bool(json.loads(snapshot.read_text())["live"] == whole)

    assert until(restored, "the follower has restored the snapshot") < 2
    assert statuses == {200}


@pytest.mark.parametrize(
    "damage", ["deleted", "cut", *(pytest.param(each, marks=pytest.mark.long) for each in ("emptied", "no JSON"))]
)
def test_a_host_that_starts_on_a_damaged_snapshot_in_an_outage_serves_what_was_verified_before(
    released: Releases, new_host: Callable[..., Host], damage: str
) -> None:
    """The attacker damages the snapshot while everything is stopped, and registry and store do not come back. He gets
    the snapshot before: the same releases, or the ones that were live before the last flip."""
    name = f"outage-{damage.replace(' ', '-')}"
    for text in ("one", "two"):
        released.seal(name, text)
    released.point(name, 1)
    host = new_host().start()
    host.serves(name, 1)
    released.point(name, 2)
    host.serves(name, 2)
    host.stop()
    snapshot = host.folder / "snapshot.json"
    if damage == "emptied":
        _emptied(snapshot)
    elif damage == "deleted":
        snapshot.unlink()
    else:
        snapshot.write_bytes(snapshot.read_bytes()[:-100] if damage == "cut" else b"\x00\xff")
    host.env |= GONE
    host.http = httpx.Client(base_url=f"http://127.0.0.1:{host.port}", timeout=10)
    host.start()
    answer = host.ask(name)
    assert answer.status_code == 200
    assert answer.headers["X-Release"] in {f"{name}/1", f"{name}/2"}
    until(lambda: bool(json.loads(snapshot.read_text())["live"]), "the follower has written it again without registry")


def test_a_damaged_snapshot_never_becomes_the_last_known_good(host: Host, released: Releases) -> None:
    """The attacker empties the snapshot again and again between flips. He gets nothing: what he wrote is not kept as
    an earlier snapshot."""
    for text in ("one", "two", "three"):
        released.seal("kept", text)
    for version in (1, 2, 3):
        _emptied(host.folder / "snapshot.json")
        released.point("kept", version)
        host.serves("kept", version)
    for earlier in ("snapshot.previous.json", "snapshot.older.json"):
        assert json.loads((host.folder / earlier).read_text())["live"]


def _delete(released: Releases, what: str, **of: str) -> None:
    """By MLflow's own interface, as its page does."""
    answer = httpx.request("DELETE", f"{released.registry.uri}/api/2.0/mlflow/{what}/delete", json=of, timeout=10)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("what", ["the live version", "the whole prompt"])
def test_what_is_live_goes_on_when_it_is_deleted_in_mlflow(host: Host, released: Releases, what: str) -> None:
    """The attacker holds the rights to edit in MLflow, deletes what is live, and puts another text in its place under
    the same name and number. He gets an alarm; the sealed release goes on answering."""
    name = f"deleted-{what.rsplit(' ', 1)[1]}"
    first = released.seal(name, "one")
    released.point(name, first.version)
    host.serves(name, 1)
    if what == "the live version":
        _delete(released, "model-versions", name=name, version="1")
    else:
        _delete(released, "model-versions", name=name, version="1")
        _delete(released, "registered-models", name=name)
    assert "gone from MLflow" in host.refusal_of(name)
    assert host.ask(name).headers["X-Release-Digest"] == first.digest
    again = released.register(name, "a text that nobody has sealed")
    released.point(name, again.version)
    until(
        lambda: any(
            no["cause"] in {"broken_seal", "unsealed"} for no in host.releases()["refused"] if no["name"] == name
        ),
        "the text in its place is refused",
    )
    assert host.ask(name).headers["X-Release-Digest"] == first.digest


@pytest.mark.long
@pytest.mark.timeout(600)
def test_three_minutes_without_registry_and_store_and_a_restart_in_the_middle_cost_no_answer(
    released: Releases, new_host: Callable[..., Host]
) -> None:
    """Nobody attacks: MLflow and MinIO are gone for three minutes, and after half of them follower and server start
    anew. No request fails, and the flip that was made by hand meanwhile is followed when both are back."""
    first, second = released.seal("three-minutes", "one"), released.seal("three-minutes", "two")
    released.point("three-minutes", first.version)
    store = load(StoreSettings)
    with Toll(released.registry.uri) as registry_gate, Toll(store.s3_endpoint) as store_gate:
        host = new_host(SWITCHYARD_MLFLOW_URI=registry_gate.address, SWITCHYARD_S3_ENDPOINT=store_gate.address).start()
        host.serves("three-minutes", 1)
        for gate in (registry_gate, store_gate):
            gate.before = lambda request, write: False
        released.point("three-minutes", second.version)
        _asked_for(host, 90)
        host.stop()
        host.http = httpx.Client(base_url=f"http://127.0.0.1:{host.port}", timeout=10)
        host.start()
        _asked_for(host, 90)
        assert float(host.ask("three-minutes").headers["X-Release-Stale"]) > 80
        for gate in (registry_gate, store_gate):
            gate.before = lambda request, write: True
        host.serves("three-minutes", 2)
        until(lambda: "X-Release-Stale" not in host.ask("three-minutes").headers, "the answers are fresh again")


def _asked_for(host: Host, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        answer = host.ask("three-minutes")
        assert (answer.status_code, answer.headers["X-Release"]) == (200, "three-minutes/1")
        time.sleep(0.2)


TEXT = "The gate decides on evidence whether an alias may move."
LIE = "The gate decides by lottery what an alias does always.."[: len(TEXT)]
_ROW = {
    "chunk_id": "c1",
    "document_id": "gate",
    "title": "Gate",
    "text": TEXT,
    "start": 0,
    "end": len(TEXT),
    "filters": {},
}


@pytest.fixture(scope="module")
def base(registry_server: object, tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBase:
    """A knowledge base of one chunk, with its index in the object store."""
    folder = tmp_path_factory.mktemp("built")
    index_builder.build(folder, [(_ROW, None)])
    table = f"s3a://curated-data-bucket/{folder.name}-{time.time_ns()}"
    facts = {"table": table, "delta_version": 0, "specification": {}, "counts": {}}
    return KnowledgeBase(table, 0, index_store.publish(ObjectStore(load(StoreSettings)), folder, facts))


def _ask_gate(host: Host, name: str) -> httpx.Response:
    return host.ask(name, "What does the gate decide on?")


def _sealed_on(released: Releases, name: str, base: KnowledgeBase) -> None:
    release = released.seal(name, retrieval=Retrieval(1), knowledge_base=base)
    released.point(name, release.version)


def _is_whole(folder: Path, name: str) -> bool:
    try:
        return bool(index_files.verify(folder, name))
    except IndexBroken:
        return False


def _rewritten(chunks: Path) -> None:
    """In place, with the same size and time stamp: the hardest to see."""
    before = chunks.stat()
    with chunks.open("r+b") as file:
        data = file.read().replace(TEXT.encode(), LIE.encode())
        file.seek(0)
        file.write(data)
    os.utime(chunks, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_an_index_that_is_rewritten_under_a_running_server_changes_no_answer_and_is_restored(
    released: Releases, new_host: Callable[..., Host], base: KnowledgeBase
) -> None:
    """The attacker writes into the serving folder: another text into the index, with size and time stamp kept. He gets
    nothing, neither at once nor after a restart of the server."""
    _sealed_on(released, "rewritten-index", base)
    host = new_host().start()
    host.serves("rewritten-index", 1)
    folder = host.folder / "indexes" / base.index.removeprefix("sha256:")
    for damage in (_rewritten, lambda path: path.write_bytes(b""), Path.unlink):
        damage(folder / "chunks.jsonl")
        assert TEXT in _ask_gate(host, "rewritten-index").json()["text"]
        until(lambda: _is_whole(folder, base.index), "the follower has fetched it again", 10)
        assert TEXT in _ask_gate(host, "rewritten-index").json()["text"]


def test_a_server_that_starts_on_a_rewritten_index_refuses_it_until_it_is_fetched_again(
    released: Releases, new_host: Callable[..., Host], base: KnowledgeBase
) -> None:
    """The attacker rewrites the index while everything is stopped and the store is away. He gets an answer of 503, and
    with the store back not even that."""
    _sealed_on(released, "stopped-index", base)
    host = new_host().start()
    host.serves("stopped-index", 1)
    host.stop()
    _rewritten(host.folder / "indexes" / base.index.removeprefix("sha256:") / "chunks.jsonl")
    host.http = httpx.Client(base_url=f"http://127.0.0.1:{host.port}", timeout=10)
    host.start_server()
    answer = _ask_gate(host, "stopped-index")
    assert answer.status_code in {404, 503}
    assert LIE not in answer.text
    (refused,) = [no for no in host.releases()["refused"] if no["name"] == "stopped-index"]
    assert refused["cause"] == "broken_index"
    host.start_follower()
    until(lambda: _ask_gate(host, "stopped-index").status_code == 200, "the index is fetched again")
    assert TEXT in _ask_gate(host, "stopped-index").json()["text"]


def test_an_index_that_is_rewritten_in_the_store_reaches_no_host(
    released: Releases, new_host: Callable[..., Host], tmp_path: Path
) -> None:
    """The attacker holds the store's credentials and rewrites an index there before a host has fetched it. He gets a
    refusal that names the file."""
    index_builder.build(tmp_path / "own", [({**_ROW, "text": "Another text."}, None)])
    store = released.parts.store
    facts = {"table": f"s3a://b/{tmp_path.name}", "delta_version": 0, "specification": {}, "counts": {}}
    own = KnowledgeBase(str(facts["table"]), 0, index_store.publish(store, tmp_path / "own", facts))
    key = f"indexes/{own.index.removeprefix('sha256:')}/chunks.jsonl"
    data = store.get(store.settings.artifacts_bucket, key)
    store.put(store.settings.artifacts_bucket, key, data.replace(b"Another text.", b"A lie of ours."[:13]))
    _sealed_on(released, "store-index", own)
    host = new_host().start()
    assert "chunks.jsonl is missing or changed" in host.refusal_of("store-index")
    assert host.ask("store-index").status_code in {404, 503}


def _presence(**fields: Any) -> dict[str, Any]:
    given = {"schema": "switchyard.presence/v1", "host": "evil", "expires": time.time() + 5, "workers": ["evil-1"]}
    return {**given, "receipts": [], **fields}


def _receipt(**fields: Any) -> dict[str, Any]:
    given = {"worker": "evil-1", "kind": "prompt", "name": "qa", "alias": "Production", "version": 1}
    return {**given, "digest": "sha256:0", "state": "serving", "since": "", **fields}


FORGED: dict[str, Any] = {
    "lives for ever": _presence(expires=NEVER),
    "infinity": _presence(expires=float("inf")),
    "a text for a time": _presence(expires="9e18"),
    "true for a time": _presence(expires=True),
    "another host's name": _presence(host="good"),
    "a path for a name": _presence(host="../evil"),
    "too many workers": _presence(workers=[f"w-{number}" for number in range(1_001)]),
    "a worker's name without end": _presence(workers=["w" * 10_000]),
    "workers as text": _presence(workers="evil-1"),
    "workers as numbers": _presence(workers=[1]),
    "a huge version": _presence(receipts=[_receipt(version=10**30)]),
    "a state that is none": _presence(receipts=[_receipt(state="sealed")]),
    "a digest that is none": _presence(receipts=[_receipt(digest="sha256:zz")]),
    "a receipt that is a list": _presence(receipts=[[1]]),
    "no schema": {**_presence(), "schema": None},
    "no object": [1, 2],
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
def test_no_flip_waits_for_a_host_whose_record_no_follower_writes(yard: Yard, forged: Any) -> None:
    """The attacker holds the store's credentials and forges a presence. He gets a line in `switchyard hosts list`."""
    store = yard.parts.store
    bucket = store.settings.coordination_bucket
    store.put(bucket, "hosts/evil.json", json.dumps(forged).encode())
    assert presences(store) == []
    (found,) = read_hosts(store)
    assert found.name == "evil"
    assert found.odd
    began = time.monotonic()
    done = promote(yard.parts, yard.name, yard.sealed(), "Production", "user:anna")
    assert (done.receipts.workers, time.monotonic() - began < 5) == ((), True)
    forget(store, "evil")
    assert read_hosts(store) == []


def test_hosts_are_listed_and_forgotten_from_the_command_line(yard: Yard) -> None:
    """The attacker holds the store's credentials and forges a presence that is well formed. He gets the wait of one
    flip for a worker that does not exist, until somebody types `switchyard hosts forget`."""
    store = yard.parts.store
    record = json.dumps(_presence(expires=time.time() + 50)).encode()
    store.put(store.settings.coordination_bucket, "hosts/evil.json", record)
    code, said = yard.run("hosts", "list", "--json", **yard.env)
    assert (code, '"host": "evil", "lives": true' in said) == (0, True)
    assert yard.run("hosts", "forget", "evil", **yard.env)[0] == 0
    code, said = yard.run("hosts", "forget", "evil", **yard.env)
    assert (code, "No host 'evil' has announced itself" in said) == (2, True)


def test_no_host_speaks_for_the_worker_of_another(yard: Yard) -> None:
    """The attacker forges receipts of a real worker, under a host of his own. He gets nothing: the worker's own host
    has to say the same."""
    store = yard.parts.store
    digest = "sha256:" + "0" * 64
    stranger = _receipt(worker="good-1", digest=digest)
    records = {
        "good": _presence(host="good", workers=["good-1"]),
        "evil": _presence(workers=["evil-1", "good-1"], receipts=[stranger]),
        "third": _presence(host="third", workers=["third-1"], receipts=[stranger]),
    }
    for name, record in records.items():
        store.put(store.settings.coordination_bucket, f"hosts/{name}.json", json.dumps(record).encode())
    wanted = Wanted("qa", "Production", 1, digest)
    assert workers_with(presences(store), wanted, ("serving",)) == set()


@pytest.mark.parametrize(
    "forged",
    [{"expires": NEVER}, {"expires": "never"}, {"number": -1}, {"holder": None}, {"expires": NEVER, "host": True}],
    ids=lambda forged: str(forged),
)
def test_a_forged_lease_holds_nothing(store: ObjectStore, forged: dict[str, Any]) -> None:
    """The attacker holds the store's credentials and forges the lease of a table. He gets nothing."""
    table = f"s3a://curated-data-bucket/{time.monotonic_ns()}"
    lease = Lease(store, table)
    lease.acquire()
    key = lease._key
    bucket = store.settings.coordination_bucket
    store.put(bucket, key, json.dumps({**json.loads(store.get(bucket, key)), **forged}).encode())
    with Lease(store, table) as ours:
        ours.check()
