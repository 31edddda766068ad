"""Counts of a model's predictions by kind, and the bins in which the guard compares their shares.

A kind is a short text: a whole number from -255 to 255 as it is, any other number by its bucket (buckets are 2 % wide),
a text by one of 256 hashes. So an arm has a bounded number of kinds, and no text that a model answers is published. A
prediction of several numbers, such as probabilities, counts by the place of the largest one.

The old release sets the bins. Up to eight kinds have a bin each. More numbers are divided into eighths, of more texts
the seven most frequent have a bin each. Other kinds, such as those that the old release never predicted, share one bin.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlflow_project.errors import InvalidData
from mlflow_project.rules.guard.betting import Tally

Kinds = Mapping[str, int]
MOST_BINS = 8
_AS_IT_IS = 255
_BUCKETS_AN_OCTAVE, _MOST_OCTAVES = 32, 64


def kind_of(prediction: Any) -> str | None:
    """The kind of one row's prediction. None: it is neither a finite number nor a text."""
    values = np.asarray(prediction).ravel()
    if values.size == 0:
        return None
    if values.size > 1:
        return str(int(np.argmax(values))) if values.dtype.kind in "biuf" else None
    value = values[0].item() if hasattr(values[0], "item") else values[0]
    if isinstance(value, str):
        return f"#{hashlib.sha256(value.encode(errors='replace')).hexdigest()[:2]}"
    if not isinstance(value, bool | int | float) or not math.isfinite(value):
        return None
    if abs(value) <= _AS_IT_IS and value == int(value):
        return str(int(value))
    octave = max(-_MOST_OCTAVES, min(_MOST_OCTAVES, math.log2(abs(value))))
    return f"{'-' if value < 0 else '+'}b{math.ceil(_BUCKETS_AN_OCTAVE * octave)}"


@dataclass(frozen=True)
class Bins:
    """Bins of kinds: one for each of `kinds` and one for the others. Where there are `edges`: the numbers up to each
    edge, and above the last."""

    kinds: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()

    @classmethod
    def of(cls, old: Kinds) -> Bins:
        """The bins that the old release's predictions set."""
        numbers = {kind: _number(kind) for kind in old}
        if len(old) <= MOST_BINS or any(number is None for number in numbers.values()):
            often = sorted(old, key=lambda kind: (-old[kind], kind))
            return cls(kinds=tuple(often if len(old) <= MOST_BINS else often[: MOST_BINS - 1]))
        ordered = sorted((number, old[kind]) for kind, number in numbers.items() if number is not None)
        edges: list[float] = []
        total, below = sum(old.values()), 0
        for number, count in ordered[:-1]:
            below += count
            if below >= (len(edges) + 1) * total / MOST_BINS:
                edges.append(number)
        return cls(edges=tuple(edges or [ordered[0][0]]))

    def tally(self, found: Kinds) -> Tally:
        """Counts by bin: how many predictions fall into each bin, and then how many fall outside of it, because a share
        that falls is drift, too."""
        inside = np.zeros(max(len(self.kinds), len(self.edges)) + 1)
        for kind, count in found.items():
            inside[self._place(kind)] += count
        total = inside.sum()
        return Tally(np.full(2 * len(inside), total), np.concatenate([inside, total - inside]))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"kinds": list(self.kinds), "edges": list(self.edges)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Sequence[Any]]) -> Bins:
        """Read what `to_dict` wrote.

        Raises:
            InvalidData: it has another form.
        """
        try:
            return cls(tuple(map(str, data["kinds"])), tuple(map(float, data["edges"])))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidData(f"The bins of predictions cannot be read: {error!r}.") from error

    def _place(self, kind: str) -> int:
        if not self.edges:
            return self.kinds.index(kind) if kind in self.kinds else len(self.kinds)
        number = _number(kind)
        return len(self.edges) if number is None else int(np.searchsorted(self.edges, number))


def _number(kind: str) -> float | None:
    """The number of a kind: that of a bucket is its upper end. None: it is a text."""
    sign, is_bucket, bucket = kind.partition("b")
    try:
        if not is_bucket:
            return float(int(kind))
        return math.copysign(math.exp2(int(bucket) / _BUCKETS_AN_OCTAVE), -1.0 if sign == "-" else 1.0)
    except (ValueError, OverflowError):
        return None
