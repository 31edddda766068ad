"""What a request resolves to, and how long a release stays open."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from mlflow_project.domain.release import Manifest
from mlflow_project.errors import NotFound, Unavailable
from mlflow_project.snapshot.content import Placed, Split
from mlflow_project.telemetry.tracing import Trace
from serving.call import Call
from serving.edge.places import Places
from serving.live.shelf import LiveRelease, LiveSplit, LoadedRelease, Resolved, Shelf


@dataclass
class Warm:
    """A warm release as far as the shelf knows one."""

    closed: bool = False

    async def aclose(self) -> None:
        self.closed = True


def live(version: int, alias: str = "Production") -> LiveRelease:
    placed = Placed(alias, version, f"sha256:{version}", Manifest("prompt", "qa"), {}, "")
    return LiveRelease(placed, LoadedRelease(placed, Warm()), "")  # type: ignore[arg-type]


def shelf_with(*releases: LiveRelease) -> Shelf:
    shelf = Shelf()
    put(shelf, *releases)
    return shelf


def put(shelf: Shelf, *releases: LiveRelease) -> None:
    shelf.held |= {(each.placed.name, each.placed.version, each.placed.digest): each.held for each in releases}
    shelf.live = {each.placed.key: each for each in releases}
    shelf.retire(set())


def rolling_out(share: float) -> Shelf:
    """A rollout of version 2 while version 1 is live."""
    shelf = shelf_with(live(1), live(2, "Canary"), live(1, "Staging"))
    split = Split("qa", 9, "5a17", share, "session", 2, "sha256:2", "sha256:1")
    shelf.splits = {"qa": LiveSplit(split, shelf.live["qa", "Canary"])}
    return shelf


def test_an_alias_resolves_to_its_release() -> None:
    one = live(1)
    assert shelf_with(one).resolve("qa", "Production") == Resolved(one)


def test_a_rollout_divides_the_requests_for_production_by_unit() -> None:
    shelf = rolling_out(0.25)
    found = [
        shelf.resolve("qa", "Production", lambda kind, number=number: f"{kind}-{number}") for number in range(4000)
    ]
    versions = {(each.arm, each.live.placed.version, each.rollout) for each in found}
    assert versions == {("canary", 2, 9), ("baseline", 1, 9), ("production", 1, 9)}
    for arm in ("canary", "baseline"):
        assert 850 < sum(each.arm == arm for each in found) < 1150
    assert len({shelf.resolve("qa", "Production", lambda _: "one").arm for _ in range(50)}) == 1


def test_a_rollout_divides_neither_other_aliases_nor_requests_for_a_version() -> None:
    shelf = rolling_out(0.999999)
    assert shelf.resolve("qa", "Production", lambda _: "u").arm == "canary"
    for alias in ("Staging", "Canary"):
        assert shelf.resolve("qa", alias, lambda _: "u") == Resolved(shelf.live["qa", alias])
    assert shelf.resolve("qa", "Production") == Resolved(shelf.live["qa", "Production"])


def test_a_request_that_names_no_session_is_a_unit_of_its_own() -> None:
    call = Call("r-1", Trace("POST", None, listening=False), session="s" * 5000)
    assert call.unit("session") == "s" * 1000
    assert {call.unit("user"), call.unit("key"), call.unit("request")} == {"r-1"}


def test_nothing_served_is_an_outage_and_an_unknown_name_is_not() -> None:
    with pytest.raises(Unavailable, match="switchyard promote qa"):
        Shelf().resolve("qa", "Production")
    with pytest.raises(NotFound):
        shelf_with(live(1)).resolve("qa", "Staging")


def test_a_release_that_could_not_be_loaded_is_an_outage_that_says_why() -> None:
    for shelf in (Shelf(), shelf_with(live(1))):
        shelf.not_loaded = {("qa", "Staging"): "The endpoint 'gemini-eu' is unknown here."}
        with pytest.raises(Unavailable, match=r"'qa' under 'Staging'.*'gemini-eu' is unknown here"):
            shelf.resolve("qa", "Staging")
    assert shelf.resolve("qa", "Production")


def test_a_version_is_found_under_production_first() -> None:
    shelf = shelf_with(live(1), live(1, "Staging"), live(2, "Previous"))
    assert shelf.alias_of("qa", 1) == "Production"
    assert shelf.alias_of("qa", 2) == "Previous"
    with pytest.raises(NotFound):
        shelf.alias_of("qa", 3)


async def _flip_in_mid_request() -> list[bool]:
    first, second = live(1), live(2)
    shelf = shelf_with(first)
    seen = []
    with shelf.using("qa", "Production") as resolved:
        put(shelf, second)
        await asyncio.sleep(0)
        assert resolved.live is first
        seen.append(first.held.warm.closed)  # type: ignore[attr-defined]
    await asyncio.sleep(0)
    seen.append(first.held.warm.closed)  # type: ignore[attr-defined]
    return seen


def test_a_release_is_closed_when_the_last_request_that_began_on_it_has_ended() -> None:
    assert asyncio.run(_flip_in_mid_request()) == [False, True]


async def _crowd(places: Places, callers: int) -> tuple[int, int]:
    async def call() -> bool:
        try:
            async with places.place():
                await asyncio.sleep(0.01)
        except Unavailable:
            return False
        return True

    served = await asyncio.gather(*(call() for _ in range(callers)))
    return served.count(True), served.count(False)


def test_beyond_places_and_queue_callers_are_turned_away_at_once() -> None:
    places = Places(places=2, queue=3, seconds=1.0)
    assert asyncio.run(_crowd(places, 10)) == (5, 5)


def test_every_place_is_given_back() -> None:
    async def twice() -> list[tuple[int, int]]:
        places = Places(places=2, queue=2, seconds=0.001)
        return [await _crowd(places, 10), await _crowd(places, 2)]

    assert asyncio.run(twice()) == [(2, 8), (2, 0)]
