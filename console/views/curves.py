"""Draws curves as SVG paths, so that pictures need no script. In: times and values. Out: paths and their ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import time

from mlflow_project.domain.record import seconds_of

WIDTH, HEIGHT = 640.0, 160.0
DASHES = ("none", "8 4", "2 4", "10 3 2 3", "14 4", "4 2")
"""Curves differ by dashes, and not by colour alone."""


@dataclass(frozen=True)
class Curve:
    """A curve: the SVG path, how it is dashed, and its last value (None: there is none)."""

    label: str
    path: str
    dash: str
    last: float | None


@dataclass(frozen=True)
class Drawing:
    """Curves over the same times. `top` is the value of the upper edge."""

    curves: Sequence[Curve]
    top: float


def drawing(times: Sequence[float], values: Mapping[str, Sequence[float | None]]) -> Drawing:
    """Scale all curves to one height, from 0 to their largest value."""
    top = max((value for row in values.values() for value in row if value is not None), default=0.0) or 1.0
    begin, length = (times[0], times[-1] - times[0] or 1.0) if times else (0.0, 1.0)
    curves = []
    for number, (label, row) in enumerate(sorted(values.items())):
        path, drawn = "", False
        for at, value in zip(times, row, strict=True):
            if value is not None:
                x, y = WIDTH * (at - begin) / length, HEIGHT * (1 - max(0.0, value) / top)
                path += f"{'L' if drawn else 'M'}{x:.1f} {y:.1f}"
            drawn = value is not None
        last = next((value for value in reversed(row) if value is not None), None)
        curves.append(Curve(label, path, DASHES[number % len(DASHES)], last))
    return Drawing(curves, top)


def flip_places(times: Sequence[str], hours: int) -> list[str]:
    """Where these times stand on an axis of the last hours."""
    length = 3600.0 * hours
    shares = (1 - (time() - seconds_of(each)) / length for each in times)
    return [f"{WIDTH * share:.1f}" for share in shares if 0 <= share <= 1]
