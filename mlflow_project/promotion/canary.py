"""Shows the canary of a rollout as the alias `Canary` in MLflow. Servers follow the ledger, and not this alias."""

from __future__ import annotations

from mlflow_project.domain.rollout import CANARY
from mlflow_project.ledger import NameState
from mlflow_project.parts import Parts


def point_canary(parts: Parts, of: NameState) -> int | None:
    """Point `Canary` at the version that is rolled out by the ledger, or remove it. Returns where it points now.

    Raises:
        Unavailable: MLflow does not answer.
    """
    return parts.registry.point(of.name, CANARY, of.rollout.version if of.rollout is not None else None)
