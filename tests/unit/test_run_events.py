"""Records of runs become OpenLineage's events: valid ones, and the same bytes each time."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_project.adapters import run_datasets, run_flows
from mlflow_project.adapters.run_datasets import made_from
from mlflow_project.adapters.run_log import RunLog, recorded_run
from mlflow_project.catalog.events import event_bytes
from mlflow_project.catalog.ledger_runs import runs_of
from mlflow_project.domain.record import GENESIS, LedgerRecord
from mlflow_project.domain.run import Dataset, RunRecord, read_parents, read_run_record
from mlflow_project.errors import InvalidData
from tests.catalog.conforming import mistakes

DIGEST = "sha256:" + "a" * 64
TASK = "switchyard/prepare_knowledge.chunk/0190c1a4-0000-7000-8000-000000000001"
DAG = "switchyard/prepare_knowledge/0190c1a4-0000-7000-8000-000000000002"


def record(**more: object) -> RunRecord:
    parent, root = read_parents({"parent": TASK, "root": DAG})
    raw = Dataset("s3://raw", "a.json", rows=3, checks=[{"assertion": "rows can be read", "success": True}])
    chunks = Dataset("s3://curated", "docs", "4", (("text_content", "string"), ("start", "integer")), rows=9)
    chunks = made_from(chunks, raw, {"text_content": ["text"]})
    release = run_datasets.release("prompt", "qa", 7, DIGEST)
    return replace(
        RunRecord("prepare k", "prepare", "COMPLETE", "2026-12-01T01:00:00.000Z", "user:ann", "why"),
        inputs=(raw, release),
        outputs=(chunks,),
        parent=parent,
        root=root,
        evaluation={"candidate": "qa/7", "metrics": {"f1": 0.5}, "verdict": {"accepted": True, "reasons": []}},
        **more,
    )


def ledger(*steps: dict[str, object]) -> list[LedgerRecord]:
    common = {"previous": GENESIS, "nonce": "n", "time": "2026-12-01T01:00:00.000Z", "kind": "prompt", "name": "qa"}
    own = {"who": "user:ann", "version": 7, "digest": DIGEST}
    return [LedgerRecord(serial=number, **{**common, **own, **each}) for number, each in enumerate(steps, 1)]


def test_an_event_is_valid_by_openlineages_classes_and_by_our_schemas() -> None:
    event = json.loads(event_bytes(record()))
    assert mistakes(event) == []
    assert event["outputs"][0]["facets"]["version"]["datasetVersion"] == "4"
    assert event["outputs"][0]["facets"]["columnLineage"]["fields"]["text_content"]["inputFields"][0]["field"] == "text"
    assert event["inputs"][0]["inputFacets"]["dataQualityMetrics"]["rowCount"] == 3
    assert event["inputs"][1]["facets"]["promptVersion"]["version"] == 7


def test_the_check_itself_finds_mistakes() -> None:
    event = json.loads(event_bytes(record()))
    event["run"]["facets"]["evaluation"]["candidate"] = 7
    event["inputs"][1]["facets"]["promptVersion"]["digest"] = "abc"
    event["outputs"][0]["name"] = None
    del event["job"]["namespace"]
    found = " ".join(mistakes(event))
    assert all(place in found for place in ("candidate", "promptVersion", "outputs[0].name", "lacks namespace"))


def test_a_record_that_went_through_json_gives_the_same_bytes() -> None:
    once = record()
    assert event_bytes(read_run_record(json.loads(json.dumps(once.to_dict())))) == event_bytes(once)


def test_the_run_id_depends_on_what_the_run_is_recorded_as_alone() -> None:
    assert record().run_id == record(error="x").run_id != replace(record(), key="prepare l").run_id


def test_a_task_of_airflow_is_the_parent_and_its_dag_the_root() -> None:
    parent = json.loads(event_bytes(record()))["run"]["facets"]["parent"]
    assert (parent["job"]["namespace"], parent["job"]["name"]) == ("switchyard", "prepare_knowledge.chunk")
    assert parent["root"]["run"]["runId"] == DAG.rpartition("/")[2]


@pytest.mark.parametrize("text", ["", "no", "a/b", "a/b/not-a-run", "//0190c1a4-0000-7000-8000-000000000001"])
def test_what_names_no_run_is_no_parent(text: str) -> None:
    assert read_parents({"parent": text, "root": DAG}) == (None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "other/v1"},
        {"state": "DONE"},
        {"time": "yesterday"},
        {"inputs": [{"name": "x"}]},
        {"key": ""},
        {"surprise": 1},
    ],
)
def test_what_is_no_record_of_a_run_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidData, match="no record of a run"):
        read_run_record({**record().to_dict(), **change})


def test_a_metric_that_is_not_a_number_fails_no_job(tmp_path: Path) -> None:
    with recorded_run("train", log=RunLog(folder=tmp_path)) as running:
        running.evaluation = {"candidate": "fraud/1", "metrics": {"f1": float("nan")}}


def test_a_promotion_is_one_run_that_ends_with_its_outcome() -> None:
    steps = ledger(
        {"type": "intent", "alias": "Production", "evidence": {"how": "promote", "started_by": {"parent": TASK}}},
        {"type": "flip", "alias": "Production"},
        {"type": "intent", "alias": "Production", "evidence": {"how": "rollback"}},
        {"type": "aborted", "alias": "Production", "why": "no worker could load it"},
    )
    runs = [made.run for made in runs_of(steps)]
    assert [(run.job, run.state) for run in runs] == [
        ("promote.qa", "START"),
        ("promote.qa", "COMPLETE"),
        ("rollback.qa", "START"),
        ("rollback.qa", "FAIL"),
    ]
    assert runs[0].run_id == runs[1].run_id != runs[2].run_id == runs[3].run_id
    assert runs[1].parent is not None
    assert runs[3].error == "no worker could load it"
    assert runs[1].outputs == (run_datasets.alias("qa", "Production", 7),)


def test_a_rollout_is_one_run_with_its_steps_between() -> None:
    steps = ledger(
        {"type": "rollout", "alias": "Canary"},
        {"type": "step", "alias": "Canary", "intent": 1},
        {"type": "intent", "alias": "Production", "evidence": {"how": "promote"}},
        {"type": "flip", "alias": "Production"},
        {"type": "finish", "alias": "Canary", "intent": 1},
        {"type": "rollout", "alias": "Canary"},
        {"type": "abort", "alias": "Canary", "intent": 6, "why": "errors"},
        {"type": "shadow"},
        {"type": "shadow_stop", "intent": 8},
    )
    runs = [made.run for made in runs_of(steps)]
    states = [run.state for run in runs if run.job == "rollout.qa"]
    assert states == ["START", "RUNNING", "COMPLETE", "START", "ABORT"]
    assert [run.state for run in runs if run.job == "shadow.qa"] == ["START", "COMPLETE"]
    assert all(mistakes(json.loads(event_bytes(run))) == [] for run in runs)


def test_a_retraction_is_a_run_about_the_release() -> None:
    start, end = (made.run for made in runs_of(ledger({"type": "retraction", "evidence": {"index": DIGEST}})))
    assert [(run.job, run.state) for run in (start, end)] == [("retract.qa", "START"), ("retract.qa", "COMPLETE")]
    assert mistakes(json.loads(event_bytes(end))) == []


def test_a_rejection_is_a_run_that_completed_with_a_verdict() -> None:
    verdict = {"accepted": False, "reasons": ["f1 fell"], "outcome": "rejected"}
    evidence = {"verdict": verdict, "policy": {"digest": DIGEST}, "champion": {"version": 6, "digest": DIGEST}}
    evidence |= {"runs": {"candidate": "r1"}, "cases": {"digest": DIGEST, "count": 3}}
    start, end = (made.run for made in runs_of(ledger({"type": "refusal", "evidence": evidence})))
    assert (start.state, end.state) == ("START", "COMPLETE")
    assert end.evaluation is not None
    assert end.evaluation["verdict"] == {"accepted": False, "reasons": ["f1 fell"]}
    assert end.evaluation["champion"] == "qa/6"
    assert mistakes(json.loads(event_bytes(end))) == []


@pytest.mark.parametrize(
    ("flow", "read", "written"),
    [
        (run_flows.prepared("s3a://raw/a.json", "s3a://curated/docs", {}, None), ["a.json"], ["docs"]),
        (run_flows.indexed("s3a://curated/docs", None), ["docs"], ["indexes/curated/docs"]),
        (run_flows.exported("/tmp/a", "/tmp/out", None), ["/tmp/a"], ["/tmp/out/train.jsonl"]),
        (run_flows.trained("fraud", "s3a://c/rows@3", None), ["rows"], ["models/fraud"]),
        (run_flows.predicted("s3a://c/in@2", "s3a://c/out", "fraud@Staging", None), ["in", "models/fraud"], ["out"]),
        (run_flows.profiled("s3a://curated/docs", None), ["docs"], ["docs_profiles"]),
        (run_flows.featured({"s3a://raw/e": {}}, "s3a://c/f", None), ["e"], ["f", "f_training"]),
        (run_flows.evaluated("prompt", "qa", 7, "x", None), ["prompts/qa", "cases/qa"], ["evaluations/qa"]),
    ],
)
def test_a_job_that_starts_names_what_it_reads_and_writes(
    flow: run_flows.Flow, read: list[str], written: list[str]
) -> None:
    assert [each.name for each in flow.inputs] == read
    assert [each.name for each in flow.outputs][: len(written)] == written
