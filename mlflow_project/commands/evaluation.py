"""`switchyard evaluate` measures a version. `switchyard gate` decides by these runs whether to seal it."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mlflow_project.commands.arguments import Named, Version, amount, version_of, whole_number
from mlflow_project.commands.bootstrap import command_parts
from mlflow_project.commands.output import Json, emit, progress, reports_errors, table
from mlflow_project.commands.progress import Steps
from mlflow_project.domain.reference import alias_named
from mlflow_project.errors import Refused

if TYPE_CHECKING:
    from mlflow_project.domain.record import LedgerRecord
    from mlflow_project.domain.release import Release
    from mlflow_project.evaluation.compare import Judged
    from mlflow_project.evaluation.workplace import Evaluated, Workplace
    from mlflow_project.ledger import Seal
    from mlflow_project.parts import Parts
    from mlflow_project.rules.gate.policy import Policy

Cases = Annotated[
    str | None,
    typer.Option(
        metavar="SOURCE",
        help="A file, a Delta table (s3a://table@version) or dataset:NAME. Default: prompts/NAME/cases.jsonl, and the "
        "test set of a model's version.",
    ),
]
GateCases = Annotated[
    str | None,
    typer.Option(
        "--cases", metavar="SOURCE", help="The cases that the runs must have used. Default: as for `evaluate`."
    ),
]
Against = Annotated[
    str, typer.Option(metavar="ALIAS", parser=alias_named, help="The alias of the version to compare with.")
]
Budget = Annotated[
    float | None, typer.Option(metavar="USD", parser=amount, help="Stop before new answers cost more than this.")
]
AtOnce = Annotated[
    int,
    typer.Option(
        metavar="N", parser=whole_number(1), help="The most cases to ask at once; fewer, if the provider is slow."
    ),
]
PolicyFile = Annotated[
    Path | None, typer.Option("--policy", metavar="FILE", help="Default: policy.yaml in prompts/NAME or models/NAME.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Decide, but record nothing.")]
Traces = Annotated[
    int, typer.Option(metavar="N", parser=whole_number(0), help="How many answers to log as MLflow traces as well.")
]
Library = Annotated[
    list[str] | None,
    typer.Option(metavar="FOLDER", help="A metric folder for the `evaluate` library; repeatable. Default: all."),
]
Plain = Annotated[bool, typer.Option("--plain", help="No traces, and no metrics of the `evaluate` library.")]
JudgedBy = Annotated[
    str | None, typer.Option(metavar="NAME/N", help="A prompt version that judges by its rubric, as in judge/3.")
]
Again = Annotated[bool, typer.Option("--again", help="Evaluate again, even if a complete run exists.")]


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(reports_errors(evaluate))
    app.command()(reports_errors(gate))


def evaluate(
    named: Named,
    version: Version = None,
    against: Against = "Production",
    cases: Cases = None,
    at_once: AtOnce = 16,
    budget: Budget = None,
    traces: Traces = 10,
    metric: Library = None,
    plain: Plain = False,
    judge: JudgedBy = None,
    again: Again = False,
    json: Json = False,
) -> None:
    """Measure a version and the live one on the same cases.

    Asks both the same questions, or lets both predict the same rows. Scores what they answer, and logs one MLflow run
    per version. A complete run of a version on the same cases is used again.
    """
    from mlflow_project.evaluation.asking import Plan, Purse
    from mlflow_project.evaluation.cases import load_cases
    from mlflow_project.evaluation.run import trace_sample
    from mlflow_project.evaluation.workplace import workplace
    from mlflow_project.settings import EvaluationSettings, load

    plain = plain or not load(EvaluationSettings).evaluation_extras
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end like Ctrl-C when a task is stopped
    steps, source = Steps(), cases or f"prompts/{named.name}/cases.jsonl"
    with command_parts() as parts:
        place = workplace(parts, against)
        candidate = place.release(named.name, version_of(named, version, parts.registry))
        if candidate.manifest.kind == "model":
            _evaluate_model(place, candidate, cases, steps, again=again, json=json)
            return
        asked = load_cases(source)
        champion = place.champion_of(candidate)
        bench = place.bench(Plan(at_once, purse=Purse(budget)), source, () if plain else metric, steps.step, judge)
        done = [place.evaluated(candidate, asked, bench, again=again)]
        done += [place.evaluated(champion, asked, bench)] if champion else []
        with steps.step("comparing"):
            comparison = place.pictured([item.scores for item in done])
        for item in done:
            if traces and not plain and not item.reused:
                trace_sample(item.release, asked, item.scores, traces, bench)
        steps.report()
        tables = place.case_by_case(done[0].scores)
    _report(done, comparison, tables, json)


def _report(done: Sequence[Evaluated], comparison: str, tables: str, json: bool) -> None:
    """Print the scores. `comparison` and `tables` are the addresses of two pages of MLflow."""
    scores = done[0].scores
    data = {
        "cases": {"digest": scores.cases_digest, "count": len(scores.case_ids)},
        "comparison": comparison,
        "case_by_case": tables,
        "releases": [_plain(item) for item in done],
    }
    emit(data, json, lambda console: _show(console, done, comparison, tables))


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
    from mlflow_project.evaluation.policies import load_policy
    from mlflow_project.evaluation.workplace import workplace

    with command_parts() as parts:
        place = workplace(parts, against)
        number = version_of(named, version, parts.registry)
        candidate = place.release(named.name, number)
        rules = load_policy(policy or _policy_file(candidate))
        source, counted = _cases_that_count(place, candidate, cases)
        champion = place.champion_of(candidate)
        judged = judge(candidate, champion, rules, parts.experiments, parts.store, counted)
        decision = _Decision(candidate, champion, rules, source, judged)
        known, serial = None, None
        if not dry_run:
            known = decision.known_seal(parts)
            keep_verdict(judged, parts.experiments)
            serial = known.serial if known else decision.record(parts).serial
    data = {**decision.to_dict(), "ledger": serial, "sealed_before": known is not None}
    emit(data, json, lambda console: _explain(console, judged, candidate.label, serial, known))
    if not judged.verdict.accepted:
        raise typer.Exit(Refused.exit_code)


@dataclass(frozen=True)
class _Decision:
    """A verdict, and what it was reached on. `source` is where the cases that count come from."""

    candidate: Release
    champion: Release | None
    policy: Policy
    source: str | None
    judged: Judged

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
            "approval": self.policy.approval,
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
            cases={"digest": scores.cases_digest, "count": len(scores.case_ids)},
            who=parts.who,
            protected=self.policy.protected,
            loading=self.policy.loading if self.candidate.manifest.kind == "model" else None,
        )


def _evaluate_model(
    place: Workplace, candidate: Release, source: str | None, steps: Steps, *, again: bool, json: bool
) -> None:
    """Let the candidate and the champion predict the test set, and show the metrics of both."""
    from mlflow_project.domain.model import Loading
    from mlflow_project.evaluation.asking import Plan
    from mlflow_project.evaluation.policies import load_policy

    policy = _policy_file(candidate)
    loading = load_policy(policy).loading if policy.exists() else Loading()
    held_out, champion = place.held_out(candidate, source), place.champion_of(candidate)
    bench = place.bench(Plan(), held_out.source, (), steps.step)
    done = [place.evaluated_model(candidate, held_out, bench, loading, again=again)]
    done += [place.evaluated_model(champion, held_out, bench, None)] if champion else []
    with steps.step("comparing"):
        comparison = place.pictured([item.scores for item in done])
    steps.report()
    _report(done, comparison, place.case_by_case(done[0].scores), json)


def _policy_file(release: Release) -> Path:
    """The policy beside a prompt or a model."""
    return Path(f"{release.manifest.kind}s") / release.name / "policy.yaml"


def _cases_that_count(place: Workplace, candidate: Release, named: str | None) -> tuple[str | None, str | None]:
    """The source and the digest of the cases that the runs must have used: the cases named by `--cases`, the prompt's
    own file, or the test set of the model's version.

    If a prompt has neither, prints that and returns None for both: the candidate's newest run counts, on whatever
    cases.
    """
    from mlflow_project.evaluation.cases import cases_digest, load_cases

    if candidate.manifest.kind == "model":
        held_out = place.held_out(candidate, named)
        return held_out.source, held_out.digest
    own = Path("prompts") / candidate.name / "cases.jsonl"
    if named is not None or own.exists():
        source = named or str(own)
        return source, cases_digest(load_cases(source))
    progress.print(f"There is no {own} and no --cases, so the cases of the newest run count.", style="yellow")
    return None, None


def _plain(item: Evaluated) -> dict[str, Any]:
    from mlflow_project.evaluation.record import means

    scores = item.scores
    return {
        "name": item.release.name,
        "version": item.release.version,
        "digest": scores.digest,
        "run": scores.run,
        "reused": item.reused,
        "metrics": means(scores),
        "errors": dict(scores.errors),
    }


def _show(console: Console, done: Sequence[Evaluated], address: str, tables: str) -> None:
    from mlflow_project.evaluation.record import means
    from mlflow_project.rules.gate.reasons import number

    columns = [means(item.scores) for item in done]
    names = sorted(set().union(*columns))
    rows = [[name, *(number(column[name]) if name in column else "-" for column in columns)] for name in names]
    title = f"{len(done[0].scores.case_ids)} questions"
    console.print(table(["metric (mean)", *(item.release.label for item in done)], rows, title))
    for item in done:
        if item.reused:
            console.print(f"{item.release.label} was evaluated on these cases before: run {item.scores.run}.")
        for metric, count in item.scores.errors.items():
            console.print(f"{item.release.label}: the scorer {metric} failed on {count} case(s).", style="red")
    console.print(f"In MLflow: {address}", soft_wrap=True)
    console.print(f"Case by case (choose `answer` under Compare): {tables}", soft_wrap=True)


def _explain(console: Console, judged: Judged, label: str, serial: int | None, known: Seal | None) -> None:
    from mlflow_project.rules.gate.reasons import detectable

    verdict = judged.verdict
    against = f" against {judged.champion.label}" if judged.champion else ", no champion: floors and caps decide"
    style = "bold green" if verdict.accepted else "bold red"
    of = judged.candidate.cases_digest[:19]
    console.print(f"{label} {verdict.outcome} on {verdict.cases} questions ({of}){against}", style=style)
    for reason in verdict.reasons:
        console.print(f"  - {reason}", markup=False)
    if shown := detectable(verdict.checks, verdict.cases):
        console.print(shown, markup=False, soft_wrap=True)
    if known is not None:
        console.print(f"Already sealed on the same cases and policy on {known.recorded}: record {known.serial}.")
    elif serial is not None:
        what = "Sealed" if verdict.accepted else "Refused, and recorded"
        console.print(f"{what}: record {serial} of the ledger.")
    console.print(f"In MLflow: {judged.comparison}", soft_wrap=True)
