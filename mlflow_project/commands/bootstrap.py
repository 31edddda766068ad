"""Builds the parts of a command, and sends what it measured when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow_project.parts import Parts


@contextmanager
def command_parts() -> Iterator[Parts]:
    """Build the parts from settings. At the end of the block, send the metrics that the command has recorded.

    Raises:
        ConfigError: a setting is missing or wrong.
    """
    from mlflow_project.parts import Parts
    from mlflow_project.telemetry.sending import send_once

    parts = Parts.connect()
    try:
        yield parts
    finally:
        send_once(parts.meters, "switchyard-command")
