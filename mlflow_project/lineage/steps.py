"""One step of a chain: what was checked, and what came of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mlflow_project.errors import InvalidData, NotFound, Refused

Status = Literal["ok", "broken", "unknown"]


@dataclass(frozen=True)
class Step:
    """One checked connection. `node` is what was checked, in the spelling of `switchyard lineage`.

    `broken`: what is recorded contradicts what is there, or what must be there is gone. `unknown`: nothing was recorded
    by which it could be checked.
    """

    node: str
    check: str
    status: Status
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


class Unrecorded(Exception):
    """A check has nothing to go by. The message says what was not recorded, and why."""


class Broken(Exception):
    """A check found a contradiction. The message says what differs."""


def checked(node: str, check: str, run: Callable[[], str]) -> Step:
    """Run one check, which returns what it found. An outage is raised, for it says nothing about the chain.

    Raises:
        Unavailable: a service does not answer.
    """
    try:
        return Step(node, check, "ok", run())
    except Unrecorded as unrecorded:
        return Step(node, check, "unknown", str(unrecorded))
    except (Broken, Refused, NotFound, InvalidData) as error:
        return Step(node, check, "broken", str(error))


def is_broken(steps: Sequence[Step]) -> bool:
    """Whether the chain is broken anywhere."""
    return any(step.status == "broken" for step in steps)
