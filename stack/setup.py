"""Set-up: MinIO's build, the environment and the jars, side by side. In: what stack/ and requirements/ pin. Out: things
in the environment and in the cache; a line for each. Standard library only.

Every part is put in its place whole and last, so an interrupted set-up is taken up again where it was; a second set-up
on the same cache waits for the first.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from mlflow_project.errors import ConfigError, Unavailable, WorkspaceError
from stack.doctor import require
from stack.environment import make_environment
from stack.layout import cache_folder, jar_folder, minio_binary
from stack.minio_build import build_minio
from stack.progress import Progress, Ticker, elapsed, say
from stack.spark_jars import fetch_jars
from stack.tools import Tools

DEMO_GROUPS = ("serving", "console", "mlflow", "spark", "documents", "models", "training", "lineage", "stack")
TEST_GROUPS = (*DEMO_GROUPS, "ingestion", "checks")


def set_up(groups: Sequence[str]) -> None:
    """Bring this machine to what the stack needs.

    Raises:
        ConfigError: a tool is missing or too old, or the disk too full; nothing was begun.
        Unavailable: a part failed; what was finished stays.
    """
    began = time.monotonic()
    say("Set-up: MinIO, the Python environment, the jars for Spark.")
    require("python", "java", "disk", *([] if minio_binary().exists() else ["go"]))
    with _alone(cache_folder()):
        tools = Tools(cache_folder() / "logs")
        _side_by_side(groups, tools)
    say(f"Set-up is done: {elapsed(time.monotonic() - began)}.")


def _side_by_side(groups: Sequence[str], tools: Tools) -> None:
    """MinIO's build beside the environment; the jars after the environment, which brings the tool that fetches them."""
    steps = {name: Progress(name) for name in ("minio", "environment", "jars")}
    with ThreadPoolExecutor(len(steps)) as pool, Ticker(steps) as ticker:

        def run(name: str, part: Callable[[Progress, Tools], str]) -> Future[str]:
            return pool.submit(_reported, name, steps[name], part, tools, ticker)

        environment = run("environment", lambda progress, tools: make_environment(groups, progress, tools))

        def jars(progress: Progress, tools: Tools) -> str:
            if not jar_folder().exists():
                environment.result()
            return fetch_jars(progress, tools)

        _all_or_interrupt([environment, run("minio", build_minio), run("jars", jars)], tools)


def _reported(
    name: str, progress: Progress, part: Callable[[Progress, Tools], str], tools: Tools, ticker: Ticker
) -> str:
    outcome = part(progress, tools)
    ticker.finished(name, outcome)
    return outcome


def _all_or_interrupt(futures: Sequence[Future[str]], tools: Tools) -> None:
    """Wait for all; the first failure, or Ctrl-C, ends the others' tools."""
    try:
        pending: set[Future[str]] = set(futures)
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
    except BaseException as error:
        tools.interrupt()
        if isinstance(error, OSError):
            raise Unavailable(f"{error.filename or 'A file'}: {error.strerror}. Mend that and run again.") from error
        if isinstance(error, WorkspaceError):
            raise Unavailable(
                f"Set-up stopped; what was finished stays, so run again when it is mended.\n{error}"
            ) from error
        raise


@contextlib.contextmanager
def _alone(cache: Path) -> Iterator[None]:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = (cache / "set-up.lock").open("w")
    except OSError as error:
        raise ConfigError(
            f"The cache folder {cache} cannot be written ({error.strerror}): set XDG_CACHE_HOME."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"  Another set-up is at work on {cache}; waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
