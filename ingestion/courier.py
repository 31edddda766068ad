"""Brings records to Kafka, or to the spool while Kafka does not answer. Records with the same key keep their order.

In: a `Record`. Out: its `Receipt`, when Kafka has confirmed the record or the disk has it. As long as the spool holds a
record, every new one goes to its end; when it has been delivered, records go to Kafka directly again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from ingestion.producer import KafkaProducer, NotDelivered
from ingestion.record import SPOOLED, Receipt, Record
from ingestion.spool import Spool, SpoolFull
from mlflow_project.errors import Exhausted, Unavailable, WorkspaceError

logger = logging.getLogger(__name__)

_BATCH = 500
_RETRY_SECONDS = 0.5


class _Waiting(NamedTuple):
    record: Record
    written: asyncio.Future[Receipt]


class Courier:
    """The way of all records of one service. `open` before the first record, `close` after the last."""

    def __init__(self, make_producer: Callable[[], KafkaProducer], spool: Spool, most_pending_bytes: int) -> None:
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
        self._producer = self._make_producer()
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

    async def send(self, record: Record) -> Receipt:
        """Bring one record to Kafka or to the spool. Records of one key must be sent in their order.

        Raises:
            SpoolFull: neither has room. Unavailable: the disk cannot be written, or the topic does not exist.
        """
        self._count(record.size)
        try:
            if self.spooling:
                return await self._to_spool(record)
            return await self._to_kafka(record)
        finally:
            self._count(-record.size)

    async def _to_kafka(self, record: Record) -> Receipt:
        self._sent += 1
        number = self._sent
        try:
            delivery = self._producer.send(record)
        except NotDelivered:
            return await self._give_up(number, record)
        self._in_flight += 1
        self._none_in_flight.clear()
        try:
            return await asyncio.shield(delivery)
        except NotDelivered:
            failed = self._give_up(number, record)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._none_in_flight.set()
        return await failed

    def _give_up(self, number: int, record: Record) -> asyncio.Future[Receipt]:
        """Put a record that Kafka did not confirm into the spool, in the order in which it was sent."""
        waiting = _Waiting(record, asyncio.get_running_loop().create_future())
        self._failed.append((number, waiting))
        if not self.spooling:
            self.spooling = True
            logger.warning("Kafka does not confirm records; they go to the spool")
            self._producer.purge()
            self._tasks = [*(task for task in self._tasks if not task.done()), asyncio.create_task(self._switch())]
        return waiting.written

    async def _switch(self) -> None:
        """Wait until no record is under way, and put those that failed before all that came since."""
        await self._none_in_flight.wait()
        failed = [waiting for _, waiting in sorted(self._failed, key=lambda each: each[0])]
        self._failed.clear()
        self._queue.extendleft(reversed(failed))
        self._producer.close()
        self._producer = self._make_producer()
        self._wake.set()
        await self._drain()

    def _to_spool(self, record: Record) -> asyncio.Future[Receipt]:
        waiting = _Waiting(record, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if not self._failed and self._none_in_flight.is_set():
            self._wake.set()
        return waiting.written

    async def _write(self) -> None:
        """Write what waits to the spool, many records with one fsync."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                some = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
                self._is_writing = True
                try:
                    taken = await asyncio.to_thread(self._spool.add, [each.record for each in some])
                except Unavailable as error:
                    _fail(some, error)
                else:
                    for each in some[:taken]:
                        if not each.written.done():
                            each.written.set_result(SPOOLED)
                    full = SpoolFull("Kafka does not answer, and the spool of this service is full. Try again later.")
                    _fail(some[taken:], full)
                finally:
                    self._is_writing = False

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
            sent = [self._producer.send(record) for record in records]
            for one in await asyncio.gather(*sent, return_exceptions=True):
                if isinstance(one, BaseException):
                    raise one
        except WorkspaceError:
            self._producer.purge()
            self._producer.close()
            self._producer = self._make_producer()
            raise

    def _count(self, size: int) -> None:
        self.pending_bytes += size
        if self.pending_bytes > self._most_pending_bytes:
            self._has_room.clear()
        else:
            self._has_room.set()


def _fail(waiting: list[_Waiting], error: Exception) -> None:
    for each in waiting:
        if not each.written.done():
            each.written.set_exception(error)
