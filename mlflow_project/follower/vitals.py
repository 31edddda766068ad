"""Measures how long each flip that has not ended has been open."""

from __future__ import annotations

from datetime import UTC, datetime

from mlflow_project.ledger import State
from mlflow_project.telemetry.catalogue import FLIP_OPEN
from mlflow_project.telemetry.meters import Meters


def measure_open_flips(state: State, meters: Meters) -> None:
    """Record the seconds since the intent record of each name's open flip; 0: the name has no open flip."""
    for name, known in state.names.items():
        intent = known.intent
        seconds = (datetime.now(UTC) - datetime.fromisoformat(intent.time)).total_seconds() if intent else 0.0
        meters.record(FLIP_OPEN, seconds, name=name)
