"""What the DAG files promise, read by Airflow's own Python: no server needed."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DAGS = Path(__file__).parents[2] / "dags"
FILES = sorted(DAGS.glob("*.py"))
LOCAL_MODULE = "switchyard_commands"


@pytest.fixture(scope="session")
def dags(airflow_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The DAGs as data."""
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow"))}
    script = Path(__file__).with_name("describe_dags.py")
    done = subprocess.run([airflow_python, script], env=environment, capture_output=True, text=True, check=True)
    described: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])  # Airflow warns on stdout, before it
    return described


def paths(tasks: dict[str, Any], goal: str, way: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every way from a task that waits for nothing to the goal."""
    way = (goal, *way)
    before = [task for task, facts in tasks.items() if goal in facts["downstream"]]
    return [found for task in before for found in paths(tasks, task, way)] if before else [way]


def promotes(call: ast.Call) -> bool:
    """Whether a call's words begin with `promote`, written in the call or in a tuple before it."""
    words = [getattr(word, "value", None) for word in call.args[:2]]
    return words[:1] == ["promote"] or words == ["rollout", "start"]


def promoting_functions(file: Path) -> set[str]:
    """Names of the functions in a file that run `switchyard promote`."""
    return {
        function.name
        for function in ast.walk(ast.parse(file.read_text()))
        if isinstance(function, ast.FunctionDef)
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and promotes(call)
    }


def test_every_path_to_a_promotion_leads_through_an_accepted_verdict_of_the_gate(dags: dict[str, Any]) -> None:
    promoting = promoting_functions(DAGS / "evaluate_and_promote.py")
    assert promoting == {"promote_to_staging", "promote_to_production"}
    for task in promoting:
        for way in paths(dags["evaluate_and_promote"]["tasks"], task):
            assert "gate" in way, way
            assert way.index("gate") < way.index("accepted") < way.index(task), way


def test_no_other_dag_promotes() -> None:
    assert [file.name for file in FILES if promoting_functions(file)] == ["evaluate_and_promote.py"]


def test_nothing_skipped_on_the_way_to_production_can_be_jumped_over(dags: dict[str, Any]) -> None:
    tasks = dags["evaluate_and_promote"]["tasks"]
    lenient = {name for name, facts in tasks.items() if not facts["trigger_rule"].endswith("ALL_SUCCESS")}
    assert lenient == {"promote_to_production", "roll_back", "others", "any_failure"}
    before_production = {name for name, facts in tasks.items() if "promote_to_production" in facts["downstream"]}
    assert before_production == {"who_decides", "approval"}, "both come after the gate, and one of them must succeed"


def test_dags_import_airflow_the_standard_library_and_one_local_module() -> None:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
                roots = {name.split(".")[0] for name in names}
                assert roots <= {"airflow", LOCAL_MODULE, *sys.stdlib_module_names}, f"{file.name}: {roots}"


def test_every_dag_has_a_runbook_and_does_not_catch_up(dags: dict[str, Any]) -> None:
    assert set(dags) == {file.stem for file in FILES} - {LOCAL_MODULE}
    for name, dag in dags.items():
        assert "**When it fails.**" in dag["doc_md"], name
        assert not dag["catchup"], name
        assert dag["timeout"], name


def test_every_task_has_a_time_limit_and_says_how_often_it_is_tried(dags: dict[str, Any]) -> None:
    for name, dag in dags.items():
        for task, facts in dag["tasks"].items():
            assert facts["bounded"], f"{name}.{task} may run for ever"
            assert facts["retries"] is not None, f"{name}.{task}"


def test_every_param_has_a_type(dags: dict[str, Any]) -> None:
    for name, dag in dags.items():
        for param, schema in dag["params"].items():
            assert schema.get("type"), f"{name}: {param}"


def test_a_run_fails_when_any_of_its_tasks_failed(dags: dict[str, Any]) -> None:
    tasks = dags["evaluate_and_promote"]["tasks"]
    watched = {name for name, facts in tasks.items() if "any_failure" in facts["downstream"]}
    assert watched == set(tasks) - {"any_failure", "roll_back", "run_next"}
    assert tasks["any_failure"]["trigger_rule"].endswith("ONE_FAILED")


def test_what_starts_by_itself_begins_paused(dags: dict[str, Any]) -> None:
    assert {name for name, dag in dags.items() if dag["begins_active"]} == {"rollback", "fine_tune"}


def test_the_functions_of_the_dags_say_what_is_missing_and_what_events_are_about(airflow_python: Path) -> None:
    done = subprocess.run([airflow_python, "-c", FUNCTIONS], cwd=DAGS, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["no_such"] == [
        "prompts/no_such/cases.jsonl is not there or empty",
        "prompts/no_such/policy.yaml is not there or empty",
    ]
    assert said["ready"] == [[], [], []], "a model needs a policy and no cases"
    assert said["chosen"] == {"models": ["fraud", "intent"], "failed_expectations": ["intent: too few rows"]}
    assert said["all"] == {"models": ["fraud", "intent"], "failed_expectations": []}
    tables, options = said["job"][:2], said["job"][2:]
    assert tables == ["other", "s3a://curated-data-bucket/fraud/predictions"]
    assert options == ["--model", "fraud@Production", "--key", "id", "--max-failed", "0.01"]
    assert said["raw_events"] == [{}, {"input": "raw", "rows": 7}, {}], (
        "a corpus event beside it: the whole corpus is read"
    )
    assert said["announced"] == [[7, {"input": "raw", "rows": 7}], ["raw has no new row.", {}]]


FUNCTIONS = """
import json
from types import SimpleNamespace
import batch_inference, ingest, prepare_knowledge, train_model
from airflow.sdk.exceptions import AirflowSkipException
from switchyard_commands import DATA_QUALITY, MODEL_DRIFT, QUESTION_DRIFT, RAW_DOCUMENTS, missing_files

def event(**extra):
    return SimpleNamespace(extra=extra)

def announced(prepared):
    ingest.switchyard = lambda *words, accept: [{"rows": 7}]
    ingest.Variable = SimpleNamespace(get=lambda name, default: prepared)
    sent = {RAW_DOCUMENTS: SimpleNamespace(extra={})}
    try:
        said = ingest.announce.function({"table": "raw"}, sent)
    except AirflowSkipException as skipped:
        said = str(skipped)
    return [said, sent[RAW_DOCUMENTS].extra]

raw = {RAW_DOCUMENTS: [event(input="older", rows=1), event(input="raw", rows=7)]}
choose = train_model.choose.function
events = {
    DATA_QUALITY: [event(model="intent", failed_expectations=["too few rows"])],
    MODEL_DRIFT: [event(releases=["fraud/3", "gone/1"])],
}
print(json.dumps({
    "no_such": missing_files("no_such"),
    "ready": [missing_files(name) for name in ("qa", "fraud", "intent")],
    "chosen": choose({"model": None}, events),
    "all": choose({"model": None}, {}),
    "raw_events": [prepare_knowledge.raw_event(each) for each in (None, raw, {**raw, QUESTION_DRIFT: [event()]})],
    "announced": [announced("0"), announced("7")],
    "job": batch_inference.arguments("fraud", {"input": "other", "output": None}),
}))
"""


def test_a_model_is_trained_on_new_features_and_announced_to_the_dag_that_promotes(dags: dict[str, Any]) -> None:
    ways = paths(dags["train_model"]["tasks"], "one_model.announce")
    asked = ("who_decides", "approval", "to_train")
    rest = ("one_model.features", "one_model.train", "one_model.announce")
    assert set(ways) == {("choose", *asked, *rest), ("choose", "who_decides", "to_train", *rest)}


NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}


def test_the_pages_say_how_many_dags_there_are(dags: dict[str, Any]) -> None:
    root = DAGS.parent
    pages = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    claims = {
        f"{page.relative_to(root)}: {claim}": NUMBERS[claim.split()[0].lower()]
        for page in pages
        for claim in re.findall(rf"\b(?:{'|'.join(NUMBERS)}) DAGs\b", page.read_text(), re.IGNORECASE)
    }
    assert claims, "the guide's page on Airflow says it"
    assert {claim: number for claim, number in claims.items() if number != len(dags)} == {}
    table = (root / "docs" / "guide" / "airflow.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) >= set(dags)


def test_a_rollback_is_never_tried_again_by_itself(dags: dict[str, Any]) -> None:
    assert dags["rollback"]["tasks"]["move"]["retries"] == 0
    assert dags["evaluate_and_promote"]["tasks"]["roll_back"]["retries"] == 0
