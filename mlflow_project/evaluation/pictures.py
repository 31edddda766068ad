"""Pictures of a comparison, as PNG bytes: paired differences with their bounds, and wins and losses by tag."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from mlflow_project.domain.verdict import Check, Scores

_BETTER, _WORSE, _UNDECIDED = "#2a7f62", "#b3413b", "#8a8a8a"


def differences(checks: Sequence[Check], candidate: str, champion: str) -> bytes:
    """One bar with bounds for each metric that was tested against the champion."""
    tested = [check for check in checks if check.lower is not None and check.upper is not None]
    figure, axes = _figure(len(tested))
    for row, check in enumerate(reversed(tested)):
        colour = {True: _BETTER, False: _WORSE, None: _UNDECIDED}[check.holds]
        axes.plot([check.lower, check.upper], [row, row], color=colour, linewidth=3)
        axes.plot([((check.lower or 0.0) + (check.upper or 0.0)) / 2], [row], "o", color=colour)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(tested)), [f"{check.metric}\n({check.rule})" for check in reversed(tested)])
    axes.set_xlabel("difference in favour of the candidate, with one-sided bounds")
    axes.set_title(f"{candidate} against {champion}")
    return _png(figure)


def wins_and_losses(candidate: Scores, champion: Scores, metric: str) -> bytes:
    """For each tag, how many cases the candidate wins and loses on a metric (higher is better)."""
    counts = _counts(candidate, champion, metric)
    figure, axes = _figure(len(counts))
    for row, (_, (won, lost)) in enumerate(reversed(counts)):
        axes.barh(row, won, color=_BETTER)
        axes.barh(row, -lost, color=_WORSE)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(counts)), [tag for tag, _ in reversed(counts)])
    axes.set_xlabel(f"cases lost and won on {metric}")
    axes.set_title(f"{candidate.label} against {champion.label}")
    return _png(figure)


def _counts(candidate: Scores, champion: Scores, metric: str) -> list[tuple[str, tuple[int, int]]]:
    counts: dict[str, tuple[int, int]] = {}
    for ours, theirs, tags in zip(candidate.metrics[metric], champion.metrics[metric], candidate.tags, strict=True):
        if ours is not None and theirs is not None:
            for tag in ("all", *tags):
                won, lost = counts.get(tag, (0, 0))
                counts[tag] = (won + (ours > theirs), lost + (ours < theirs))
    return [("all", counts.pop("all")), *sorted(counts.items())] if counts else []


def _figure(rows: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.6 + 0.45 * max(rows, 1)), layout="constrained")
    return figure, figure.subplots()


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
