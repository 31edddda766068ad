"""Logs: one JSON event a line for machines, or readable lines on a terminal. Constant messages plus fields (`extra`),
and of the request that they belong to its trace id, span id and release; never raw prompt text. A stack trace goes to a
file in the state folder, not at a person."""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import orjson

from mlflow_project.settings import state_folder
from mlflow_project.telemetry.tracing import current

_PLAIN = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}


class _Formatter(logging.Formatter):
    """`clean` is what an exception's trace goes through: its message may hold what somebody asked."""

    def __init__(self, clean: Callable[[str], str] = str) -> None:
        super().__init__()
        self.clean = clean


class JsonLines(_Formatter):
    """One JSON object a line: time, level, logger, message, the request's trace, and whatever `extra` held."""

    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_context(),
            **_fields(record),
        }
        if record.exc_info:
            event["trace"] = self.clean(self.formatException(record.exc_info))
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class Readable(_Formatter):
    """For a terminal: level, logger, message, then the fields as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the trace of an error below it."""
        fields = "  ".join(f"{key}={value}" for key, value in (_context() | _fields(record)).items())
        line = f"{record.levelname.lower():7} {record.name}: {record.getMessage()}" + (f"  {fields}" if fields else "")
        return f"{line}\n{self.clean(self.formatException(record.exc_info))}" if record.exc_info else line


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in record.__dict__.items() if key not in _PLAIN}


def _context() -> dict[str, Any]:
    """Where this is said: the request's trace, its open step, its release."""
    trace = current()
    if trace is None:
        return {}
    step = trace.open or trace.root
    found: dict[str, Any] = {"trace_id": f"{trace.trace_id:032x}", "span_id": f"{step.span_id:016x}"}
    return found | {"release": trace.release} if trace.release is not None else found


def set_up_logs(level: str | None = None, clean: Callable[[str], str] = str) -> None:
    """Logs go to stderr, as JSON lines unless that is a terminal; `SWITCHYARD_LOG_LEVEL` sets the level. What
    exceptions say goes through `clean` first."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Readable(clean) if sys.stderr.isatty() else JsonLines(clean))
    chosen = level or os.environ.get("SWITCHYARD_LOG_LEVEL", "WARNING")
    logging.basicConfig(level=chosen.upper(), handlers=[handler], force=True)


def say_all(records: Sequence[logging.LogRecord]) -> bool:
    """Say many events with one write, where and as `set_up_logs` would say each; whether they were taken."""
    try:
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler):
                lines = "".join(handler.format(record) + handler.terminator for record in records)
                with handler.lock or nullcontext():
                    handler.stream.write(lines)
                    handler.flush()
    except (OSError, ValueError):  # a full disk, or a stream that was closed
        return False
    return True


def record_defect() -> str:
    """Write the current exception's trace to the state folder; a sentence that says where."""
    try:
        folder = state_folder() / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"defect-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        path.write_text(traceback.format_exc())
        return f"The trace is in {path}. Please report it."
    except OSError:
        return "Its trace could not be written; run again with SWITCHYARD_LOG_LEVEL=DEBUG."
