"""Reads the ledger for the follower.

In: the ledger's records. Out: the newest `State` that could be read, and whether a flip is under way.
"""

from __future__ import annotations

import logging
import time

from mlflow_project.errors import WorkspaceError
from mlflow_project.follower.vitals import measure_open_flips
from mlflow_project.ledger import Ledger, State
from mlflow_project.telemetry.meters import Meters

logger = logging.getLogger(__name__)

FLIP_SECONDS = 10.0
"""How long after its intent record a flip is expected to move its alias."""


class LedgerReader:
    """Keeps the newest state between two looks of the follower.

    Attributes:
        state: the newest state that could be read; None before the first one.
        is_current: whether the last `read` reached the ledger.
    """

    def __init__(self, ledger: Ledger, meters: Meters | None) -> None:
        self.ledger = ledger
        self.state: State | None = None
        self.is_current = False
        self._meters = meters
        self._logged = ""
        self._flip_until = 0.0

    @property
    def flip_under_way(self) -> bool:
        """Whether a flip has begun in the last seconds, so that its alias is about to move."""
        return time.monotonic() < self._flip_until

    def read(self, *, whole: bool) -> bool:
        """Take the newest state. Returns whether it may differ from the state before.

        A ledger that cannot be read changes nothing but `is_current`. Each complaint is logged once.

        Args:
            whole: list all records, instead of asking only whether there is a newer one.
        """
        self.is_current = False
        try:
            if not whole and self.state is not None and not self.ledger.has_news():
                self.is_current = True
                return False
            complaint = self._take(self.ledger.state())
        except (WorkspaceError, LookupError, TypeError, ValueError, AttributeError) as error:
            complaint = str(error) or repr(error)
        if complaint and complaint != self._logged:
            logger.error(
                "the ledger has records that cannot be read; the host serves what it served",
                extra={"error": complaint},
            )
        self._logged = complaint
        return self.is_current

    def _take(self, state: State) -> str:
        """Keep a state that was read. Returns which of its records could not be understood."""
        before, self.state, self.is_current = self.state, state, True
        if before is None or before.serial != state.serial:
            is_open = any(known.intent is not None for known in state.names.values())
            self._flip_until = time.monotonic() + FLIP_SECONDS if is_open else 0.0
        if self._meters is not None:
            measure_open_flips(state, self._meters)
        skipped = [f"record {each.serial}, {each.type}: {each.why}" for each in state.strange]
        skipped += [f"record {serial} lies beyond the ledger's end" for serial in state.ahead[:10]]
        return "; ".join(skipped)
