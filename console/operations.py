"""Changes that people started, and how far each has come: the receipts of the workers one by one, then the outcome.

In: a function that makes the change, with parts of its own, in the name of the person. Out: an `Operation`, which pages
show while it runs and after it.
"""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from mlflow_project.domain.times import utc_now
from mlflow_project.errors import NotFound, Unavailable, WorkspaceError
from mlflow_project.identity import Identity
from mlflow_project.parts import Parts

logger = logging.getLogger(__name__)

_AT_ONCE, _MOST_RUNNING, _MOST_KEPT = 4, 16, 200


@dataclass
class Operation:
    """A change. `lines` grow while it runs; `state` is `running`, `done`, `refused` or `failed`."""

    id: str
    title: str
    who: str
    back: str
    started: str
    lines: list[str] = field(default_factory=list)
    state: str = "running"


Work = Callable[[Parts], list[str]]
"""Makes a change. Returns what came of it, in lines."""


class Operations:
    """The newest operations. Each runs in a thread; at most `_MOST_RUNNING` wait or run."""

    def __init__(self, connect: Callable[..., Parts], changed: Callable[[], None]) -> None:
        """`connect` builds the parts of one operation; `changed` is called when one has ended."""
        self._connect, self._changed = connect, changed
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="operation")
        self._known: OrderedDict[str, Operation] = OrderedDict()

    def start(self, title: str, identity: Identity, back: str, work: Work) -> Operation:
        """Start a change. `back` is the page to go to afterwards.

        Raises:
            Unavailable: too many are running.
        """
        if sum(each.state == "running" for each in self._known.values()) >= _MOST_RUNNING:
            raise Unavailable(f"{_MOST_RUNNING} changes are under way already. Try again in a moment.")
        operation = Operation(secrets.token_urlsafe(12), title, identity.name, back, utc_now())
        self._known[operation.id] = operation
        while len(self._known) > _MOST_KEPT:
            self._known.popitem(last=False)
        self._pool.submit(self._run, operation, identity, work)
        return operation

    def find(self, operation_id: str) -> Operation:
        """The operation with this id.

        Raises:
            NotFound: there is none, or it is too long ago.
        """
        if operation_id not in self._known:
            raise NotFound(
                "The console does not know this operation: it was started again meanwhile, or this is long ago. "
                "The record shows what came of it."
            )
        return self._known[operation_id]

    def close(self) -> None:
        """Wait for what runs."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, operation: Operation, identity: Identity, work: Work) -> None:
        def heard(worker: str, milliseconds: float) -> None:
            operation.lines.append(f"Receipt: {worker} after {milliseconds:.0f} ms")

        try:
            operation.lines += work(self._connect(acting=identity, on_receipt=heard))
            state = "done"
        except WorkspaceError as error:
            operation.lines.append(str(error))
            state = "refused" if error.exit_code == 4 else "failed"
        except Exception as error:
            logger.exception("an operation failed unexpectedly")
            operation.lines.append(f"Internal error ({type(error).__name__}). The console's log has the trace.")
            state = "failed"
        self._changed()
        operation.state = state
