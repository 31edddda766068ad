"""Proxies for quality and safety on a sample of live answers, by the evaluation's own scorers, off the request path.

A thread scores what the sample took; when it cannot keep up, answers are dropped and counted, never waited for.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from mlflow_project.adapters.retrieval import embeddings
from mlflow_project.answering.question import question_slot
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
"""Longer answers are not scored: one would hold the thread, and with it the interpreter, for too long."""


class Quality:
    """`share`, 0 to 1, of the answers is scored; 0 starts no thread."""

    def __init__(self, share: float, meters: Meters) -> None:
        self._share = share
        self._meters = meters
        self.outbox = Outbox("quality", self._scored, most=MOST_WAITING, batch=8) if share else None

    def offer(self, finished: Finished) -> None:
        """Take a share of the answers into the sample."""
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
            slot = question_slot(finished.variables)
            question = finished.variables[slot] if slot else " ".join(finished.variables.values())
            case = Case("live", question[:MOST_CHARS])
            context = ScoringContext(case, finished.answer, None, embeddings.similarity)
            for name, scorer in SCORERS.items():
                score = scorer(context)
                if score.value is not None:
                    self._meters.record(
                        catalogue.ANSWER_QUALITY, score.value, release=finished.release.label, score=name
                    )
        return True
