"""Keeps releases that rest on retracted text from becoming live, unless a person says why they may.

In: a name's state and a release. Out: what the flip's record says about it, or `Refused`.
"""

from __future__ import annotations

from typing import Any

from mlflow_project.domain.rollout import Rollout
from mlflow_project.errors import Refused
from mlflow_project.ledger import NameState, State


def check_texts(
    of: NameState, version: int, digest: str, despite: str = "", rollout: Rollout | None = None
) -> dict[str, Any]:
    """Check that a release rests on no retracted text. Returns what the record says besides.

    Args:
        despite: why the release may be live all the same.
        rollout: a rollout that is under way. If the text was retracted before it was opened, whoever opened it has
            given a reason.

    Raises:
        Refused: it rests on retracted text, and no reason is given against that.
    """
    found = of.retracted.get(digest)
    if found is None or (rollout is not None and found.serial < rollout.id):
        return {}
    if not despite.strip():
        raise Refused(
            f"{of.name}/{version} rests on text that {found.describe()}. Make a release without the text, or say why "
            'this one may be live all the same: --despite-retraction "...".'
        )
    return {"despite_retraction": found.serial}


def check_index(state: State, label: str, index: str | None) -> None:
    """Check that a new version does not pin a search index with retracted text.

    Raises:
        Refused: it does.
    """
    found = state.retraction_of_index(index) if index is not None else None
    if found is not None:
        raise Refused(
            f"{label} pins the search index {index}, which has text that {found.describe()}. Prepare the table again, "
            "build an index of it with `switchyard index`, and register a version that pins that one."
        )
