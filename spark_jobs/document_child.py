"""The child process that reads documents for one Spark worker, one after another, within limits that the system holds.

    python -m spark_jobs.document_child MEMORY DOCUMENT_SECONDS PAGE_SECONDS

On stdin: `{"kind": …, "size": …}` and a newline, then the bytes. On stdout: one JSON line, which is the text, a
rejection, or the name of a library that is missing. The system refuses memory above MEMORY bytes, and ends this process
if a document takes more seconds of processor time; a page that takes too many is given up.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, Any

from mlflow_project.rules.chunking.records import Reason, Rejected
from mlflow_project.rules.documents.opened import NotReadable
from mlflow_project.rules.documents.reading import read_document, too_large


def main(memory: int, document_seconds: int, page_seconds: float) -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    signal.signal(signal.SIGPROF, partial(_give_up, page_seconds))
    while asked := sys.stdin.buffer.readline():
        _limit_processor_time(document_seconds)
        request = json.loads(asked)
        answers.write(json.dumps(_answer(request["kind"], request["size"], sys.stdin.buffer, page_seconds)).encode())
        answers.write(b"\n")
        answers.flush()


def _answer(kind: Any, size: int, source: IO[bytes], page_seconds: float) -> dict[str, Any]:
    try:
        found = read_document(kind, source.read(size), partial(_page_limit, page_seconds))
    except ImportError as error:
        return {"missing": error.name or str(error)}
    except MemoryError:
        found = too_large(kind)
    return {"rejected" if isinstance(found, Rejected) else "text": list(found)}


def _limit_processor_time(seconds: int) -> None:
    """Let the system end this process if the next document takes longer."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds + 1, resource.RLIM_INFINITY))


@contextmanager
def _page_limit(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer, and again each second, because a library may swallow the first interruption."""
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _give_up(seconds: float, *_: object) -> None:
    raise NotReadable(Reason.BAD_PAGE, f"takes more than {seconds:g} s of processor time")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
