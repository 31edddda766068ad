"""The input and output of a scorer.

In: one case with its answer, as `ScoringContext`. Out: `Score(value, reason)`. A value of None means unscored, which is
never counted as 0. A scorer is a pure function: it reads no clock, no network and no settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_project.domain.answer import Answer, Case
from mlflow_project.domain.verdict import Score
from mlflow_project.rules.citation_marks import without_marks

Similarity = Callable[[str, str], float]
"""How similar two texts are in meaning: 1 the same, 0 unrelated."""


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
        """The answer's text without citation marks; empty if there is no text, or if it is a refusal."""
        return "" if self.answer.refused else without_marks(self.answer.text or "", len(self.answer.contexts))


_LIVE = re.compile(r"^request \S+ to (\S+/\d+), judged ")
CORRECTED = "corrected"
"""The tag of a case whose expected answer a person wrote in place of the one that was given."""


def approved_release(case: Case) -> str | None:
    """The release whose live answer, which somebody approved, is what this case expects; None for other cases."""
    live = _LIVE.match(case.origin or "")
    return live[1] if live and CORRECTED not in case.tags else None


Scorer = Callable[[ScoringContext], Score]


def yes_no(holds: bool, reason: str = "") -> Score:
    """A score of 1, or of 0 with a reason."""
    return Score(1.0) if holds else Score(0.0, reason)


def unscored(reason: str) -> Score:
    """No score, because this scorer does not apply to this case."""
    return Score(None, reason)
