"""Why the server does not serve the version that an alias names: short labels for metrics and programs. The sentence
beside a label is for people."""

from __future__ import annotations

from typing import Literal

from mlflow_project.errors import IndexBroken, SealBroken

Cause = Literal[
    "unsealed",
    "broken_seal",
    "broken_index",
    "alias_gone",
    "moved_by_hand",
    "undone_flip",
    "ledger_unread",
    "not_fetched",
    "not_warmed",
    "unknown",
]
"""`unknown`: written by a version of Switchyard that named none."""


def cause_of(error: BaseException, otherwise: Cause) -> Cause:
    """`broken_seal` where a seal did not hold, `broken_index` where an index did not; else `otherwise`."""
    if isinstance(error, SealBroken):
        return "broken_seal"
    return "broken_index" if isinstance(error, IndexBroken) else otherwise
