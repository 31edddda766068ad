"""Runs a command of `switchyard` and reads its JSON, where reading it in this process would load libraries of hundreds
of megabytes: Delta tables and search indexes. In: arguments. Out: the command's own JSON, or its own error.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

from mlflow_project.errors import InvalidData, NotFound, Refused, Unavailable, WorkspaceError

_SECONDS = 60.0
_AT_ONCE = threading.BoundedSemaphore(2)
_START = "from mlflow_project.commands.main import main; main()"
_ERRORS: dict[int, type[WorkspaceError]] = {2: InvalidData, 3: Unavailable, 4: Refused}


def asked(*arguments: str) -> Any:
    """The JSON that a command prints.

    Raises:
        InvalidData, Unavailable, Refused: what the command says. NotFound: it says that there is none.
    """
    if not _AT_ONCE.acquire(timeout=5):
        raise Unavailable("Two such questions are being answered already. Try again in a moment.")
    try:
        command = [sys.executable, "-c", _START, *arguments, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"`switchyard {arguments[0]}` took longer than {_SECONDS:.0f} s.") from error
    finally:
        _AT_ONCE.release()
    if done.returncode != 0:
        said = done.stderr.strip()[-1000:] or f"`switchyard {arguments[0]}` failed."
        kind = NotFound if " has no " in said and done.returncode == 2 else _ERRORS.get(done.returncode, Unavailable)
        raise kind(said)
    return json.loads(done.stdout)
