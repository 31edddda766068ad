"""When the registry last answered. The follower writes it after each look; workers read it to know how stale they are.

Ages are measured by the clock that counts since boot, so that setting the wall clock back changes nothing. After a
reboot they are measured by the wall clock.
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
    """The id of this boot of the machine; empty if the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class Contact:
    """When the registry last answered, by two clocks (`monotonic`, `wall`, in seconds).

    `reachable`: whether it answered at the last look. `interval_ms`: how often the follower asks it.
    """

    reachable: bool
    monotonic: float
    wall: float
    interval_ms: int
    boot: str = ""

    @classmethod
    def now(cls, interval_ms: int) -> Contact:
        """A contact at this moment."""
        return cls(True, time.monotonic(), time.time(), interval_ms, boot_id())

    def age_ms(self) -> float:
        """Milliseconds since the registry last answered."""
        since_boot = time.monotonic() - self.monotonic
        same_boot = self.boot == boot_id() and since_boot >= 0
        return 1000 * (since_boot if same_boot else max(0.0, time.time() - self.wall))

    @property
    def fresh(self) -> bool:
        """Whether the registry has answered recently: within four intervals, or within a second."""
        return self.reachable and self.age_ms() <= max(1000, 4 * self.interval_ms)


def write_contact(path: Path, contact: Contact) -> None:
    """Replace the contact file. Raises OSError if the disk cannot be written."""
    replace_file(path, {"schema": CONTACT_SCHEMA, **asdict(contact)})


def read_contact(path: Path) -> Contact | None:
    """The last contact; None: the file is missing or cannot be read."""
    try:
        data = read_file(path)
        return Contact(**{key: value for key, value in data.items() if key != "schema"})
    except (WorkspaceError, TypeError, AttributeError):
        return None
