"""When the registry last answered: written by the follower after each look, read by workers to tell how stale they are.

Ages are taken from the clock that counts since boot, so that a wall clock set back changes nothing; across a reboot the
wall clock has to do.
"""

from __future__ import annotations

import functools
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from mlflow_project.errors import WorkspaceError
from mlflow_project.snapshot.folder import read_file, replace_file

CONTACT_SCHEMA = "switchyard.contact/v1"


@functools.cache
def boot_id() -> str:
    """Changes with every boot of this machine; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class Contact:
    """`monotonic` and `wall` (seconds) are when the registry last answered; `reachable`: whether it did at last look;
    `interval_ms` is how often the follower asks it."""

    reachable: bool
    monotonic: float
    wall: float
    interval_ms: int
    boot: str = ""

    @classmethod
    def now(cls, interval_ms: int) -> Contact:
        """The registry has just answered."""
        return cls(True, time.monotonic(), time.time(), interval_ms, boot_id())

    def age_ms(self) -> float:
        """Milliseconds since the registry last answered."""
        since_boot = time.monotonic() - self.monotonic
        same_boot = self.boot == boot_id() and since_boot >= 0
        return 1000 * (since_boot if same_boot else max(0.0, time.time() - self.wall))

    @property
    def fresh(self) -> bool:
        """Whether the registry was asked with success lately: within four intervals, and a second at least."""
        return self.reachable and self.age_ms() <= max(1000, 4 * self.interval_ms)


def write_contact(path: Path, contact: Contact) -> None:
    """Replace the contact file; raises OSError when the disk does not take it."""
    replace_file(path, {"schema": CONTACT_SCHEMA, **asdict(contact)})


def read_contact(path: Path) -> Contact | None:
    """The last contact; None where there is no readable one."""
    try:
        data = read_file(path)
        return Contact(**{key: value for key, value in data.items() if key != "schema"})
    except (WorkspaceError, TypeError, AttributeError):
        return None
