"""Records each replay in the ledger, and counts the earlier ones, so that nobody replays until one passes.

In: the two releases of a replay and its questions. Out: a record of type `replay`, and the outcomes of the earlier
replays that the next verdict has to share its allowed error with: those of the same candidate against the same
champion, and those of mostly the same questions (`rules.gate.spending`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlflow_project.domain.answer import Case
from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.release import Release
from mlflow_project.evaluation.cases import cases_digest, question_digest
from mlflow_project.ledger import Draft
from mlflow_project.rules.gate.spending import EarlierVerdict, marks_of, on_mostly_these


@dataclass(frozen=True)
class ReplayRecord:
    """What the ledger says of a replay. `run` is the candidate's run, `digest` that of its `replay.json`."""

    serial: int
    candidate: str
    champion: str
    run: str
    digest: str
    cases_digest: str
    marks: tuple[str, ...]
    accepted: bool

    @classmethod
    def of(cls, record: LedgerRecord) -> ReplayRecord | None:
        """Read a record; None: it is no replay, or has another form."""
        evidence = record.evidence
        try:
            return cls(
                record.serial,
                record.digest or "",
                str(evidence["champion"]["digest"]),
                str(evidence["run"]),
                str(evidence["digest"]),
                str(evidence["cases"]["digest"]),
                tuple(map(str, evidence["cases"]["marks"])),
                evidence["outcome"] == "accepted",
            )
        except (KeyError, TypeError):
            return None


def replays_of(records: Iterable[LedgerRecord], name: str) -> list[ReplayRecord]:
    """The replays of a prompt's versions, oldest first."""
    own = (record for record in records if (record.type, record.name) == ("replay", name))
    return [replay for record in own if (replay := ReplayRecord.of(record)) is not None]


def earlier_outcomes(
    earlier: Sequence[ReplayRecord], candidate: Release, champion: Release, cases: str, marks: Sequence[str]
) -> list[bool]:
    """Whether each of the replays that count was accepted, oldest first."""
    verdicts = (EarlierVerdict(each.accepted, each.serial, each.cases_digest, each.marks) for each in earlier)
    same_questions = {verdict.grounds for verdict in on_mostly_these(verdicts, cases, marks)}
    return [
        each.accepted
        for each in earlier
        if each.serial in same_questions or (each.candidate, each.champion) == (candidate.digest, champion.digest)
    ]


def marks_of_cases(cases: Iterable[Case]) -> tuple[str, ...]:
    """Marks by which later replays recognize these questions."""
    return marks_of(map(question_digest, cases))


def record_of(
    candidate: Release, champion: Release, cases: Sequence[Case], run: str, digest: str, outcome: str, who: str
) -> Draft:
    """The ledger's record of a replay."""
    evidence = {
        "champion": {"version": champion.version, "digest": champion.digest},
        "run": run,
        "digest": digest,
        "questions": len(cases),
        "cases": {"digest": cases_digest(cases), "marks": list(marks_of_cases(cases))},
        "outcome": outcome,
    }
    kind, name = candidate.manifest.kind, candidate.name
    return Draft("replay", kind, name, who, version=candidate.version, digest=candidate.digest, evidence=evidence)
