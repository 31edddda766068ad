"""Logs: one JSON event a line for machines, or plain lines on a terminal. Constant messages plus fields (`extra`);
never raw prompt text. A stack trace goes to a file in the state folder, not at a person."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback

from mlflow_project.settings import state_folder

_PLAIN = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and whatever `extra` held."""

    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{key: value for key, value in record.__dict__.items() if key not in _PLAIN},
        }
        if record.exc_info:
            event["trace"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False, default=str)


def set_up_logs(level: str | None = None) -> None:
    """Logs go to stderr, as JSON lines unless that is a terminal; `SWITCHYARD_LOG_LEVEL` sets the level."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(levelname)s %(name)s: %(message)s")
    handler.setFormatter(plain if sys.stderr.isatty() else JsonLines())
    chosen = level or os.environ.get("SWITCHYARD_LOG_LEVEL", "WARNING")
    logging.basicConfig(level=chosen.upper(), handlers=[handler], force=True)


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
