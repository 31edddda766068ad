"""The peers of the ingestion bench: a bare FastAPI + confluent-kafka relay, and a bare producer loop.

`uvicorn bench.ingestion_relay:app` passes each body on to the topic `RELAY_TOPIC` and answers when Kafka has confirmed
it. It checks nothing. `python -m bench.ingestion_relay FILE` parses each line of a file, produces it, and prints the
seconds that this took.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Producer
from fastapi import FastAPI, Request, Response

SETTINGS = {
    "bootstrap.servers": os.environ.get("SWITCHYARD_KAFKA_BROKERS", ""),
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 5,
    "compression.type": "lz4",
    "queue.buffering.max.messages": 500_000,
}


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.producer = producer = Producer(SETTINGS)
    end = threading.Event()

    def poll() -> None:
        while not end.is_set():
            producer.poll(0.1)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    yield
    end.set()
    thread.join()


app = FastAPI(lifespan=_lifespan)


@app.post("/", status_code=202)
async def relay(request: Request) -> Response:
    """Pass one record on."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def delivered(error: Any, _: Any) -> None:
        loop.call_soon_threadsafe(done.set_exception if error else done.set_result, error)

    request.app.state.producer.produce(os.environ["RELAY_TOPIC"], await request.body(), on_delivery=delivered)
    await done
    return Response(status_code=202)


def _loop(file: Path) -> float:
    """The seconds that parsing and producing every line of a file takes, until Kafka has confirmed all."""
    producer, topic = Producer(SETTINGS), os.environ["RELAY_TOPIC"]
    began = time.perf_counter()
    with file.open("rb") as lines:
        for line in lines:
            orjson.loads(line)
            producer.produce(topic, line)
            producer.poll(0)
    producer.flush()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.stdout.write(f"{_loop(Path(sys.argv[1]))}\n")
