"""Brings records to Kafka, or to the spool while Kafka does not answer. Records with the same key keep their order.

In: records, several at once. Out: the receipt of each, when Kafka has confirmed them or the disk has them. As long as
the spool holds a record, every new one goes to its end; when it has been delivered, records go to Kafka directly again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ingestion.producer import KafkaProducer, NotDelivered
from ingestion.record import SPOOLED, Outcome, Record
from ingestion.spool import Spool, SpoolFull
from mlflow_project.errors import Exhausted, Unavailable, WorkspaceError

logger = logging.getLogger(__name__)

_BATCH = 500
_RETRY_SECONDS = 0.5


_MakeProducer = Callable[[Callable[[], None]], KafkaProducer]
"""Makes a producer. It gets the function to call whenever Kafka did not confirm a record."""


class _Waiting(NamedTuple):
    """Records that were sent together and wait for the spool, and what became of each."""

    records: Sequence[Record]
    written: asyncio.Future[list[Outcome]]


class Courier:
    """The way of all records of one service. `open` before the first record, `close` after the last."""

    def __init__(self, make_producer: _MakeProducer, spool: Spool, most_pending_bytes: int) -> None:
        self._make_producer = make_producer
        self._spool = spool
        self._most_pending_bytes = most_pending_bytes
        self.pending_bytes = 0
        self.spooling = spool.count > 0
        self._failed: list[tuple[int, _Waiting]] = []
        self._in_flight = 0
        self._sent = 0
        self._none_in_flight = asyncio.Event()
        self._none_in_flight.set()
        self._queue: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._is_writing = False
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def open(self) -> None:
        """Begin. What an earlier service left in the spool is delivered first."""
        self._producer = self._make_producer(self._begin_spooling)
        self._tasks = [asyncio.create_task(self._write())]
        if self.spooling:
            self._tasks.append(asyncio.create_task(self._drain()))

    async def close(self) -> None:
        """End. Every record was answered by now; what is in the spool stays there."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._producer.close()

    async def room(self) -> None:
        """Wait until records may be sent."""
        await self._has_room.wait()

    def check_room(self) -> None:
        """Raises:
        Exhausted: too many bytes wait for Kafka or for the disk.
        """
        if not self._has_room.is_set():
            raise Exhausted("Too many records wait for Kafka: try again in a second.", retry_after=1.0)

    async def send(self, records: Sequence[Record]) -> list[Outcome]:
        """Bring records to Kafka or to the spool. Records of one key must be sent in their order.

        Returns the outcome of each. An error is `SpoolFull` if neither has room, `Unavailable` if the disk cannot be
        written or the topic does not exist, `InvalidData` if the topic does not take so large a record.
        """
        size = sum(record.size for record in records)
        self._count(size)
        try:
            return await (self._to_spool(records) if self.spooling else self._to_kafka(records))
        finally:
            self._count(-size)

    async def _to_kafka(self, records: Sequence[Record]) -> list[Outcome]:
        self._sent += 1
        number = self._sent
        self._in_flight += 1
        self._none_in_flight.clear()
        try:
            outcomes = await self._producer.send(records).done
            missed = [at for at, outcome in enumerate(outcomes) if isinstance(outcome, NotDelivered)]
            waiting = _Waiting([records[at] for at in missed], asyncio.get_running_loop().create_future())
            if missed:
                self._failed.append((number, waiting))
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._none_in_flight.set()
        if missed:
            for at, outcome in zip(missed, await waiting.written, strict=True):
                outcomes[at] = outcome
        return outcomes

    def _begin_spooling(self) -> None:
        """Send nothing more to Kafka directly. The producer calls this when Kafka did not confirm a record."""
        if not self.spooling:
            self.spooling = True
            logger.warning("Kafka does not confirm records; they go to the spool")
            self._producer.purge()
            self._tasks = [*(task for task in self._tasks if not task.done()), asyncio.create_task(self._switch())]

    async def _switch(self) -> None:
        """Wait until no record is under way, and put those that failed before all that came since."""
        await self._none_in_flight.wait()
        failed = [waiting for _, waiting in sorted(self._failed, key=lambda each: each[0])]
        self._failed.clear()
        self._queue.extendleft(reversed(failed))
        self._producer.close()
        self._producer = self._make_producer(self._begin_spooling)
        self._wake.set()
        await self._drain()

    async def _to_spool(self, records: Sequence[Record]) -> list[Outcome]:
        waiting = _Waiting(records, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if not self._failed and self._none_in_flight.is_set():
            self._wake.set()
        return await waiting.written

    async def _write(self) -> None:
        """Write what waits to the spool, many records with one fsync."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                some = self._some_waiting()
                self._is_writing = True
                try:
                    taken = await asyncio.to_thread(
                        self._spool.add, [record for each in some for record in each.records]
                    )
                except Unavailable as error:
                    _end(some, 0, error)
                else:
                    full = SpoolFull("Kafka does not answer, and the spool of this service is full. Try again later.")
                    _end(some, taken, full)
                finally:
                    self._is_writing = False

    def _some_waiting(self) -> list[_Waiting]:
        some = [self._queue.popleft()]
        count = len(some[0].records)
        while self._queue and count + len(self._queue[0].records) <= _BATCH:
            some.append(self._queue.popleft())
            count += len(some[-1].records)
        return some

    async def _drain(self) -> None:
        """Deliver the spool to Kafka until it is empty, in its order."""
        while True:
            try:
                some = await asyncio.to_thread(self._spool.first, _BATCH)
                if some:
                    await self._deliver([record for _, record in some])
                    await asyncio.to_thread(self._spool.remove, some)
                    continue
            except WorkspaceError as error:
                logger.warning("the spool cannot be delivered yet", extra={"error": str(error)})
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if self._queue or self._is_writing or self._failed:
                await asyncio.sleep(0.01)
            else:
                self.spooling = False
                logger.warning("the spool is empty; records go to Kafka directly again")
                return

    async def _deliver(self, records: list[Record]) -> None:
        """Send records of the spool.

        Raises:
            WorkspaceError: Kafka did not confirm all of them.
        """
        try:
            for outcome in await self._producer.send(records).done:
                if isinstance(outcome, WorkspaceError):
                    raise outcome
        except WorkspaceError:
            self._producer.purge()
            self._producer.close()
            self._producer = self._make_producer(self._begin_spooling)
            raise

    def _count(self, size: int) -> None:
        self.pending_bytes += size
        if self.pending_bytes > self._most_pending_bytes:
            self._has_room.clear()
        else:
            self._has_room.set()


def _end(waiting: Sequence[_Waiting], taken: int, error: WorkspaceError) -> None:
    """Tell those who wait: the first `taken` records are in the spool, and the others have an error."""
    for each in waiting:
        spooled = max(0, min(taken, len(each.records)))
        taken -= spooled
        if not each.written.done():
            each.written.set_result([SPOOLED] * spooled + [error] * (len(each.records) - spooled))
