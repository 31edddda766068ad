"""Whose request a judgement is of, while some of the requests of one id are still on their way to the disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mlflow_project.api_keys import ApiKey
from mlflow_project.errors import NotFound, Refused
from mlflow_project.rules.masking import Masker
from mlflow_project.snapshot.spool import Spool
from mlflow_project.telemetry.meters import Meters
from serving.after.arm_counts import ArmCounter
from serving.after.feedback import FeedbackDesk
from tests.unit.test_spool import asked


def key(name: str, *roles: str) -> ApiKey:
    return ApiKey(name, name, roles or ("call",), "", "2026-11-24T10:00:00Z")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "events.sqlite", 10_000_000)


@pytest.fixture
def desk(spool: Spool, tmp_path: Path) -> FeedbackDesk:
    return FeedbackDesk(spool, Masker(), Meters(), ArmCounter(tmp_path / "counts"))


async def judged(desk: FeedbackDesk, request_id: str, caller: ApiKey | None) -> str:
    return (await desk.take(request_id, {"score": 1}, caller))[0].key_id


def test_a_caller_waits_for_its_own_request_though_anothers_of_that_id_is_known(
    spool: Spool, desk: FeedbackDesk
) -> None:
    async def judged_before_it_is_on_disk() -> str:
        judgement = asyncio.ensure_future(judged(desk, "r1", key("asker")))
        await asyncio.sleep(0.15)
        assert not judgement.done()
        spool.add([asked(1, "asker")], [])
        return await judgement

    spool.add([asked(1, "other")], [])
    assert asyncio.run(judged_before_it_is_on_disk()) == "asker"


def test_who_asked_nothing_of_that_id_is_refused_unless_an_admin(spool: Spool, desk: FeedbackDesk) -> None:
    spool.add([asked(1, "other")], [])
    with pytest.raises(Refused, match="r1"):
        asyncio.run(judged(desk, "r1", key("asker")))
    with pytest.raises(NotFound, match="r2"):
        asyncio.run(judged(desk, "r2", key("asker")))
    assert asyncio.run(judged(desk, "r1", key("boss", "admin"))) == "other"
    assert asyncio.run(judged(desk, "r1", None)) == "other"
