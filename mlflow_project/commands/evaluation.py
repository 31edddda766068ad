"""`switchyard evaluate`: measures a version and the live one on the same cases."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mlflow_project.commands.arguments import Named, Version, amount, version_of, whole_number
from mlflow_project.commands.bootstrap import command_parts
from mlflow_project.commands.output import Json, emit, reports_errors, table
from mlflow_project.commands.progress import Steps
from mlflow_project.domain.reference import alias_named
from mlflow_project.errors import InvalidData

if TYPE_CHECKING:
    from mlflow_project.adapters.object_store import ObjectStore
    from mlflow_project.domain.release import Release
    from mlflow_project.evaluation.explanation import Explanation
    from mlflow_project.evaluation.workplace import Evaluated, Workplace

Cases = Annotated[
    str | None,
    typer.Option(
        metavar="SOURCE",
        help="A file, a Delta table (s3a://table@version) or dataset:NAME. Default: prompts/NAME/cases.jsonl, and the "
        "test set of a model's version.",
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
Explain = Annotated[
    bool, typer.Option("--explain", help="Of a model: how much each feature moves its predictions (Shapley values).")
]
Again = Annotated[bool, typer.Option("--again", help="Evaluate again, even if a complete run exists.")]


_FEATURES_SHOWN = 20


def add_to(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(reports_errors(evaluate))


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
    explain: Explain = False,
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

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end like Ctrl-C when a task is stopped
    steps, source, plain = Steps(), cases or f"prompts/{named.name}/cases.jsonl", plain or _is_plain_by_setting()
    with command_parts() as parts:
        place = workplace(parts, against)
        candidate = place.release(named.name, version_of(named, version, parts.registry))
        if candidate.manifest.kind == "model":
            with _recorded(parts.store, candidate, cases or "") as finish:
                _evaluate_model(place, candidate, cases, steps, finish, again=again, explain=explain, json=json)
            return
        if explain:
            raise InvalidData(f"{candidate.label} is a prompt and has no features: --explain is for models.")
        asked, champion = load_cases(source), place.champion_of(candidate)
        bench = place.bench(Plan(at_once, purse=Purse(budget)), source, () if plain else metric, steps.step, judge)
        with _recorded(parts.store, candidate, source) as finish:
            done = [place.evaluated(candidate, asked, bench, again=again)]
            done += [place.evaluated(champion, asked, bench)] if champion else []
            finish(done)
        with steps.step("comparing"):
            comparison = place.pictured([item.scores for item in done])
        for item in done:
            if traces and not plain and not item.reused:
                trace_sample(item.release, asked, item.scores, traces, bench)
        steps.report()
        _report(done, comparison, place.case_by_case(done[0].scores), json)


@contextmanager
def _recorded(store: ObjectStore, candidate: Release, source: str) -> Iterator[Callable[[Sequence[Evaluated]], None]]:
    """Record the evaluation for lineage. The block calls what it gets with the scores."""
    from mlflow_project.adapters import run_flows
    from mlflow_project.adapters.run_log import RunLog, recorded_run

    flow = partial(run_flows.evaluated, candidate.manifest.kind, candidate.name, candidate.version, source)
    begun = flow(None)
    with recorded_run(f"evaluate.{candidate.name}", begun.inputs, begun.outputs, log=RunLog(store)) as running:

        def finish(done: Sequence[Evaluated]) -> None:
            running.describe = lambda: running.learn(flow(_data_of(done)))

        yield finish


def _is_plain_by_setting() -> bool:
    from mlflow_project.settings import EvaluationSettings, load

    return not load(EvaluationSettings).evaluation_extras


def _report(
    done: Sequence[Evaluated], comparison: str, tables: str, json: bool, explanation: Explanation | None = None
) -> None:
    """Print the scores. `comparison` and `tables` are the addresses of two pages of MLflow."""
    data = {**_data_of(done), "comparison": comparison, "case_by_case": tables}
    if explanation is not None:
        data["explanation"] = vars(explanation)
    emit(data, json, lambda console: _show(console, done, comparison, tables, explanation))


def _data_of(done: Sequence[Evaluated]) -> dict[str, Any]:
    scores = done[0].scores
    cases = {"digest": scores.cases_digest, "count": len(scores.case_ids)}
    return {"cases": cases, "releases": [_plain(item) for item in done]}


def _evaluate_model(
    place: Workplace,
    candidate: Release,
    source: str | None,
    steps: Steps,
    finish: Callable[[Sequence[Evaluated]], None],
    *,
    again: bool,
    explain: bool,
    json: bool,
) -> None:
    """Let the candidate and the champion predict the test set, and show the metrics of both."""
    from mlflow_project.domain.model import Loading
    from mlflow_project.evaluation.asking import Plan
    from mlflow_project.evaluation.policies import load_policy

    policy = policy_file(candidate)
    loading = load_policy(policy).loading if policy.exists() else Loading()
    held_out, champion = place.held_out(candidate, source), place.champion_of(candidate)
    bench = place.bench(Plan(), held_out.source, (), steps.step)
    done = [place.evaluated_model(candidate, held_out, bench, loading, again=again)]
    done += [place.evaluated_model(champion, held_out, bench, None)] if champion else []
    finish(done)
    explanation = place.explained(done[0], held_out, bench, loading) if explain else None
    with steps.step("comparing"):
        comparison = place.pictured([item.scores for item in done])
    steps.report()
    _report(done, comparison, place.case_by_case(done[0].scores), json, explanation)


def policy_file(release: Release) -> Path:
    """The policy of a prompt or a model, in its folder."""
    return Path(f"{release.manifest.kind}s") / release.name / "policy.yaml"


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


def _show(
    console: Console, done: Sequence[Evaluated], address: str, tables: str, explanation: Explanation | None
) -> None:
    from mlflow_project.evaluation.record import means
    from mlflow_project.rules.gate.certain import certain_metrics
    from mlflow_project.rules.gate.reasons import number

    columns = [means(item.scores) for item in done]
    names = sorted(set().union(*columns))
    rows = [[name, *(number(column[name]) if name in column else "-" for column in columns)] for name in names]
    title = f"{len(done[0].scores.case_ids)} cases"
    console.print(table(["metric (mean)", *(item.release.label for item in done)], rows, title))
    for item in done:
        if item.reused:
            console.print(f"{item.release.label} was evaluated on these cases before: run {item.scores.run}.")
        for metric, count in item.scores.errors.items():
            console.print(f"{item.release.label}: the scorer {metric} failed on {count} case(s).", style="red")
        if certain := sorted(certain_metrics(item.release.manifest) & set(names)):
            console.print(
                f"{', '.join(certain)} cannot fail for {item.release.label}, whose provider quotes its context: they "
                "decide nothing.",
                markup=False,
                soft_wrap=True,
            )
    if explanation is not None:
        sizes = [[name, f"{value:.4f}"] for name, value in list(explanation.mean_absolute.items())[:_FEATURES_SHOWN]]
        console.print(table(["feature", f"moves the {explanation.of} by"], sizes, f"{explanation.rows} rows"))
    console.print(f"In MLflow: {address}", soft_wrap=True)
    console.print(f"Case by case (choose `answer` under Compare): {tables}", soft_wrap=True)
