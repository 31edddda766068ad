"""Evaluate one release on cases: ask them, then score the answers as one MLflow run.

In: a release, cases, a way to ask, a bench of scorers. Out: `Scores`, whose `run` is the MLflow run. A complete run of
the same release on the same cases by the same scorers is reused.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
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
from mlflow_project.evaluation.cases import cases_digest, groups_of
from mlflow_project.evaluation.judge import METRIC, Judge, judge_all
from mlflow_project.evaluation.library_metrics import library_metrics
from mlflow_project.evaluation.mlflow_run import evaluate_in_run, import_mlflow, mlflow_run, origin_tags
from mlflow_project.evaluation.record import (
    CASES_TAG,
    COMPLETE_TAG,
    EVALUATE,
    SCORERS_TAG,
    experiment_name,
    find_run,
    keep,
    run_tags,
    scores_of,
)
from mlflow_project.evaluation.scoring import Scored, ScoreFunction, score_functions
from mlflow_project.evaluation.traces import log_traces, sample
from mlflow_project.rules import scorers as scorers_package
from mlflow_project.rules.masking import Masker
from mlflow_project.rules.scorers import SCORERS, Scorer
from mlflow_project.rules.scorers.context import Similarity

Opened = Callable[[], AbstractAsyncContextManager[Ask]]
Step = Callable[[str], AbstractContextManager[Progress]]
"""Called with the name of a step, as a context that lasts as long as the step and gives a `Progress`."""


@contextmanager
def _silently(_: str) -> Iterator[Progress]:
    yield lambda done, total, cost: None


@dataclass(frozen=True)
class Bench:
    """What an evaluation needs besides release and cases: where runs, scores and answers are kept, and how to score.

    `source` is where the cases come from. `user` is who evaluates, as MLflow shows it. `library` names metrics of the
    `evaluate` library, whose cache is in `home`.
    `step` shows a person what the time is spent on. `purpose` names the MLflow experiment, as in `evaluate-qa`.
    """

    experiments: Experiments
    store: ObjectStore
    answers: Path
    plan: Plan = field(default_factory=Plan)
    scorers: Mapping[str, Scorer] = field(default_factory=lambda: dict(SCORERS))
    similarity: Similarity | None = None
    source: str = ""
    library: tuple[str, ...] = ()
    home: Path = Path("huggingface")
    judge: Judge | None = None
    user: str = ""
    masker: Masker = field(default_factory=Masker)
    step: Step = _silently
    purpose: str = EVALUATE


def known_scores(release: Release, cases: Sequence[Case], bench: Bench) -> Scores | None:
    """The scores of a complete run of this release on these cases by these scorers, if nobody has edited them."""
    tags = {CASES_TAG: cases_digest(cases), SCORERS_TAG: scorers_digest(bench), COMPLETE_TAG: "yes"}
    run = find_run(bench.experiments, release, tags, bench.purpose)
    try:
        return scores_of(bench.experiments, bench.store, run) if run else None
    except (InvalidData, SealBroken):
        return None


def evaluate(release: Release, cases: Sequence[Case], opened: Opened, bench: Bench) -> Scores:
    """Ask, score, and keep one MLflow run. An interrupted evaluation leaves its answers, and no run.

    Args:
        opened: opens the way to ask, inside the event loop that asks, and closes it.

    Raises:
        Refused: the budget is spent.
        Unavailable: MLflow does not answer. The answers are kept.
    """
    experiment = bench.experiments.experiment(
        experiment_name(release.name, bench.purpose)
    )  # before any answer is paid for
    outcomes = _asked(release, cases, opened, bench)
    functions = score_functions(bench.scorers, release.manifest.response_schema, bench.similarity)
    if bench.judge:
        functions[METRIC] = _judged(release, outcomes, bench.judge, bench)
    with bench.step(f"{release.label}: loading MLflow's client"):
        import_mlflow(bench.home if bench.library else None)
    digest = cases_digest(cases)
    tags = run_tags(release, digest, scorers_digest(bench)) | origin_tags(bench.user)
    with (
        bench.step(f"{release.label}: scoring by mlflow.models.evaluate"),
        mlflow_run(bench.experiments.uri, experiment, release.label, tags) as run,
    ):
        library = library_metrics(bench.library, {outcome.case.id: outcome for outcome in outcomes})
        scored = evaluate_in_run(outcomes, functions, library, (bench.source, digest), bench.masker)
        scores = _scores(release, digest, cases, scored, run)
        return keep(bench.experiments, bench.store, bench.experiments.get(run), release, scores)


def trace_sample(release: Release, cases: Sequence[Case], scores: Scores, size: int, bench: Bench) -> None:
    """Log a sample of the kept answers as traces, in a child of the release's run.

    Raises:
        Unavailable: MLflow does not take them.
    """
    answers = AnswerCache(bench.answers, release.digest)
    shown = sample([Outcome(case, answers.get(case)) for case in cases], size, scores.cases_digest)
    if not shown:
        return
    run, schema = bench.experiments.get(scores.run or ""), release.manifest.response_schema
    with bench.step(f"{release.label}: {len(shown)} traces by mlflow.genai.evaluate"):
        log_traces(bench.experiments.uri, run, shown, bench.scorers, schema, bench.similarity, bench.masker)


def scorers_digest(bench: Bench) -> str:
    """A digest of how answers are scored: names and code of the scorers, the judge, the library's metrics."""
    digest = hashlib.sha256("\n".join(sorted(bench.scorers)).encode())
    for file in sorted(Path(scorers_package.__path__[0]).glob("*.py")):
        digest.update(file.read_bytes())
    digest.update(bench.judge.release.digest.encode() if bench.judge else b"")
    digest.update(" ".join(bench.library).encode())
    return "sha256:" + digest.hexdigest()


def _asked(release: Release, cases: Sequence[Case], opened: Opened, bench: Bench) -> tuple[Outcome, ...]:
    cache = AnswerCache(bench.answers, release.digest)

    async def ask_them(progress: Progress) -> tuple[Outcome, ...]:
        async with opened() as ask:
            return await ask_all(cases, ask, cache, bench.plan, progress)

    with bench.step(f"{release.label}: asking") as progress:
        return asyncio.run(ask_them(progress))


def _judged(release: Release, outcomes: Sequence[Outcome], judge: Judge, bench: Bench) -> ScoreFunction:
    """The judge's score of each outcome. All are asked for now, because many can be asked at once."""
    cache = AnswerCache(bench.answers, judge.release.digest)
    with bench.step(f"{release.label}: judging by {judge.release.label}") as progress:
        column = asyncio.run(judge_all(outcomes, judge, cache, bench.plan, progress))
    scores = {outcome.case.id: score for outcome, score in zip(outcomes, column, strict=True)}
    return lambda outcome: scores[outcome.case.id]


def _scores(release: Release, digest: str, cases: Sequence[Case], scored: Scored, run: str) -> Scores:
    return Scores(
        label=release.label,
        digest=release.digest,
        cases_digest=digest,
        case_ids=tuple(case.id for case in cases),
        metrics={name: tuple(score.value for score in column) for name, column in scored.scores.items()},
        errors=scored.errors,
        tags=tuple(map(groups_of, cases)),
        run=run,
    )
