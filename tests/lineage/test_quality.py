"""The quality of texts hangs on their table version: a policy demands it, and the walks show it."""

from __future__ import annotations

import json
from pathlib import Path

from mlflow_project.adapters.text_quality import text_quality
from mlflow_project.domain.release import KnowledgeBase
from mlflow_project.evaluation.demanded_data import demanded_data
from mlflow_project.lineage.trace import trace_answer
from mlflow_project.promotion.sealed import checked_statement
from mlflow_project.rules.gate.policy import policy_from
from tests.lineage.corpus import TEXTS, Corpus
from tests.releases.conftest import Yard

POLICY = {
    "min_cases": 1,
    "metrics": {"contains": {"direction": "higher", "floor": 0.1}},
    "data": {"max_quarantine": "2%", "profile": "required"},
}


def test_the_gate_refuses_texts_of_poor_quality_and_seals_the_numbers(yard: Yard, tmp_path: Path) -> None:
    """Of four rows one is rejected, beside one that somebody retracted and a page. 2 % are too few, 30 % are enough."""
    corpus = Corpus.of(yard)
    base = corpus.prepare(rejected=["empty_text", "retracted", "bad_page"])
    release = corpus.register(base)
    case = {"id": "1", "question": "What decides?", "expected": ["gate"]}
    (tmp_path / "cases.jsonl").write_text(json.dumps(case))
    common = ("--version", str(release.version), "--cases", str(tmp_path / "cases.jsonl"))
    code, said = yard.run("evaluate", yard.name, *common, SWITCHYARD_EVALUATION_EXTRAS="false")
    assert code == 0, said

    def gate(**data: str) -> tuple[int, str]:
        (tmp_path / "policy.yaml").write_text(json.dumps({**POLICY, "data": data}))
        code, said = yard.run("gate", yard.name, *common, "--policy", str(tmp_path / "policy.yaml"))
        return code, " ".join(said.split())

    where = f"{corpus.table} at version {base.delta_version}"
    code, said = gate(max_quarantine="2%", profile="required")
    assert code == 4, said
    assert f"1 of 4 raw rows of {where} are in quarantine (25.00%), more than the 2.00%" in said
    assert "in quarantine are bad_page 1, empty_text 1, retracted 1" in said
    assert f"run `spark-submit spark_jobs/profile_documents.py {corpus.table} --version {base.delta_version}`" in said
    assert yard.state.refusals.keys() == {release.version}

    corpus.profile(base.delta_version)
    code, said = gate(max_quarantine="30%", profile="required")
    assert code == 0, said
    predicate = checked_statement(yard.parts, yard.name, yard.state.seals[release.version]).predicate
    checks = {check["rule"]: check for check in predicate["verdict"]["checks"] if check["metric"] == "data"}
    assert (checks["data max_quarantine"]["candidate"], checks["data profile"]["holds"]) == (0.25, True)
    assert any("1 of 4 raw rows" in reason for reason in predicate["verdict"]["reasons"])


def test_facts_that_cannot_be_read_never_pass(yard: Yard) -> None:
    corpus = Corpus.of(yard)
    base = corpus.prepare()
    release = corpus.register(base)
    policy = policy_from(POLICY)
    store = yard.parts.store
    bucket, table = corpus.table.removeprefix("s3a://").split("/", 1)
    for item in list(store.list(bucket, f"{table}_quarantine/")):
        store.delete(bucket, item.key)
    (check,) = demanded_data(release, policy)
    assert (check.holds, "cannot be read, so nothing is decided" in check.reason) == (None, True)
    assert f"no Delta table at {corpus.table}_quarantine" in check.reason
    unknown = corpus.register(KnowledgeBase(corpus.table, base.delta_version + 7, base.index))
    (check,) = demanded_data(unknown, policy)
    assert (check.holds, "no commit of" in check.reason) == (None, True)
    assert demanded_data(yard.release(yard.register()), policy) == (), "a release without texts"


def test_the_walks_show_the_quality_at_the_table_version(yard: Yard) -> None:
    corpus = Corpus.of(yard)
    base = corpus.prepare(rejected=["empty_text"])
    release = corpus.release(base)
    corpus.profile(base.delta_version)
    corpus.prepare({**TEXTS, "more": "One document more."})
    corpus.answered(f"{yard.name}-quality", release, [corpus.chunks()["gate"]])
    (step,) = [each for each in trace_answer(yard.parts, f"{yard.name}-quality").steps if each.check == "quality"]
    assert (step.node, step.status) == (f"table:{corpus.table}@{base.delta_version}", "ok")
    assert step.detail == (
        "2 documents, 2 chunks, 1 in quarantine (empty_text 1); 1 of 3 rows rejected (33.33%); a profile of text"
    )
    code, said = yard.run("lineage", "up", f"index:{base.index}", "--json")
    assert code in (0, 4), said
    nodes = {each["node"]: each for each in json.loads(said.splitlines()[0])["nodes"]}
    assert nodes[step.node]["quality"] == text_quality(corpus.table, base.delta_version).to_dict()
