"""Keeps the digests of what versions contain in MLflow now.

In: the versions that aliases name. Out: the digest of each version's present content. A version whose alias has just
moved is read at once. Each whole look reads a few of the others again, those first that were read longest ago: one,
plus one for every twenty versions, at most five. So a look costs about the same however many names there are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from dataclasses import dataclass, field

from mlflow_project.adapters.registry import Registry
from mlflow_project.adapters.releases import present_digest

RECHECK_SECONDS = 1.0
_MOST_AT_ONCE = 5

_Key = tuple[str, int]


@dataclass
class Contents:
    """Digests by name and version; None: the version was deleted, or cannot be read."""

    registry: Registry
    _known: dict[_Key, tuple[float, str | None]] = field(default_factory=dict)

    def refresh(self, wanted: Collection[_Key], moved: Collection[_Key]) -> None:
        """Read the versions that are new, that an alias has just moved to, or that are due. Forget all but `wanted`.

        Raises:
            Unavailable: MLflow does not answer.
        """
        self._known = {key: known for key, known in self._known.items() if key in wanted}
        now = time.monotonic()
        asked = {key: self._known.get(key, (-math.inf, None))[0] for key in wanted}
        due = sorted((key for key in wanted if now - asked[key] >= RECHECK_SECONDS), key=asked.__getitem__)
        share = min(_MOST_AT_ONCE, 1 + len(wanted) // 20)
        for key in {*moved, *due[:share], *(key for key in wanted if key not in self._known)}:
            self._known[key] = (time.monotonic(), present_digest(self.registry, *key))

    def digest(self, name: str, version: int) -> str | None:
        """The digest of a version that the last `refresh` wanted."""
        return self._known[name, version][1]
