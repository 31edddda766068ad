"""What a scorer sees, and what it says.

In: one case with one answer, as `ScoringContext`. Out: `Score(value or None, reason)`; None is unscored, never 0.
A scorer is a plain function and reads nothing else: no clock, no network, no settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_project.domain.answer import Answer, Case
from mlflow_project.domain.verdict import Score
from mlflow_project.rules.citation_marks import without_marks

Similarity = Callable[[str, str], float]
"""How near two texts are in meaning: 1 the same, 0 unrelated."""


@dataclass(frozen=True)
class ScoringContext:
    """One answered case. `schema` is the release's response schema; `similarity` is None without vectors."""

    case: Case
    answer: Answer
    schema: Mapping[str, Any] | None = None
    similarity: Similarity | None = None

    @property
    def answerable(self) -> bool:
        """Whether the case has an answer at all."""
        return bool(self.case.expected)

    @property
    def said(self) -> str:
        """The answer's text without its citation marks; empty where there is none or where it is a refusal."""
        return "" if self.answer.refused else without_marks(self.answer.text or "", len(self.answer.contexts))


Scorer = Callable[[ScoringContext], Score]


def yes_no(holds: bool, reason: str = "") -> Score:
    """1 or 0, with the reason for a 0."""
    return Score(1.0) if holds else Score(0.0, reason)


def unscored(reason: str) -> Score:
    """This scorer has nothing to say about this case."""
    return Score(None, reason)
