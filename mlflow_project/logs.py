"""Logs: one JSON event a line for machines, or readable lines on a terminal. Constant messages plus fields (`extra`),
and of the request that they belong to its trace id, span id and release; never raw prompt text. A stack trace goes to a
file in the state folder, not at a person."""

from __future__ import annotations

import functools
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import orjson

from mlflow_project.errors import ConfigError
from mlflow_project.private_files import write_private
from mlflow_project.telemetry.tracing import current

_PLAIN = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}


class Event(NamedTuple):
    """What one line says; `at` is in seconds since the epoch."""

    at: float
    level: str
    logger: str
    message: str
    fields: Mapping[str, Any]


class _Formatter(logging.Formatter):
    """`clean` is what an exception's trace goes through: its message may hold what somebody asked."""

    def __init__(self, clean: Callable[[str], str] = str) -> None:
        super().__init__()
        self.clean = clean

    def line(self, event: Event) -> str:
        """The event as it is written."""
        raise NotImplementedError

    def format(self, record: logging.LogRecord) -> str:
        """The record's line, and the trace of its error."""
        fields = _context() | {key: value for key, value in record.__dict__.items() if key not in _PLAIN}
        return self.line(
            Event(
                record.created, record.levelname.lower(), record.name, record.getMessage(), fields | self._trace(record)
            )
        )

    def _trace(self, record: logging.LogRecord) -> dict[str, str]:
        return {"trace": self.clean(self.formatException(record.exc_info))} if record.exc_info else {}


class JsonLines(_Formatter):
    """One JSON object a line: time, level, logger, message, the request's trace, and whatever `extra` held."""

    def line(self, event: Event) -> str:
        """Without the line's end."""
        milliseconds = int(event.at * 1000) % 1000
        said = {
            "time": f"{_second(int(event.at))}.{milliseconds:03d}Z",
            "level": event.level,
            "logger": event.logger,
            "message": event.message,
            **event.fields,
        }
        return orjson.dumps(said, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class Readable(_Formatter):
    """For a terminal: level, logger, message, then the fields as `name=value`, and the trace of an error below it."""

    def line(self, event: Event) -> str:
        """Without the last line's end."""
        fields = "  ".join(f"{key}={value}" for key, value in event.fields.items() if key != "trace")
        line = f"{event.level:7} {event.logger}: {event.message}" + (f"  {fields}" if fields else "")
        return f"{line}\n{event.fields['trace']}" if "trace" in event.fields else line


@functools.lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


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
    for client in ("httpx", "httpx2"):  # on INFO they log the address of every request, which may hold a key
        logging.getLogger(client).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it warns before each second try


def say_all(events: Sequence[Event]) -> bool:
    """Say many events with one write, where and as `set_up_logs` would say each; whether they were taken."""
    try:
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and isinstance(handler.formatter, _Formatter):
                lines = "".join(handler.formatter.line(event) + handler.terminator for event in events)
                with handler.lock or nullcontext():
                    handler.stream.write(lines)
                    handler.flush()
    except (OSError, ValueError):  # a full disk, or a stream that was closed
        return False
    return True


def record_defect() -> str:
    """Write the current exception's stack trace to the state folder. Returns a sentence that says where."""
    from mlflow_project.settings import state_folder  # pydantic is slow to import, and only this function needs it

    try:
        folder = state_folder() / "logs"
        path = folder / f"defect-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        write_private(path, traceback.format_exc())
        return f"The stack trace is in {path}. Please report it."
    except ConfigError:
        return "The stack trace could not be written. Free some disk space, and run the command again."
