"""The settings of retrieval that a sweep tries.

In: the setting of a release. Out: its neighbours, one group for each question: weights, chunk size, number of chunks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlflow_project.domain.release import Retrieval
from mlflow_project.rules.chunking.splitter import Splitter

VECTOR_WEIGHTS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Weights of vectors that are tried beside a weight of 1 for words."""
CHUNK_COUNTS = (1, 2, 3, 5, 8, 12, 20)
SIZE_FACTORS = (0.5, 1.0, 2.0)
"""Chunk sizes that are tried, as multiples of the present one."""
OVERLAPS = (0.0, 1 / 7, 0.3)
"""Overlaps that are tried, as shares of the size."""
FLOORS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6)
"""Floors of the provider `extractive` that are tried."""
_LEAST_SIZE = 64


@dataclass(frozen=True)
class Setting:
    """How chunks are cut and found. `splitter` None: as they stand in the index that the release pins."""

    retrieval: Retrieval
    splitter: Splitter | None = None

    @property
    def name(self) -> str:
        """What people read in a table and as the name of a run."""
        found = self.retrieval
        weights = f"words {found.words_weight:g}, vectors {found.vectors_weight:g}, {found.chunks} chunks"
        joined = "" if found.fusion == "scores" else ", by ranks"
        return f"{weights}{joined}" + (f", size {_cut(self.splitter)}" if self.splitter else "")

    def parameters(self) -> dict[str, Any]:
        """For the run of this setting."""
        found = {
            "chunks": self.retrieval.chunks,
            "words_weight": self.retrieval.words_weight,
            "vectors_weight": self.retrieval.vectors_weight,
            "fusion": self.retrieval.fusion or "ranks",
        }
        cut = self.splitter
        return {**found, "size": cut.size, "overlap": cut.overlap, "unit": cut.unit} if cut else found


def weights_beside(present: Setting, *, has_vectors: bool) -> list[Setting]:
    """The present weights, and others. An index without vectors has no weights to choose."""
    if not has_vectors:
        return [present]
    pairs = [*((1.0, vectors) for vectors in VECTOR_WEIGHTS), (0.0, 1.0)]
    others = [
        replace(present.retrieval, words_weight=words, vectors_weight=vectors, fusion="scores")
        for words, vectors in pairs
    ]
    return _without_repetition([present, *(replace(present, retrieval=other) for other in others)])


def sizes_beside(present: Setting, splitter: Splitter) -> list[Setting]:
    """The present size and overlap of chunks, and others.

    With smaller chunks there are more of them, so that every setting gives the provider about as much text.
    """
    found = [replace(present, splitter=splitter)]
    for factor in SIZE_FACTORS:
        size = max(_LEAST_SIZE, round(splitter.size * factor))
        chunks = max(1, round(present.retrieval.chunks * splitter.size / size))
        for share in OVERLAPS:
            cut = Splitter(size, round(size * share), splitter.unit)
            found.append(Setting(replace(present.retrieval, chunks=chunks), cut))
    return _without_repetition(found)


def counts_beside(present: Setting) -> list[Setting]:
    """The present number of chunks, and others."""
    counts = dict.fromkeys((present.retrieval.chunks, *CHUNK_COUNTS))
    return [replace(present, retrieval=replace(present.retrieval, chunks=count)) for count in counts]


def splitter_named(name: str) -> Splitter | None:
    """The splitter that a chunk table names, as in `… size=700 overlap=100 unit=characters`; None: it is unknown."""
    fields: Mapping[str, str] = dict(part.split("=", 1) for part in name.split() if "=" in part)
    try:
        unit = fields["unit"]
        splitter = Splitter(int(fields["size"]), int(fields["overlap"]), "tokens" if unit == "tokens" else "characters")
    except (KeyError, ValueError):
        return None
    return splitter if splitter.name == name else None


def _cut(splitter: Splitter) -> str:
    return f"{splitter.size} {splitter.unit} with overlap {splitter.overlap}"


def _without_repetition(settings: list[Setting]) -> list[Setting]:
    return list({repr(each): each for each in settings}.values())
