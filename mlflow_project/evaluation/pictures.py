"""Draws a comparison as PNG: paired differences with their bounds, and wins and losses by tag."""

from __future__ import annotations

import io
import math
from typing import Any

from mlflow_project.domain.verdict import Scores
from mlflow_project.rules.gate.comparison import Comparison, compare, pairs

CONFIDENCE = 0.95
_BETTER, _WORSE, _SHIFTED, _SAME = "#2a7f62", "#b3413b", "#1f5f99", "#8a8a8a"


def differences(candidate: Scores, champion: Scores) -> bytes:
    """The mean difference with its bounds, for each metric on which both were scored, each on its own scale."""
    found = _compared(candidate, champion)
    figure, axes = _figure(len(found), len(found))
    for (metric, row), ax in zip(found, axes, strict=False):
        ax.set_yticks([0], [f"{metric} ({row.pairs})"])
        colour = _SAME if row.lower <= 0 <= row.upper else _SHIFTED
        ax.plot([row.lower, row.upper], [0, 0], color=colour, linewidth=3)
        ax.plot([row.difference], [0], "o", color=colour)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.tick_params(axis="x", labelsize=7)
    figure.suptitle(f"{candidate.label} minus {champion.label}: paired difference, {CONFIDENCE:.0%} one-sided bounds")
    return _png(figure)


def wins_and_losses(candidate: Scores, champion: Scores, metric: str) -> bytes | None:
    """How many cases of each tag the candidate wins and loses on a metric (higher is better); None without pairs."""
    counts = _counts(candidate, champion, metric)
    if not counts:
        return None
    figure, (axes,) = _figure(1, len(counts))
    for row, (_, (won, lost)) in enumerate(reversed(counts)):
        axes.barh(row, won, color=_BETTER)
        axes.barh(row, -lost, color=_WORSE)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(counts)), [tag for tag, _ in reversed(counts)])
    axes.set_xlabel(f"cases lost and won on {metric}")
    axes.set_title(f"{candidate.label} against {champion.label}")
    return _png(figure)


def _compared(candidate: Scores, champion: Scores) -> list[tuple[str, Comparison]]:
    """The metrics with at least two pairs of finite values, each compared."""
    found = []
    for metric in candidate.metrics:
        ours, theirs = pairs(candidate, champion, metric)
        if len(ours) > 1 and all(map(math.isfinite, ours + theirs)):
            found.append((metric, compare(ours, theirs, None, CONFIDENCE)))
    return found


def _counts(candidate: Scores, champion: Scores, metric: str) -> list[tuple[str, tuple[int, int]]]:
    tags = sorted({tag for of_case in candidate.tags for tag in of_case})
    counts = []
    for tag in (None, *tags):
        ours, theirs = pairs(candidate, champion, metric, tag)
        won, lost = (sum(a > b for a, b in zip(x, y, strict=True)) for x, y in ((ours, theirs), (theirs, ours)))
        if ours:
            counts.append((tag or "all", (won, lost)))
    return counts


def _figure(panels: int, rows: int) -> tuple[Any, list[Any]]:
    """A figure with panels one below the other, high enough for that many rows of text."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 + 0.45 * max(rows, 1)), layout="constrained")
    return figure, list(figure.subplots(max(panels, 1), squeeze=False)[:, 0])


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
