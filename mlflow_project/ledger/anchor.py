"""The newest record of a ledger that this host has seen, kept in a small file outside the object store.

In: serial and digest of the newest record. Out: the same again, for a later process. A chain that does not contain this
record was cut or rewritten, even where it is consistent in itself. All processes of a host share the file; it only ever
moves forward.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from mlflow_project.errors import ConfigError
from mlflow_project.private_files import exclusive, write_private

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Head:
    """The newest record of a ledger: its serial, and the digest of its bytes. `passed_over` are the serials up to it of
    objects that were no records of the chain."""

    serial: int
    digest: str
    passed_over: tuple[int, ...] = ()


class Anchor:
    """The file of one ledger, which is named by where that ledger lies, such as `http://127.0.0.1:9000/ledger-bucket`.

    A file that cannot be read or written is logged and counts as empty: the ledger can still be used.
    """

    def __init__(self, folder: Path, ledger: str) -> None:
        self.path = folder / f"head-{hashlib.sha256(ledger.encode()).hexdigest()[:16]}.json"
        self._ledger = ledger

    def read(self) -> Head | None:
        """The newest head that any process of this host has seen; None: none yet."""
        try:
            data = json.loads(self.path.read_bytes())
            return Head(int(data["serial"]), str(data["digest"]), tuple(data.get("passed_over", ())))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.error("the newest known ledger record cannot be read", extra=self._note(error))
            return None

    def advance(self, head: Head) -> None:
        """Keep this head unless a newer one is kept already."""
        try:
            with exclusive(self.path):
                known = self.read()
                if known is None or known.serial < head.serial:
                    write_private(self.path, json.dumps({"ledger": self._ledger, **asdict(head)}))
        except ConfigError as error:
            logger.warning("the newest known ledger record cannot be kept", extra=self._note(error))

    def _note(self, error: Exception) -> dict[str, str]:
        return {"path": str(self.path), "error": str(error)}
