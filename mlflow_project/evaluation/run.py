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
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.answer import Case
from mlflow_project.domain.release import Release
from mlflow_project.domain.verdict import Scores
from mlflow_project.errors import InvalidData, SealBroken
from mlflow_project.evaluation.answers import AnswerCache
from mlflow_project.evaluation.asking import Ask, Outcome, Plan, Progress, ask_all
from mlflow_project.evaluation.cases import cases_digest
from mlflow_project.evaluation.extras import Extras
from mlflow_project.evaluation.judge import METRIC, Judge, judge_all
from mlflow_project.evaluation.record import (
    CASES_TAG,
    COMPLETE_TAG,
    SCORERS_TAG,
    fill_run,
    find_run,
    scores_of,
    start_run,
)
from mlflow_project.evaluation.scoring import Scored, score_all
from mlflow_project.rules import scorers as scorers_package
from mlflow_project.rules.scorers import SCORERS, Scorer
from mlflow_project.rules.scorers.context import Similarity

Opened = Callable[[], AbstractAsyncContextManager[Ask]]


@dataclass(frozen=True)
class Bench:
    """What an evaluation needs besides release and cases: where runs and scores go, where answers are kept, how to
    score.

    `source` is where the cases came from; `judge` is an LLM with a rubric; `extras` are done beside it and decide
    nothing.
    """

    experiments: Experiments
    store: ObjectStore
    answers: Path
    plan: Plan = field(default_factory=Plan)
    scorers: Mapping[str, Scorer] = field(default_factory=lambda: dict(SCORERS))
    similarity: Similarity | None = None
    source: str = ""
    extras: Extras | None = None
    judge: Judge | None = None
    progress: Progress = lambda done, total, cost: None


def known_scores(release: Release, cases: Sequence[Case], bench: Bench) -> Scores | None:
    """The scores of a complete run that is there already, and that nobody has edited."""
    tags = {CASES_TAG: cases_digest(cases), SCORERS_TAG: scorers_digest(bench), COMPLETE_TAG: "yes"}
    run = find_run(bench.experiments, release, tags)
    try:
        return scores_of(bench.experiments, bench.store, run) if run else None
    except (InvalidData, SealBroken):
        return None


def evaluate(release: Release, cases: Sequence[Case], opened: Opened, bench: Bench) -> Scores:
    """Evaluate, and log one run.

    Args:
        opened: opens the way to ask, inside the event loop that asks, and closes it.

    Raises:
        Refused: the budget is spent.
        Unavailable: MLflow does not answer. Answers that were had are kept.
    """
    digest = cases_digest(cases)
    run = start_run(bench.experiments, release, digest, scorers_digest(bench))
    bench.experiments.log_dataset(run, digest=digest, source=bench.source, rows=len(cases))
    if bench.extras:
        bench.extras.start()
    finished = "FAILED"
    try:
        outcomes = asyncio.run(_asked(release, cases, opened, bench))
        scored = _scored(release, outcomes, bench)
        scores = _scores(release, digest, cases, scored, run.id)
        scores = fill_run(bench.experiments, bench.store, run, release, outcomes, scored, scores)
        finished = "FINISHED"
        if bench.extras:
            bench.extras.add(run, outcomes, release.manifest.response_schema, bench.similarity)
    finally:
        bench.experiments.finish(run, status=finished)
    return scores


def scorers_digest(bench: Bench) -> str:
    """Names the scorers: their names, the code of the package that holds them, the judge, the library's metrics."""
    digest = hashlib.sha256("\n".join(sorted(bench.scorers)).encode())
    for file in sorted(Path(scorers_package.__path__[0]).glob("*.py")):
        digest.update(file.read_bytes())
    digest.update(bench.judge.release.digest.encode() if bench.judge else b"")
    digest.update(" ".join(bench.extras.library).encode() if bench.extras else b"")
    return "sha256:" + digest.hexdigest()


async def _asked(release: Release, cases: Sequence[Case], opened: Opened, bench: Bench) -> tuple[Outcome, ...]:
    cache = AnswerCache(bench.answers, release.digest)
    async with opened() as ask:
        return await ask_all(cases, ask, cache, bench.plan, bench.progress)


def _scored(release: Release, outcomes: Sequence[Outcome], bench: Bench) -> Scored:
    scored = score_all(outcomes, bench.scorers, release.manifest.response_schema, bench.similarity)
    if bench.judge is None:
        return scored
    cache = AnswerCache(bench.answers, bench.judge.release.digest)
    return scored.joined(METRIC, asyncio.run(judge_all(outcomes, bench.judge, cache, bench.plan, bench.progress)))


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
