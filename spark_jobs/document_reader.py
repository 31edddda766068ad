"""Reads documents (PDF, Word, HTML and others) in a child process, so that none can hurt the worker that reads it.

In: a kind and bytes. Out: the text, or a rejection with its reason. A document that takes too much memory or time ends
the child, not the Spark worker; the next document gets a new child. A child reads many documents, because its libraries
take a second to load.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from threading import Timer
from typing import Any

from mlflow_project.rules.chunking.records import Reason, Rejected
from mlflow_project.rules.documents.kinds import Kind
from mlflow_project.rules.documents.reading import NAMES, BadPart, DocumentText, Span

_MOST_DOCUMENTS = 500
"""So many documents are read by one child. A new one has none of the memory that libraries keep."""
_WAITED = 4
"""The child is ended after so many times its processor time, in case it waits instead of computing."""


@dataclass(frozen=True)
class DocumentLimits:
    """What one document may cost: bytes of memory, and seconds of processor time for it and for one of its pages."""

    memory: int = 1 << 30
    seconds: int = 300
    page_seconds: float = 10.0


@cache
def document_reader(limits: DocumentLimits) -> DocumentReader:
    """The reader of this process."""
    return DocumentReader(limits)


class DocumentReader:
    """Reads documents within limits. Starts its child when the first document comes; the child ends with its parent."""

    def __init__(self, limits: DocumentLimits) -> None:
        self._limits = limits
        self._child: subprocess.Popen[bytes] | None = None
        self._read = 0

    def read(self, kind: Kind, data: bytes) -> DocumentText | Rejected:
        """Read one document. Never raises for what the document holds."""
        used = self._read > 0
        found = self._once(kind, data)
        if used and isinstance(found, Rejected) and found.reason in (Reason.TOO_MUCH_MEMORY, Reason.UNREADABLE):
            self.close()  # earlier documents may have left too little memory
            found = self._once(kind, data)
        if self._read >= _MOST_DOCUMENTS:
            self.close()
        return found

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
        self._child, self._read = None, 0

    def _once(self, kind: Kind, data: bytes) -> DocumentText | Rejected:
        child = self._child = self._child or self._start()
        self._read += 1
        assert child.stdin is not None
        assert child.stdout is not None
        limit = Timer(self._limits.seconds * _WAITED, child.kill)
        limit.start()
        answer = b""
        try:
            with suppress(BrokenPipeError):
                child.stdin.write(json.dumps({"kind": kind, "size": len(data)}).encode() + b"\n")
                child.stdin.write(data)
                child.stdin.flush()
            answer = child.stdout.readline()
        finally:
            limit.cancel()
        if not answer.endswith(b"\n"):
            code = child.wait()
            self._child, self._read = None, 0
            return self._ended(kind, code)
        return _found(kind, json.loads(answer))

    def _start(self) -> subprocess.Popen[bytes]:
        limits = self._limits
        numbers = [str(each) for each in (limits.memory, limits.seconds, limits.page_seconds)]
        return subprocess.Popen(
            [sys.executable, "-m", "spark_jobs.document_child", *numbers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
        )

    def _ended(self, kind: Kind, code: int) -> Rejected:
        if code in (-signal.SIGXCPU, -signal.SIGKILL):
            return Rejected(
                Reason.TOO_SLOW,
                f"Reading the {NAMES[kind]} takes more than {self._limits.seconds:,} s of processor time: split it.",
            )
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Rejected(Reason.UNREADABLE, f"The {NAMES[kind]} cannot be read: reading it ended by {how}.")


def _found(kind: Kind, answer: dict[str, Any]) -> DocumentText | Rejected:
    if missing := answer.get("missing"):
        sentence = (
            f"The file is a {NAMES[kind]}, and reading it takes the library {missing}: install the extra `documents` "
            "where Spark's workers run."
        )
        return Rejected(Reason.NOT_TEXT, sentence)
    if rejected := answer.get("rejected"):
        return Rejected(Reason(rejected[0]), rejected[1])
    title, text, metadata, pages, bad = answer["text"]
    bad_parts = [BadPart(number, Reason(reason), sentence) for number, reason, sentence in bad]
    return DocumentText(title, text, metadata, [Span(*page) for page in pages], bad_parts)
