"""Proxies for quality and safety on a sample of live answers, by the evaluation's own scorers, off the request path.

A thread scores what the sample took; when it cannot keep up, answers are dropped and counted, never waited for.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow_project.adapters.retrieval import embeddings
from mlflow_project.answering.question import question_slot
from mlflow_project.domain.answer import Answer, Case
from mlflow_project.domain.release import Release
from mlflow_project.rules.scorers.context import ScoringContext
from mlflow_project.rules.scorers.form import toxicity
from mlflow_project.rules.scorers.grounding import groundedness
from mlflow_project.rules.scorers.meaning import coherence, relevance
from mlflow_project.telemetry import catalogue
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.outbox import Outbox

SCORERS = {"groundedness": groundedness, "relevance": relevance, "coherence": coherence, "toxicity": toxicity}
MOST_WAITING = 64
MOST_CHARS = 10_000
"""Longer answers are not scored: one would hold the thread, and with it the interpreter, for too long."""


@dataclass(frozen=True)
class _Sampled:
    release: str
    question: str
    answer: Answer


class Quality:
    """`share`, 0 to 1, of the answers is scored; 0 starts no thread."""

    def __init__(self, share: float, meters: Meters) -> None:
        self._share = share
        self._meters = meters
        self.outbox = Outbox("quality", self._scored, most=MOST_WAITING, batch=8) if share else None

    def offer(self, release: Release, variables: Mapping[str, str], answer: Answer) -> None:
        """Perhaps take this answer into the sample."""
        if self.outbox is None or random.random() >= self._share or len(answer.text or "") > MOST_CHARS:
            return
        slot = question_slot(variables)
        question = variables[slot] if slot else " ".join(variables.values())
        self.outbox.put(_Sampled(release.label, question[:MOST_CHARS], answer))

    def close(self) -> None:
        """Score what is left, for two seconds at most."""
        if self.outbox is not None:
            self.outbox.close()

    def _scored(self, sample: Sequence[_Sampled]) -> bool:
        for one in sample:
            context = ScoringContext(Case("live", one.question), one.answer, None, embeddings.similarity)
            for name, scorer in SCORERS.items():
                score = scorer(context)
                if score.value is not None:
                    self._meters.record(catalogue.ANSWER_QUALITY, score.value, release=one.release, score=name)
        return True
