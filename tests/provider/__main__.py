"""`python -m tests.provider --port N`: the simulated provider as a process of its own, for benches."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal

from tests.provider.behaviour import Behaviour
from tests.provider.server import ProviderServer, Script


async def serve(port: int, always: Behaviour) -> None:
    """Until SIGTERM or SIGINT."""
    server = ProviderServer(Script(always=always))
    await server.start(port=port)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    await server.stop()


def main() -> None:
    """Parse, and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.provider", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--spread", type=float, default=0.0, help="above 0: log-normal latency around the median")
    parser.add_argument("--text", default=Behaviour.text)
    parser.add_argument("--times", type=int, default=1, help="how often the text is repeated in an answer")
    given = parser.parse_args()
    always = Behaviour(text=given.text * given.times, latency_ms=given.latency_ms, spread=given.spread)
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.install()
    asyncio.run(serve(given.port, always))


if __name__ == "__main__":
    main()
