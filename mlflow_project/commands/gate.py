"""`switchyard gate`: decides by the evaluation whether to seal a version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mlflow_project.commands.arguments import Named, Version, version_of
from mlflow_project.commands.bootstrap import command_parts
from mlflow_project.commands.evaluation import Against, policy_file
from mlflow_project.commands.output import Json, emit, progress, reports_errors
from mlflow_project.errors import Refused

if TYPE_CHECKING:
    from mlflow_project.domain.record import LedgerRecord
    from mlflow_project.domain.release import Release
    from mlflow_project.evaluation.compare import Judged
    from mlflow_project.evaluation.workplace import Workplace
    from mlflow_project.ledger import Seal
    from mlflow_project.parts import Parts
    from mlflow_project.rules.gate.policy import Policy

GateCases = Annotated[
    str | None,
    typer.Option(
        "--cases", metavar="SOURCE", help="The cases that the runs must have used. Default: as for `evaluate`."
    ),
]
PolicyFile = Annotated[
    Path | None, typer.Option("--policy", metavar="FILE", help="Default: policy.yaml in prompts/NAME or models/NAME.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Decide, but record nothing.")]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(reports_errors(gate))


def gate(
    named: Named,
    version: Version = None,
    dry_run: DryRun = False,
    policy: PolicyFile = None,
    against: Against = "Production",
    cases: GateCases = None,
    json: Json = False,
) -> None:
    """Decide by the evaluation whether a version may go live.

    An accepted version is sealed: only sealed versions can be promoted. A rejected one is recorded with the reasons,
    and the exit code is 4.
    """
    from mlflow_project.evaluation.compare import judge, keep_verdict
    from mlflow_project.evaluation.demanded_data import demanded_data
    from mlflow_project.evaluation.demanded_replay import demanded_replay
    from mlflow_project.evaluation.policies import load_policy
    from mlflow_project.evaluation.workplace import workplace
    from mlflow_project.promotion.earlier_verdicts import earlier_verdicts
    from mlflow_project.promotion.retracted import check_index

    with command_parts() as parts:
        place = workplace(parts, against)
        number = version_of(named, version, parts.registry)
        candidate = place.release(named.name, number)
        rules = load_policy(policy or policy_file(candidate))
        source, counted, marks = _cases_that_count(place, candidate, cases)
        base = candidate.manifest.knowledge_base
        check_index(parts.ledger.state(), candidate.label, base.index if base else None)
        champion = place.champion_of(candidate)
        records = parts.ledger.records()
        checks, replayed = demanded_replay(parts.experiments, parts.store, records, candidate, champion, rules)
        checks = (*demanded_data(candidate, rules), *checks)
        earlier = earlier_verdicts(records, candidate.name, candidate.manifest.kind)
        judged = judge(candidate, champion, rules, parts.experiments, parts.store, counted, checks, marks, earlier)
        evidence = replayed.evidence if replayed else None
        decision = _Decision(candidate, champion, rules, source, judged, marks, evidence)
        known, serial = None, None
        if not dry_run:
            known = decision.known_seal(parts)
            keep_verdict(judged, parts.experiments)
            serial = known.serial if known else decision.record(parts).serial
    data = {**decision.to_dict(), "ledger": serial, "sealed_before": known is not None}
    emit(data, json, lambda console: _explain(console, judged, candidate.label, rules.confidence, serial, known))
    if not judged.verdict.accepted:
        raise typer.Exit(Refused.exit_code)


@dataclass(frozen=True)
class _Decision:
    """A verdict, and what it was reached on. `source` is where the cases that count come from, `marks` recognize them
    in later case sets. `replay` names the replay that the policy asked for.
    """

    candidate: Release
    champion: Release | None
    policy: Policy
    source: str | None
    judged: Judged
    marks: tuple[str, ...]
    replay: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **self.judged.verdict.to_dict(),
            "name": self.candidate.name,
            "version": self.candidate.version,
            "digest": self.candidate.digest,
            "champion": self.champion.version if self.champion else None,
            "policy": self.policy.digest,
            "cases_digest": self.judged.candidate.cases_digest,
            "cases_source": self.source,
            "replay": dict(self.replay) if self.replay else None,
            "approval": self.policy.approval,
            "rollout": self.policy.rollout is not None,
            "comparison": self.judged.comparison,
        }

    def known_seal(self, parts: Parts) -> Seal | None:
        """The seal that an accepted version already has on the same grounds. Then no second one is written."""
        from mlflow_project.promotion.seal_release import same_seal

        if not self.judged.verdict.accepted:
            return None
        return same_seal(parts, self.candidate, self.policy.digest, self.judged.candidate.cases_digest, self.champion)

    def record(self, parts: Parts) -> LedgerRecord:
        """Write the ledger's record: a seal, or a refusal."""
        from mlflow_project.promotion.seal_release import record_verdict

        scores, other = self.judged.candidate, self.judged.champion
        return record_verdict(
            parts,
            release=self.candidate,
            verdict=self.judged.verdict,
            policy_digest=self.policy.digest,
            champion=self.champion,
            runs={"candidate": scores.run, "champion": other.run if other else None},
            scores={"candidate": scores.file, "champion": other.file if other else None},
            cases={"digest": scores.cases_digest, "count": len(scores.case_ids), "marks": list(self.marks)},
            who=parts.who,
            protected=self.policy.protected,
            loading=self.policy.loading if self.candidate.manifest.kind == "model" else None,
            guard=self.policy.guard,
            replay=self.replay,
        )


def _cases_that_count(
    place: Workplace, candidate: Release, named: str | None
) -> tuple[str | None, str | None, tuple[str, ...]]:
    """The source, the digest and the marks of the cases that the runs must have used: the cases named by `--cases`, the
    prompt's own file, or the test set of the model's version, which has no marks.

    If a prompt has neither, prints that and returns None for both: the candidate's newest run counts, on whatever
    cases.
    """
    from mlflow_project.evaluation.cases import cases_digest, load_cases, question_digest
    from mlflow_project.rules.gate.spending import marks_of

    if candidate.manifest.kind == "model":
        held_out = place.held_out(candidate, named)
        return held_out.source, held_out.digest, ()
    own = Path("prompts") / candidate.name / "cases.jsonl"
    if named is not None or own.exists():
        source = named or str(own)
        found = load_cases(source)
        return source, cases_digest(found), marks_of(map(question_digest, found))
    progress.print(f"There is no {own} and no --cases, so the cases of the newest run count.", style="yellow")
    return None, None, ()


def _explain(
    console: Console, judged: Judged, label: str, confidence: float, serial: int | None, known: Seal | None
) -> None:
    from mlflow_project.rules.gate.reasons import detectable, spent

    verdict = judged.verdict
    against = f" against {judged.champion.label}" if judged.champion else ", no champion: floors and caps decide"
    style = "bold green" if verdict.accepted else "bold red"
    of = judged.candidate.cases_digest[:19]
    console.print(f"{label} {verdict.outcome} on {verdict.cases} cases ({of}){against}", style=style)
    for reason in verdict.reasons:
        console.print(f"  - {reason}", markup=False)
    if shown := detectable(verdict.checks, verdict.cases):
        console.print(shown, markup=False, soft_wrap=True)
    if verdict.spending and (shown := spent(verdict.spending, confidence)):
        console.print(f"{shown}.", markup=False, soft_wrap=True)
    if known is not None:
        console.print(f"Already sealed on the same cases and policy on {known.recorded}: record {known.serial}.")
    elif serial is not None:
        what = "Sealed" if verdict.accepted else "Refused, and recorded"
        console.print(f"{what}: record {serial} of the ledger.")
    console.print(f"In MLflow: {judged.comparison}", soft_wrap=True)
