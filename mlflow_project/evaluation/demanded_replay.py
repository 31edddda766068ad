"""Reads the replay that a policy demands, for the gate.

In: the ledger's records and two releases. Out: checks, and the newest replay of exactly these two. The ledger says
which one that is, and the object store has its file, so nothing that was written into MLflow counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from mlflow_project.adapters.evidence import REPLAY, kept_scores
from mlflow_project.adapters.experiments import Experiments
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.release import Release
from mlflow_project.domain.verdict import Check, Verdict
from mlflow_project.errors import NotFound, SealBroken
from mlflow_project.evaluation.record import REPLAYS, scores_of
from mlflow_project.evaluation.replay import Replay
from mlflow_project.evaluation.replay_records import ReplayRecord, earlier_outcomes, replays_of
from mlflow_project.rules.canonical import digest
from mlflow_project.rules.gate.live import by_unit, replay_checks
from mlflow_project.rules.gate.policy import Policy


def demanded_replay(
    experiments: Experiments,
    store: ObjectStore,
    records: Iterable[LedgerRecord],
    candidate: Release,
    champion: Release | None,
    policy: Policy,
) -> tuple[tuple[Check, ...], Replay | None]:
    """What the policy's `replay` says about a candidate, as checks of the gate, and the newest replay.

    Without a champion nothing is live, so there are no questions to replay, and no check. `records` are the ledger's.

    Raises:
        SealBroken: the replay was edited in MLflow, or no command of this stack made it.
    """
    if policy.replay is None or champion is None:
        return (), None
    replays = replays_of(records, candidate.name)
    newest = next((each for each in reversed(replays) if _is_of(each, candidate, champion)), None)
    if newest is None:
        type_this = f"switchyard replay {candidate.name} --version {candidate.version} --n {policy.replay.n}"
        reason = (
            f"replay: the policy asks for a replay of {policy.replay.n} live questions, and there is none of "
            f"{candidate.label} against {champion.label}: run `{type_this}`"
        )
        return (Check(REPLAYS, "replay", None, reason, cases_needed=policy.replay.n),), None
    found = _as_kept(experiments, store, newest, candidate, champion)
    earlier = [each for each in replays if each.serial < newest.serial]
    before = earlier_outcomes(earlier, candidate, champion, newest.cases_digest, newest.marks)
    units = found.data["units"]
    checks = replay_checks(by_unit(found.candidate, units), by_unit(found.champion, units), policy, len(units), before)
    return checks, found


def _is_of(replay: ReplayRecord, candidate: Release, champion: Release) -> bool:
    """Whether a replay compared exactly these two releases."""
    return (replay.candidate, replay.champion) == (candidate.digest, champion.digest)


def _as_kept(
    experiments: Experiments, store: ObjectStore, recorded: ReplayRecord, candidate: Release, champion: Release
) -> Replay:
    """A replay of the ledger as the store keeps it."""
    try:
        kept = kept_scores(store, recorded.run, REPLAY)
    except NotFound as error:
        raise SealBroken(f"The {REPLAY} of run {recorded.run} is gone: replay again. {error}") from error
    run = experiments.get(recorded.run)
    if digest(kept) != recorded.digest or experiments.read(run, REPLAY) != kept:
        raise SealBroken(f"{REPLAY} of run {run.id} in MLflow is not what the replay wrote: replay again.")
    data = json.loads(kept)
    scores = []
    for side, release in (("candidate", candidate), ("champion", champion)):
        of_side = scores_of(experiments, store, experiments.get(data[side]["run"]))
        if (of_side.digest, of_side.file) != (release.digest, data[side]["scores"]):
            raise SealBroken(f"{REPLAY} of run {run.id} is not about {release.label} as it is now: replay again.")
        scores.append(of_side)
    verdict = Verdict(data["verdict"]["outcome"], tuple(data["verdict"]["reasons"]))
    return Replay(run.id, digest(kept), verdict, data, scores[0], scores[1])
