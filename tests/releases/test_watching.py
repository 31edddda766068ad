"""What one look of the follower asks for, and what it makes of odd records: against a real registry and store."""

from dataclasses import replace
from pathlib import Path

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.adapters.registry import Registry
from mlflow_project.follower.sealed import Fetcher
from mlflow_project.follower.watch import Watcher
from mlflow_project.ledger import Ledger
from mlflow_project.ledger.chain import key_of
from mlflow_project.promotion.promote import promote
from mlflow_project.settings import RegistrySettings
from mlflow_project.snapshot.folder import ServingFolder
from tests.releases.conftest import Yard
from tests.releases.toll import Toll

ANNA = "user:anna"


def watcher(yard: Yard, folder: Path, uri: str | None = None, store: ObjectStore | None = None) -> Watcher:
    store, serving = store or yard.parts.store, ServingFolder(folder)
    registry = Registry(RegistrySettings(mlflow_uri=uri or yard.parts.registry.uri))
    fetcher = Fetcher(store, serving, yard.parts.seal.trusted_keys)
    made = Watcher(registry, Ledger(store), fetcher, serving, interval_ms=100, identity="follower:test")
    made.start()
    return made


def with_endpoint(yard: Yard, endpoint: str) -> ObjectStore:
    settings = yard.parts.store.settings.model_copy(update={"s3_endpoint": endpoint})
    return ObjectStore(settings, connect_timeout=1.0, read_timeout=2.0)


def live(watcher: Watcher) -> dict[str, int]:
    return {placed.name: placed.version for placed in watcher.current.live if placed.alias == "Production"}


def test_what_a_look_asks_does_not_grow_with_the_names(yard: Yard, tmp_path: Path) -> None:
    yards = [replace(yard, name=f"{yard.name}-{number}") for number in range(12)]
    for each in yards:
        promote(each.parts, each.name, each.sealed(), "Production", ANNA)
    with Toll(yard.parts.registry.uri) as toll:
        follower = watcher(yard, tmp_path, toll.address)
        follower.look()
        assert set(live(follower)) == {each.name for each in yards}
        before = toll.count.requests
        follower.look(hurry=True)
        assert toll.count.requests - before <= 2  # all aliases in one call, and the content of one version


def test_a_flip_of_one_among_many_names_and_a_hand_on_another_are_both_followed(yard: Yard, tmp_path: Path) -> None:
    yards = [replace(yard, name=f"{yard.name}-{number}") for number in range(4)]
    for each in yards:
        promote(each.parts, each.name, each.sealed("1"), "Production", ANNA)
    follower = watcher(yard, tmp_path)
    follower.look()
    promote(yard.parts, yards[0].name, yards[0].sealed("2"), "Production", ANNA)
    second = yards[1].sealed("2")
    yard.parts.registry.set_alias(yards[1].name, "Production", second)
    follower.look(hurry=True)
    assert live(follower) == {each.name: 2 if each in yards[:2] else 1 for each in yards}
    follower.look()
    assert [each.state.live["Production"].how for each in yards] == ["flip", "observed_flip", "flip", "flip"]


def test_odd_records_and_a_broken_chain_leave_the_follower_running(yard: Yard, tmp_path: Path) -> None:
    first = yard.sealed("1")
    promote(yard.parts, yard.name, first, "Production", ANNA)
    follower, store = watcher(yard, tmp_path), yard.parts.store
    bucket = store.settings.ledger_bucket
    store.put_new(bucket, key_of(yard.parts.ledger.head()[0] + 1), b"not a record")
    follower.look()
    assert live(follower) == {yard.name: first}
    store.put_new(bucket, key_of(9_999), b"far ahead")
    follower.look()
    follower.look()
    assert live(follower) == {yard.name: first}


def test_a_hand_s_move_is_served_before_it_is_recorded_and_recorded_once(yard: Yard, tmp_path: Path) -> None:
    first, second = yard.sealed("1"), yard.sealed("2")
    yard.parts.registry.set_alias(yard.name, "Production", first)
    with Toll(yard.parts.store.settings.s3_endpoint) as toll:
        follower = watcher(yard, tmp_path, store=with_endpoint(yard, toll.address))
        follower.look(hurry=True)
        yard.parts.registry.set_alias(yard.name, "Production", second)
        toll.before = lambda request, write: not write  # the record does not get through: as if killed before it
        follower.look(hurry=True)
        assert live(follower) == {yard.name: second} == live(watcher(yard, tmp_path))
        assert yard.state.live["Production"].version == first
        toll.before = lambda request, write: True
        for _ in range(3):
            follower.look(hurry=True)
    assert [item.version for item in yard.state.production] == [first, second]
    assert yard.alias("Previous") == first


def test_a_hand_s_move_waits_while_the_ledger_cannot_be_read(yard: Yard, tmp_path: Path) -> None:
    first, second = yard.sealed("1"), yard.sealed("2")
    promote(yard.parts, yard.name, first, "Production", ANNA)
    with Toll(yard.parts.store.settings.s3_endpoint) as toll:
        follower = watcher(yard, tmp_path, store=with_endpoint(yard, toll.address))
        follower.look(hurry=True)
        yard.parts.registry.set_alias(yard.name, "Production", second)
        toll.before = lambda request, write: False
        follower.look(hurry=True)
        assert live(follower) == {yard.name: first}
        assert "follows it when the ledger can be read" in follower.current.refused[0].reason
        toll.before = lambda request, write: True
        follower.look(hurry=True)
        assert live(follower) == {yard.name: second}
