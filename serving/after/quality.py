"""Scores a sample of live answers by the evaluation's own scorers, as an estimate of quality and safety.

A thread scores the sample. If it cannot keep up, answers are dropped and counted; no request waits.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from mlflow_project.adapters.retrieval import embeddings
from mlflow_project.domain.answer import Case
from mlflow_project.rules.scorers.context import ScoringContext
from mlflow_project.rules.scorers.form import toxicity
from mlflow_project.rules.scorers.grounding import groundedness
from mlflow_project.rules.scorers.meaning import coherence, relevance
from mlflow_project.telemetry import catalogue
from mlflow_project.telemetry.meters import Meters
from mlflow_project.telemetry.outbox import Outbox
from serving.call import Finished

SCORERS = {"groundedness": groundedness, "relevance": relevance, "coherence": coherence, "toxicity": toxicity}
MOST_WAITING = 64
MOST_CHARS = 10_000
"""Longer answers are not scored: one would keep the interpreter busy for too long."""


class Quality:
    """Scores `share` of the answers, 0 to 1. With 0 no thread starts."""

    def __init__(self, share: float, meters: Meters) -> None:
        self._share = share
        self._meters = meters
        self.outbox = Outbox("quality", self._scored, most=MOST_WAITING, batch=8) if share else None

    def offer(self, finished: Finished) -> None:
        """Queue an answer if it is chosen for the sample."""
        answer = finished.answer if finished.succeeded else None
        if self.outbox is None or answer is None or random.random() >= self._share:
            return
        if finished.release.manifest.kind != "prompt":
            return
        if len(answer.text or "") <= MOST_CHARS:
            self.outbox.put(finished)

    def close(self) -> None:
        """Score what is left, for two seconds at most."""
        if self.outbox is not None:
            self.outbox.close()

    def _scored(self, sample: Sequence[Finished]) -> bool:
        for finished in sample:
            assert finished.answer is not None, "`offer` takes answers"
            case = Case("live", finished.question[:MOST_CHARS])
            context = ScoringContext(case, finished.answer, None, embeddings.similarity)
            for name, scorer in SCORERS.items():
                score = scorer(context)
                if score.value is not None:
                    of = {"release": finished.release.label, "arm": finished.arm}
                    self._meters.record(catalogue.ANSWER_QUALITY, score.value, **of, score=name)
        return True
