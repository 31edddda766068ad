"""Replays recorded questions of live traffic on a candidate, and asks the champion the same questions anew.

In: a candidate, a champion, the recorded answers of a window. Out: two MLflow runs in the experiment `replay-NAME`, and
a `Replay` with the paired verdict. The candidate's run has `replay.json`, what was asked and found, and
`worst_pairs.json`, the pairs of answers on which the candidate loses most. The object store keeps a copy of
`replay.json`: the gate judges by that copy, and the seal names its digest. The ledger has a record of each replay. The
newest one counts, and each further one of the same releases or questions is judged with less of the allowed error.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from mlflow_project.adapters.evidence import REPLAY, keep_scores
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.answer import Answer
from mlflow_project.domain.release import Release
from mlflow_project.domain.times import utc_now, utc_text
from mlflow_project.domain.verdict import Scores, Verdict
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.evaluation.answers import AnswerCache
from mlflow_project.evaluation.asking import Plan
from mlflow_project.evaluation.cases import cases_digest
from mlflow_project.evaluation.live_questions import LiveSample, choose
from mlflow_project.evaluation.record import REPLAYS
from mlflow_project.evaluation.replay_records import (
    earlier_outcomes,
    marks_of_cases,
    record_of,
    replays_of,
)
from mlflow_project.evaluation.run import Bench, Step
from mlflow_project.evaluation.workplace import Evaluated, Workplace
from mlflow_project.feedback.recorded import recorded
from mlflow_project.rules.gate.decide import decide
from mlflow_project.rules.gate.live import by_unit, live_policy, worst
from mlflow_project.rules.gate.policy import Policy
from mlflow_project.rules.scorers import LIVE_SCORERS
from mlflow_project.rules.scorers.agreement import AGREEMENT, agreement

REPLAY_SCHEMA = "switchyard.replay/v1"
AGAINST_TAG, REPLAY_TAG = "switchyard.replay_against", "switchyard.replay"
WORST = 20


@dataclass(frozen=True)
class Replay:
    """One replay. `data` is what `replay.json` says, `digest` is of that file."""

    run: str
    digest: str
    verdict: Verdict
    data: Mapping[str, Any]
    candidate: Scores
    champion: Scores

    @property
    def evidence(self) -> dict[str, Any]:
        """What a seal states of it."""
        return {"run": self.run, "digest": self.digest, "questions": self.data["questions"]}


def replay(
    place: Workplace,
    candidate: Release,
    champion: Release,
    policy: Policy | None,
    window: timedelta,
    n: int,
    bench: Bench,
) -> Replay:
    """Ask both releases up to `n` recorded questions of the window that ends now, and judge the pairs.

    Raises:
        InvalidData: the candidate is a model, whose rows are not recorded.
        NotFound: no question of the window was recorded whole.
        Refused: the budget is spent. The answers are kept for the next try with the same questions.
    """
    if candidate.manifest.kind != "prompt":
        raise InvalidData(
            f"{candidate.label} is a model. The rows of requests to models are not recorded, so they cannot be "
            f"replayed. Compare it on live traffic with `switchyard shadow start {candidate.name} --version "
            f"{candidate.version}`."
        )
    since = datetime.now(UTC) - window
    sample = _sample(place.store, candidate, champion, since, window, n)
    of_replay = replace(
        bench,
        scorers=LIVE_SCORERS,
        purpose=REPLAYS,
        source=f"live questions of {candidate.name}",
        answers=bench.answers / "replay" / cases_digest(sample.cases)[7:23],
    )
    ours, theirs = (place.evaluated(each, sample.cases, of_replay, again=True) for each in (candidate, champion))
    agreed = _agreements(ours.release, theirs.release, sample, of_replay)
    rules = live_policy(policy)
    verdict = _judged(place, ours, theirs, sample, rules)
    about = {"since": utc_text(since), "seconds": window.total_seconds(), "asked_for": n, "by": place.who}
    data = {**_found(ours, theirs, sample, agreed, verdict), **about}
    kept = _keep(place, ours.scores, candidate, champion, sample, data)
    _keep_worst(place, ours, theirs, sample, rules, agreed, of_replay)
    shutil.rmtree(of_replay.answers, ignore_errors=True)
    return Replay(ours.scores.run or "", kept, verdict, data, ours.scores, theirs.scores)


def _judged(place: Workplace, ours: Evaluated, theirs: Evaluated, sample: LiveSample, rules: Policy) -> Verdict:
    """The verdict on the pairs, which shares its allowed error with the earlier replays that count."""
    earlier = replays_of(place.ledger.records(), ours.release.name)
    marks, cases = marks_of_cases(sample.cases), cases_digest(sample.cases)
    before = earlier_outcomes(earlier, ours.release, theirs.release, cases, marks)
    return decide(
        by_unit(ours.scores, sample.units), by_unit(theirs.scores, sample.units), rules, accepted_before=before
    )


def _found(
    ours: Evaluated, theirs: Evaluated, sample: LiveSample, agreed: Sequence[float | None], verdict: Verdict
) -> dict[str, Any]:
    """What `replay.json` says of the questions, the answers and the verdict."""
    return {
        "schema": REPLAY_SCHEMA,
        "candidate": _plain(ours),
        "champion": _plain(theirs),
        "questions": len(sample.cases),
        "found": sample.found,
        "left_out": sample.left_out,
        "units": list(sample.units),
        "cases_digest": ours.scores.cases_digest,
        "agreement": _mean(agreed),
        "verdict": verdict.to_dict(),
        "at": utc_now(),
    }


def bench_for(place: Workplace, plan: Plan, step: Step) -> Bench:
    """A bench without metrics of the `evaluate` library and without a judge: live questions have no right answers."""
    return place.bench(plan, "", (), step)


def _sample(
    store: ObjectStore, candidate: Release, champion: Release, since: datetime, window: timedelta, n: int
) -> LiveSample:
    answers = recorded(store, "answer", candidate.name, since)
    seed = f"{candidate.digest} {champion.digest}"
    sample = choose(answers, n, since.timestamp(), window.total_seconds(), seed)
    if not sample.questions:
        seen = (
            f"{sample.left_out} answered requests were not recorded whole" if sample.left_out else "none was recorded"
        )
        raise NotFound(
            f"There is no live question of {candidate.name} to replay since {utc_text(since)}: {seen}. Choose a longer "
            "--window, and see that SWITCHYARD_EVENT_TEXTS is on and SWITCHYARD_EVENT_SHARE is above 0."
        )
    return sample


def _plain(side: Evaluated) -> dict[str, Any]:
    scores = side.scores
    return {"version": side.release.version, "digest": scores.digest, "run": scores.run, "scores": scores.file}


def _keep(
    place: Workplace,
    scores: Scores,
    candidate: Release,
    champion: Release,
    sample: LiveSample,
    data: Mapping[str, Any],
) -> str:
    """Write `replay.json` to the store, the record to the ledger, then the file to the run, and mark the run last.
    Returns the file's digest."""
    run = place.experiments.get(scores.run or "")
    written = json.dumps(data, ensure_ascii=False).encode()
    kept, outcome = keep_scores(place.store, run.id, written, REPLAY), data["verdict"]["outcome"]
    place.ledger.append(record_of(candidate, champion, sample.cases, run.id, kept, outcome, place.who))
    place.experiments.write(run, REPLAY, written)
    metrics = {} if data["agreement"] is None else {AGREEMENT: data["agreement"]}
    tags = {AGAINST_TAG: champion.digest, REPLAY_TAG: "complete", "switchyard.verdict": outcome}
    place.experiments.log(run, metrics=metrics, tags=tags)
    return kept


def _answers(bench: Bench, release: Release, sample: LiveSample) -> list[Answer | None]:
    cache = AnswerCache(bench.answers, release.digest)
    return [cache.get(case) for case in sample.cases]


def _agreements(candidate: Release, champion: Release, sample: LiveSample, bench: Bench) -> list[float | None]:
    both = zip(_answers(bench, candidate, sample), _answers(bench, champion, sample), strict=True)
    return [agreement(first, second).value if first and second else None for first, second in both]


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def _keep_worst(
    place: Workplace,
    ours: Evaluated,
    theirs: Evaluated,
    sample: LiveSample,
    rules: Policy,
    agreed: Sequence[float | None],
    bench: Bench,
) -> None:
    """Write the worst pairs as a table that MLflow shows, masked because many people read a run."""
    ranked = worst(ours.scores, theirs.scores, rules, agreed, WORST)
    first, second = _answers(bench, ours.release, sample), _answers(bench, theirs.release, sample)
    mask = place.masker.mask
    rows = []
    for number, metric, difference in ranked:
        case, answers = sample.cases[number], (first[number], second[number])
        texts = [mask(_said(answer)).text for answer in answers]
        rows.append(
            [case.id, mask(case.question).text, *texts, metric, difference, agreed[number], ", ".join(case.tags)]
        )
    columns = ["id", "question", ours.release.label, theirs.release.label, "metric", "difference", AGREEMENT, "route"]
    table = json.dumps({"columns": columns, "data": rows}, ensure_ascii=False).encode()
    run = place.experiments.get(ours.scores.run or "")
    place.experiments.write(run, "worst_pairs.json", table)
    shown = json.loads(run.tags.get("mlflow.loggedArtifacts", "[]"))
    shown = [*shown, {"path": "worst_pairs.json", "type": "table"}]
    place.experiments.log(run, tags={"mlflow.loggedArtifacts": json.dumps(shown)})


def _said(answer: Answer | None) -> str:
    if answer is None:
        return "(no answer)"
    return answer.text if answer.text is not None else json.dumps(answer.object, ensure_ascii=False)
