"""Records that are sent together arrive in Kafka or in the spool, each once and in their order.

Kafka is a list here, which confirms what the test says; `tests/spark/test_ingestion_faults.py` kills a real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from ingestion.courier import Courier
from ingestion.lines import batches_of_lines
from ingestion.producer import Delivery, NotDelivered
from ingestion.record import SPOOLED, Outcome, Receipt, Record
from ingestion.spool import Spool, SpoolFull


class Kafka:
    """A producer whose records have the outcome that `confirms` gives them."""

    def __init__(self, confirms: Callable[[Record], bool]) -> None:
        self.confirms = confirms
        self.taken: list[bytes | None] = []

    def __call__(self, on_failure: Callable[[], None]) -> Kafka:
        self.on_failure = on_failure
        return self

    def send(self, records: Sequence[Record]) -> Delivery:
        delivery = Delivery(len(records))
        asyncio.get_running_loop().call_soon(self._confirm, delivery, list(records))
        return delivery

    def _confirm(self, delivery: Delivery, records: Sequence[Record]) -> None:
        for at, record in enumerate(records):
            outcome: Outcome = Receipt(0, len(self.taken))
            if self.confirms(record):
                self.taken.append(record.value)
            else:
                self.on_failure()
                outcome = NotDelivered("no")
            delivery.note(at, outcome)

    def purge(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing runs."""


def records(*values: bytes) -> list[Record]:
    return [Record("t", b"k", value, ()) for value in values]


def test_what_kafka_does_not_confirm_goes_to_the_spool_before_all_that_comes_later(tmp_path: Path) -> None:
    async def story() -> None:
        is_up = False
        kafka = Kafka(lambda record: is_up or record.value in (b"1", b"3"))
        spool = Spool(tmp_path, 1_000_000)
        courier = Courier(kafka, spool, 1_000_000)  # type: ignore[arg-type]
        await courier.open()
        first = asyncio.ensure_future(courier.send(records(b"1", b"2", b"3", b"4")))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(courier.send(records(b"5")))
        assert await first == [Receipt(0, 0), SPOOLED, Receipt(0, 1), SPOOLED]
        assert await second == [SPOOLED]
        assert await courier.send(records(b"6", b"7")) == [SPOOLED, SPOOLED]
        assert [record.value for _, record in spool.first(9)] == [b"2", b"4", b"5", b"6", b"7"]
        is_up = True
        async with asyncio.timeout(10):
            while courier.spooling:
                await asyncio.sleep(0.01)
        assert kafka.taken == [b"1", b"3", b"2", b"4", b"5", b"6", b"7"]
        assert await courier.send(records(b"8")) == [Receipt(0, 7)]
        assert courier.pending_bytes == 0
        await courier.close()
        spool.close()

    asyncio.run(story())


def test_the_records_that_a_full_spool_has_no_room_for_are_refused_one_by_one(tmp_path: Path) -> None:
    async def story() -> None:
        spool = Spool(tmp_path, 3_000)
        courier = Courier(Kafka(lambda _: False), spool, 1_000_000)  # type: ignore[arg-type]
        await courier.open()
        outcomes = await courier.send(records(*[b"v" * 1_000] * 4))
        assert outcomes[:2] == [SPOOLED, SPOOLED]
        assert [type(each) for each in outcomes[2:]] == [SpoolFull, SpoolFull]
        await courier.close()
        spool.close()

    asyncio.run(story())


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 100])
def test_lines_are_the_same_wherever_the_body_is_cut(size: int) -> None:
    body = b"one\n\n" + b"x" * 30 + b"\ntwo\n1234567890\n12345678901\nlast"

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), size):
            yield body[at : at + size]

    async def story() -> list[bytes]:
        return [line async for lines in batches_of_lines(pieces(), 10) for line in lines]

    assert asyncio.run(story()) == [b"one", b"", b"x" * 11, b"two", b"1234567890", b"12345678901", b"last"]
