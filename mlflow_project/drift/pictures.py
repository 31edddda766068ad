"""Draws a window as PNG: its questions beside the reference's questions in a plane, and the score of each check."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from mlflow_project.drift.watch import Drawn
from mlflow_project.rules.drift.calibration import Found

MOST_BARS = 40
_BEFORE, _NOW, _ALARM = "#8a8a8a", "#2a7f62", "#b3413b"


def projection(drawn: Drawn, release: str) -> bytes:
    """The questions of window and reference, in the plane of the reference's two main directions."""
    figure, axes = _figure(6.0)
    for points, colour, name in ((drawn.points_before, _BEFORE, "reference"), (drawn.points, _NOW, "window")):
        axes.scatter([x for x, _ in points], [y for _, y in points], s=6, alpha=0.5, color=colour, label=name)
    axes.legend()
    axes.set_title(f"Questions to {release}")
    return _png(figure)


def scores(found: Sequence[Found], release: str) -> bytes:
    """One bar per check, for the `MOST_BARS` with the highest scores. A bar beyond 1 raises an alarm."""
    found = found[:MOST_BARS]
    figure, axes = _figure(1.6 + 0.35 * len(found))
    rows = range(len(found))
    axes.barh(
        rows, [one.score for one in reversed(found)], color=[_ALARM if one.alarm else _NOW for one in reversed(found)]
    )
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(rows, [one.check for one in reversed(found)])
    axes.set_xlabel("distance from the usual, by its threshold")
    axes.set_title(release)
    return _png(figure)


def _figure(height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, height), layout="constrained")
    return figure, figure.subplots()


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
