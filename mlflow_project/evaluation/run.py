"""Evaluate one release on cases: ask, score, keep as an MLflow run. The scores come back for whoever wants them at
once.

In: a release, cases, a way to ask, a bench of scorers. Out: `Scores`, whose `run` is the MLflow run. A complete run of
the same release on the same cases by the same scorers is found again instead of being made again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_project.adapters.experiments import Experiments
from mlflow_project.domain.answer import Case
from mlflow_project.domain.release import Release
from mlflow_project.domain.verdict import Scores
from mlflow_project.evaluation.answers import AnswerCache
from mlflow_project.evaluation.asking import Ask, Outcome, Plan, Progress, ask_all
from mlflow_project.evaluation.cases import cases_digest
from mlflow_project.evaluation.record import fill_run, find_run, scores_of, start_run
from mlflow_project.evaluation.scoring import Scored, score_all
from mlflow_project.evaluation.traces import log_traces, sample
from mlflow_project.rules import scorers as scorers_package
from mlflow_project.rules.scorers import SCORERS, Scorer
from mlflow_project.rules.scorers.context import Similarity

Opened = Callable[[], AbstractAsyncContextManager[Ask]]


@dataclass(frozen=True)
class Bench:
    """What an evaluation needs besides release and cases: where runs go, where answers are kept, how to score.

    `traces` is how many answers also go through `mlflow.genai.evaluate`, for MLflow's own pages.
    """

    experiments: Experiments
    answers: Path
    plan: Plan = field(default_factory=Plan)
    scorers: Mapping[str, Scorer] = field(default_factory=lambda: dict(SCORERS))
    similarity: Similarity | None = None
    traces: int = 0
    progress: Progress = lambda done, total, cost: None


def known_scores(release: Release, cases: Sequence[Case], bench: Bench) -> Scores | None:
    """The scores of a complete run that is there already."""
    run = find_run(bench.experiments, release, cases_digest(cases), scorers_digest(bench.scorers))
    return scores_of(bench.experiments, run) if run else None


def evaluate(release: Release, cases: Sequence[Case], opened: Opened, bench: Bench) -> Scores:
    """Evaluate, and log one run.

    Args:
        opened: opens the way to ask, inside the event loop that asks, and closes it.

    Raises:
        Refused: the budget is spent.
        Unavailable: MLflow does not answer. Answers that were had are kept.
    """
    digest = cases_digest(cases)
    run = start_run(bench.experiments, release, digest, scorers_digest(bench.scorers))
    finished = "FAILED"
    try:
        cache = AnswerCache(bench.answers, release.digest)
        outcomes = asyncio.run(_asked(cases, opened, cache, bench))
        scored = score_all(outcomes, bench.scorers, release.manifest.response_schema, bench.similarity)
        scores = _scores(release, digest, cases, scored, run.id)
        fill_run(bench.experiments, run, release, outcomes, scored, scores)
        if shown := sample(outcomes, bench.traces, digest):
            schema = release.manifest.response_schema
            log_traces(bench.experiments.uri, run, shown, bench.scorers, schema, bench.similarity)
        finished = "FINISHED"
    finally:
        bench.experiments.finish(run, status=finished)
    return scores


def scorers_digest(scorers: Mapping[str, Scorer]) -> str:
    """Names the scorers' bench: their names, and the code of the package that holds them."""
    digest = hashlib.sha256("\n".join(sorted(scorers)).encode())
    for file in sorted(Path(scorers_package.__path__[0]).glob("*.py")):
        digest.update(file.read_bytes())
    return "sha256:" + digest.hexdigest()


async def _asked(cases: Sequence[Case], opened: Opened, cache: AnswerCache, bench: Bench) -> tuple[Outcome, ...]:
    async with opened() as ask:
        return await ask_all(cases, ask, cache, bench.plan, bench.progress)


def _scores(release: Release, digest: str, cases: Sequence[Case], scored: Scored, run: str) -> Scores:
    return Scores(
        label=release.label,
        digest=release.digest,
        cases_digest=digest,
        case_ids=tuple(case.id for case in cases),
        metrics={name: tuple(score.value for score in column) for name, column in scored.scores.items()},
        errors=scored.errors,
        tags=tuple(case.tags for case in cases),
        run=run,
    )
