"""Runs in a real MLflow: what an evaluation writes, the gate reads; a complete run is found again and reused."""

from __future__ import annotations

import asyncio
import json
import math
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from mlflow_project.adapters.experiments import Experiments
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.answer import Answer, Case, Context
from mlflow_project.domain.release import Manifest, Message, ProviderChoice, Release
from mlflow_project.domain.verdict import Score, Scores
from mlflow_project.errors import InvalidData, NotFound, SealBroken, Unavailable
from mlflow_project.evaluation.asking import Ask, Plan
from mlflow_project.evaluation.cases import cases_digest, load_cases
from mlflow_project.evaluation.compare import judge, keep_verdict, picture
from mlflow_project.evaluation.library_metrics import known_metrics
from mlflow_project.evaluation.record import find_run, means, scores_of
from mlflow_project.evaluation.run import Bench, Opened, evaluate, known_scores, trace_sample
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.rules.gate.policy import policy_from
from mlflow_project.rules.masking import Masker
from mlflow_project.rules.scorers import SCORERS, ScoringContext
from mlflow_project.settings import RegistrySettings, StoreSettings, load

CASES = tuple(Case(str(number), f"Which number is {number}?", (f"n{number}",), tags=("odd",)) for number in range(60))
POLICY = policy_from(
    {
        "min_cases": 30,
        "metrics": {
            "correct": {"direction": "higher", "floor": 0.5, "rule": "non_inferior", "margin": 0.05},
            "token_f1": {"direction": "higher", "rule": "report"},
        },
    }
)


def release(name: str, version: int) -> Release:
    choice = ProviderChoice("extractive", "extractive-1", {"floor": version / 10})
    manifest = Manifest("prompt", name, (Message("user", "{{question}}"),), choice)
    return Release(version, manifest_digest(manifest), manifest)


def knows(share: float) -> Opened:
    """Somebody who knows the answers to the first share of the cases."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Ask]:
        async def ask(case: Case) -> Answer:
            known = int(case.id) < share * len(CASES)
            return Answer(f"It is n{case.id}." if known else "It is blue.", latency_ms=1.0)

        yield ask

    return opened


@pytest.fixture
def bench(registry_server: Any, tmp_path: Path) -> Bench:
    return Bench(Experiments(load(RegistrySettings)), ObjectStore(load(StoreSettings)), tmp_path / "answers")


@pytest.fixture
def name() -> str:
    return f"tried-{uuid4().hex[:8]}"


def run_data(bench: Bench, run: str) -> dict[str, Any]:
    found = httpx.get(f"{bench.experiments.uri}/api/2.0/mlflow/runs/get", params={"run_id": run}).json()
    data: dict[str, Any] = found["run"]["data"]
    return data


def test_the_gate_reads_exactly_what_the_evaluation_wrote(bench: Bench, name: str) -> None:
    written = evaluate(release(name, 1), CASES, knows(0.8), bench)
    run = find_run(bench.experiments, release(name, 1))
    assert run is not None
    assert scores_of(bench.experiments, bench.store, run) == written
    assert isinstance(written, Scores)
    table = json.loads(bench.experiments.read(run, "eval_results_table.json"))
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["id"] for row in rows] == list(written.case_ids)
    assert (rows[0]["question"], rows[0]["expected"], rows[0]["answer"]) == ("Which number is 0?", "n0", "It is n0.")
    for metric, values in written.metrics.items():
        for row, value in zip(rows, values, strict=True):
            assert (row[f"{metric}/score"] is None) == (value is None), metric
            assert (row[f"{metric}/score"] or 0.0) == pytest.approx(value or 0.0), metric
    logged = {row["key"]: row["value"] for row in run_data(bench, run.id)["metrics"]}
    assert next(iter(logged)) == "correct", "MLflow's comparison of two runs opens on the first metric"
    assert logged == pytest.approx(means(written)), "MLflow's means, under the names of the scorers alone"
    assert json.loads(run.tags["mlflow.loggedArtifacts"]) == [{"path": "eval_results_table.json", "type": "table"}]
    assert json.loads(run.tags["mlflow.linkedPrompts"]) == [{"name": name, "version": "1"}]


def test_a_complete_run_is_found_again_and_another_set_of_cases_is_not(bench: Bench, name: str) -> None:
    assert known_scores(release(name, 1), CASES, bench) is None
    written = evaluate(release(name, 1), CASES, knows(0.8), bench)
    assert known_scores(release(name, 1), CASES, bench) == written
    assert known_scores(release(name, 1), CASES[:-1], bench) is None
    assert known_scores(release(name, 2), CASES, bench) is None


def test_a_better_version_is_accepted_a_worse_one_refused_and_the_pictures_are_kept(bench: Bench, name: str) -> None:
    for version, share in ((1, 0.7), (2, 0.8), (3, 0.4)):
        evaluate(release(name, version), CASES, knows(share), bench)
    first = judge(release(name, 1), None, POLICY, bench.experiments, bench.store)
    better = judge(release(name, 2), release(name, 1), POLICY, bench.experiments, bench.store)
    worse = judge(release(name, 3), release(name, 2), POLICY, bench.experiments, bench.store)
    assert [item.verdict.outcome for item in (first, better, worse)] == ["accepted", "accepted", "rejected"]
    assert better.champion is not None
    assert picture(better.candidate, better.champion, bench.experiments) == better.comparison
    keep_verdict(better, bench.experiments)
    run = bench.experiments.get(better.candidate.run or "")
    for drawn in ("differences.png", "wins_and_losses.png"):
        assert bench.experiments.read(run, drawn).startswith(b"\x89PNG")
    assert json.loads(bench.experiments.read(run, "verdict.json"))["accepted"]
    assert run.tags["switchyard.verdict"] == "accepted"


def test_a_run_is_tied_to_its_cases_so_that_the_ui_shows_them(bench: Bench, name: str) -> None:
    scores = evaluate(release(name, 1), CASES, knows(1), replace(bench, source="prompts/tried/cases.jsonl"))
    inputs = httpx.get(f"{bench.experiments.uri}/api/2.0/mlflow/runs/get", params={"run_id": scores.run}).json()
    (tied,) = inputs["run"]["inputs"]["dataset_inputs"]
    assert tied["dataset"]["name"] == "prompts/tried/cases.jsonl"
    assert tied["dataset"]["digest"] == scores.cases_digest.removeprefix("sha256:")[:36]


def test_a_run_says_who_evaluated_what_from_which_commit_even_within_mlflow_run(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = bench.experiments.start(bench.experiments.experiment("projects"), "evaluate", {})
    monkeypatch.setenv("MLFLOW_RUN_ID", around.id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", around.experiment)
    scores = evaluate(release(name, 1), CASES, knows(1), replace(bench, user="anna"))
    assert scores.run != around.id
    tags = bench.experiments.get(scores.run or "").tags
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert (tags["mlflow.user"], tags["mlflow.source.git.commit"]) == ("anna", commit)
    assert tags["mlflow.source.name"] == "switchyard evaluate"


def test_what_a_run_shows_is_masked_with_a_sites_own_patterns_too(bench: Bench, name: str) -> None:
    cases = (Case("1", "Whose badge is EMP-123456?", ("anna@example.com",)),)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Ask]:
        async def ask(case: Case) -> Answer:
            return Answer(
                "EMP-123456 is anna@example.com.", contexts=(Context("c", "d", "t", "EMP-123456", 0, 10, 1.0),)
            )

        yield ask

    ours = replace(bench, masker=Masker({"badge": r"EMP-\d+"}))
    scores = evaluate(release(name, 1), cases, opened, ours)
    trace_sample(release(name, 1), cases, scores, 1, ours)
    run = bench.experiments.get(scores.run or "")
    table = bench.experiments.read(run, "eval_results_table.json").decode()
    body = {"locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": run.experiment}}]}
    traces = httpx.post(f"{bench.experiments.uri}/api/3.0/mlflow/traces/search", json=body).text
    for written in (table, traces):
        assert "[badge]" in written
        assert "123456" not in written
        assert "anna@" not in written


def test_the_description_shows_the_verdict_and_the_pictures(bench: Bench, name: str) -> None:
    old, new = (evaluate(release(name, version), CASES, knows(share), bench) for version, share in ((1, 0.7), (2, 0.8)))
    comparison = picture(new, old, bench.experiments)
    described = bench.experiments.get(new.run or "").tags["mlflow.note.content"]
    assert f"| correct | {0.8:.3f} | {0.7:.3f} |" in described
    assert comparison in described
    assert bench.experiments.case_by_case(bench.experiments.get(new.run or "")) in described
    keep_verdict(judge(release(name, 2), release(name, 1), POLICY, bench.experiments, bench.store), bench.experiments)
    described = bench.experiments.get(new.run or "").tags["mlflow.note.content"]
    assert f"**{name}/2: accepted** on 60 cases against {name}/1." in described
    for file in ("differences.png", "wins_and_losses.png"):
        shown = httpx.get(f"{bench.experiments.uri}/get-artifact?path={file}&run_uuid={new.run}")
        assert f"](get-artifact?path={file}&run_uuid={new.run})" in described
        assert shown.content.startswith(b"\x89PNG")


def test_a_sample_goes_through_mlflows_own_evaluation_and_the_librarys_metrics_stand_beside(
    bench: Bench, name: str, tmp_path: Path
) -> None:
    both = replace(bench, library=tuple(known_metrics()), home=tmp_path)
    scores = evaluate(release(name, 1), CASES, knows(0.8), both)
    trace_sample(release(name, 1), CASES, scores, 3, both)
    run = bench.experiments.get(scores.run or "")
    logged = {row["key"]: row["value"] for row in run_data(bench, run.id)["metrics"]}
    assert logged["library.contains"] == logged["contains"] == pytest.approx(0.8)
    (child,) = bench.experiments.find(run.experiment, {"mlflow.parentRunId": run.id})
    sampled = {row["key"] for row in run_data(bench, child.id)["metrics"]}
    assert {"correct/mean", "token_f1/mean"} <= sampled
    body = {"locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": run.experiment}}]}
    found = httpx.post(f"{bench.experiments.uri}/api/3.0/mlflow/traces/search", json=body).json()["traces"]
    assert len(found) == 3
    assert {each["assessment_name"] for each in found[0]["assessments"]} >= {"correct", "token_f1", "latency_ms"}


def test_after_ctrl_c_there_is_no_run_and_only_the_rest_is_asked(bench: Bench, name: str) -> None:
    asked: list[str] = []

    def answering(interrupted_at: int) -> Opened:
        @asynccontextmanager
        async def opened() -> AsyncIterator[Ask]:
            async def ask(case: Case) -> Answer:
                asked.append(case.id)
                if len(asked) == interrupted_at:
                    signal.raise_signal(signal.SIGINT)
                    await asyncio.sleep(5)
                return Answer("It is blue.", latency_ms=1.0)

            yield ask

        return opened

    one_by_one = replace(bench, plan=Plan(at_once=1))
    with pytest.raises(KeyboardInterrupt):
        evaluate(release(name, 1), CASES, answering(21), one_by_one)
    assert find_run(bench.experiments, release(name, 1)) is None
    evaluate(release(name, 1), CASES, answering(0), one_by_one)
    assert len(asked) == 21 + 40


def test_a_score_that_is_no_number_is_no_defect_and_the_gate_refuses(bench: Bench, name: str) -> None:
    odd = replace(bench, scorers={**SCORERS, "correct": lambda context: Score(math.nan)})
    assert "correct" not in means(evaluate(release(name, 1), CASES, knows(1), odd))
    assert "not finite" in judge(release(name, 1), None, POLICY, bench.experiments, bench.store).verdict.reasons[0]


def test_a_broken_scorer_leaves_a_run_that_is_not_reused_and_that_the_gate_refuses(bench: Bench, name: str) -> None:
    def broken(context: ScoringContext) -> Score:
        raise ZeroDivisionError

    bad = Bench(bench.experiments, bench.store, bench.answers, scorers={**SCORERS, "correct": broken})
    evaluate(release(name, 1), CASES, knows(0.8), bad)
    assert known_scores(release(name, 1), CASES, bad) is None
    verdict = judge(release(name, 1), None, POLICY, bench.experiments, bench.store).verdict
    assert verdict.outcome == "rejected"
    assert "its scorer failed on 60 case(s)" in verdict.reasons[0]


def test_what_was_not_evaluated_cannot_be_judged_and_says_what_to_type(bench: Bench, name: str) -> None:
    with pytest.raises(NotFound, match=f"switchyard evaluate {name}"):
        judge(release(name, 1), None, POLICY, bench.experiments, bench.store)


def test_runs_on_other_cases_do_not_count_and_are_named(bench: Bench, name: str) -> None:
    evaluate(release(name, 1), CASES, knows(0.8), bench)
    evaluate(release(name, 1), CASES[:40], knows(0.9), bench)
    judged = judge(release(name, 1), None, POLICY, bench.experiments, bench.store, cases_digest(CASES))
    assert len(judged.candidate.case_ids) == len(CASES)
    with pytest.raises(NotFound, match="on other cases"):
        judge(release(name, 1), None, POLICY, bench.experiments, bench.store, cases_digest(CASES[1:]))


def test_scores_of_something_else_put_into_a_run_are_not_read(bench: Bench, name: str) -> None:
    for version in (1, 2):
        evaluate(release(name, version), CASES, knows(version / 2), bench)
    runs = [find_run(bench.experiments, release(name, version)) for version in (1, 2)]
    assert runs[0]
    assert runs[1]
    bench.experiments.write(runs[0], "scores.json", bench.experiments.read(runs[1], "scores.json"))
    with pytest.raises(SealBroken, match="was edited since"):
        judge(release(name, 1), None, POLICY, bench.experiments, bench.store)
    assert known_scores(release(name, 1), CASES, bench) is None
    bench.experiments.log(runs[1], tags={"switchyard.digest": release(name, 1).digest, "switchyard.version": "1"})
    with pytest.raises(InvalidData, match="the run says otherwise"):
        scores_of(bench.experiments, bench.store, bench.experiments.get(runs[1].id))


def test_a_run_that_somebody_made_up_in_mlflow_does_not_count(bench: Bench, name: str) -> None:
    evaluate(release(name, 1), CASES, knows(0.2), bench)
    run = find_run(bench.experiments, release(name, 1))
    assert run is not None
    worse = json.loads(bench.experiments.read(run, "scores.json"))
    better = {**worse, "metrics": {**worse["metrics"], "correct": [1.0] * len(CASES)}}
    forged = bench.experiments.start(run.experiment, run.tags["mlflow.runName"], run.tags)
    bench.experiments.write(forged, "scores.json", json.dumps(better).encode())
    bench.experiments.finish(forged)
    with pytest.raises(SealBroken, match="No evaluation of this stack"):
        judge(release(name, 1), None, POLICY, bench.experiments, bench.store)


def test_a_dead_mlflow_is_an_outage_and_not_an_empty_answer() -> None:
    experiments = Experiments(RegistrySettings(mlflow_uri="http://127.0.0.1:9"))
    with pytest.raises(Unavailable, match="does not answer"):
        experiments.experiment("evaluate-qa")


def test_an_mlflow_dataset_holds_cases_under_either_name_of_an_expectation(bench: Bench, name: str) -> None:
    import mlflow

    mlflow.set_tracking_uri(bench.experiments.uri)
    dataset = mlflow.genai.datasets.create_dataset(name=name)
    records = [
        {"inputs": {"id": "b", "question": "Why?"}, "expectations": {"expected_response": "so", "tags": ["t"]}},
        {"inputs": {"id": "a", "question": "What?", "context": "It is."}, "expectations": {"expected": ["it", "this"]}},
        {"inputs": {"id": "c", "question": "Who?"}},
    ]
    dataset.merge_records(records)
    assert load_cases(f"dataset:{name}") == (
        Case("a", "What?", ("it", "this"), context="It is."),
        Case("b", "Why?", ("so",), tags=("t",)),
        Case("c", "Who?"),
    )
    with pytest.raises(NotFound, match="no dataset"):
        load_cases(f"dataset:{name}-gone")
