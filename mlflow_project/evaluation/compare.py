"""Judge the runs of a candidate and a champion: `judge(candidate, champion, policy, …) -> Judged`.

In: two releases whose runs are in MLflow, and the policy. Out: the gate's verdict, the scores, and the address of
MLflow's page for the runs. Nothing is asked again. `picture` and `keep_verdict` write into the candidate's run, for
people: pictures, the verdict, and a description that shows both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow_project.adapters.experiments import Experiments, Run
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.release import Release
from mlflow_project.domain.verdict import Check, Scores, Verdict
from mlflow_project.errors import NotFound
from mlflow_project.evaluation.note import NOTE_TAG, note
from mlflow_project.evaluation.pictures import differences, wins_and_losses
from mlflow_project.evaluation.record import CASES_TAG, SCORERS_TAG, find_run, scores_of
from mlflow_project.rules.gate.certain import certain_metrics
from mlflow_project.rules.gate.contract import check_contract
from mlflow_project.rules.gate.decide import decide
from mlflow_project.rules.gate.policy import Policy
from mlflow_project.rules.gate.spending import EarlierVerdict, grounds, on_mostly_these

_PICTURES_TAG = "switchyard.pictures"
_PICTURED = "correct"
"""The metric whose wins and losses are counted by tag, because it judges every case."""


@dataclass(frozen=True)
class Judged:
    """A verdict with the scores that it rests on. `comparison` is the address of MLflow's page for the two runs."""

    verdict: Verdict
    candidate: Scores
    champion: Scores | None
    comparison: str


def judge(
    candidate: Release,
    champion: Release | None,
    policy: Policy,
    experiments: Experiments,
    store: ObjectStore,
    cases: str | None = None,
    more: tuple[Check, ...] = (),
    marks: Sequence[str] = (),
    earlier: Sequence[EarlierVerdict] = (),
) -> Judged:
    """The verdict on the candidate's newest run, against the champion's on the same cases.

    Args:
        cases: the digest of the cases that count; None: those of the candidate's newest run, whichever they are.
        more: checks of a replay and of the texts' quality, which decide too.
        marks: those of the cases' questions; empty if the cases are not at hand.
        earlier: all earlier verdicts on this name. Those on mostly these cases make this one stricter.

    Raises:
        NotFound: one of them was not evaluated; the message says what to type.
        InvalidData: a run's scores are not of what the run says. SealBroken: they were edited since.
    """
    ours = _run(experiments, candidate, {} if cases is None else {CASES_TAG: cases})
    scores = scores_of(experiments, store, ours)
    if champion is None:
        first = decide(scores, None, policy, more, certain=certain_metrics(candidate.manifest))
        return Judged(first, scores, None, experiments.address(ours))
    theirs = _run(experiments, champion, {tag: ours.tags[tag] for tag in (CASES_TAG, SCORERS_TAG)})
    other = scores_of(experiments, store, theirs)
    more = (*check_contract(candidate.manifest, champion.manifest, policy), *more)
    counted = on_mostly_these(earlier, scores.cases_digest, marks)
    certain = {
        "certain": certain_metrics(candidate.manifest),
        "certain_for_champion": certain_metrics(champion.manifest),
    }
    verdict = decide(scores, other, policy, more, [each.accepted for each in counted], **certain)
    known = grounds(verdict.to_dict(), candidate.digest, champion.digest, policy.digest, scores.cases_digest)
    before = next((place for place, each in enumerate(counted) if each.grounds == known), None)
    if before is not None:  # the same question again, and so the same answer
        verdict = decide(scores, other, policy, more, [each.accepted for each in counted[:before]], **certain)
    return Judged(verdict, scores, other, experiments.comparison([ours, theirs]))


def _run(experiments: Experiments, release: Release, tags: Mapping[str, str]) -> Run:
    run = find_run(experiments, release, tags)
    if run is not None:
        return run
    on = f" on the cases {tags[CASES_TAG][:19]}" if CASES_TAG in tags else ""
    by = " by the same scorers as the candidate" if SCORERS_TAG in tags else ""
    other = find_run(experiments, release) if tags and not by else None
    hint = f" It was evaluated on other cases ({other.tags[CASES_TAG][:19]}): name them with --cases." if other else ""
    raise NotFound(
        f"There is no finished evaluation of {release.label}{on}{by}: run `switchyard evaluate {release.name} "
        f"--version N` for the candidate, which evaluates the champion too.{hint}"
    )


def keep_verdict(judged: Judged, experiments: Experiments) -> None:
    """Write the verdict into the candidate's run, and into its description."""
    run = experiments.get(judged.candidate.run or "")
    experiments.write(run, "verdict.json", json.dumps(judged.verdict.to_dict(), indent=2, ensure_ascii=False).encode())
    pictures = run.tags.get(_PICTURES_TAG, "").split()
    pages = _pages(experiments, run, judged.comparison)
    text = note(judged.candidate, judged.champion, pages, pictures, judged.verdict)
    experiments.log(run, tags={"switchyard.verdict": judged.verdict.outcome, NOTE_TAG: text})


def picture(candidate: Scores, champion: Scores, experiments: Experiments) -> str:
    """Write two pictures of the comparison into the candidate's run; the address of MLflow's page for both runs."""
    ours, theirs = (experiments.get(scores.run or "") for scores in (candidate, champion))
    drawn = {
        "differences.png": differences(candidate, champion),
        "wins_and_losses.png": wins_and_losses(candidate, champion, _PICTURED),
    }
    pictures = {name: data for name, data in drawn.items() if data}
    for name, data in pictures.items():
        experiments.write(ours, name, data)
    comparison = experiments.comparison([ours, theirs])
    text = note(candidate, champion, _pages(experiments, ours, comparison), list(pictures))
    experiments.log(ours, tags={_PICTURES_TAG: " ".join(pictures), NOTE_TAG: text})
    return comparison


def _pages(experiments: Experiments, run: Run, comparison: str) -> dict[str, str]:
    return {"Metrics and parameters of both runs": comparison, "Case by case": experiments.case_by_case(run)}
