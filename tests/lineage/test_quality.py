"""The quality of texts hangs on their table version, and a policy demands it."""

from __future__ import annotations

import json
from pathlib import Path

from mlflow_project.domain.release import KnowledgeBase
from mlflow_project.evaluation.demanded_data import demanded_data
from mlflow_project.ledger import Seal
from mlflow_project.promotion.sealed import checked_statement
from mlflow_project.rules.gate.policy import policy_from
from tests.lineage.corpus import Corpus
from tests.releases.conftest import Yard

POLICY = {
    "min_cases": 1,
    "metrics": {"contains": {"direction": "higher", "floor": 0.1}},
    "data": {"max_quarantine": "2%", "profile": "required"},
}


def test_the_gate_refuses_texts_of_poor_quality_and_seals_the_numbers_of_good_ones(yard: Yard, tmp_path: Path) -> None:
    """One of three rows in quarantine, beside one that somebody retracted and a page: refused. Then none: sealed."""
    corpus = Corpus.of(yard)
    poor = corpus.register(corpus.prepare(rejected=["empty_text", "retracted", "bad_page"]))
    case = {"id": "1", "question": "What decides?", "expected": ["gate"]}
    (tmp_path / "cases.jsonl").write_text(json.dumps(case))
    (tmp_path / "policy.yaml").write_text(json.dumps(POLICY))
    files = ("--cases", str(tmp_path / "cases.jsonl"))

    def gate(version: int) -> tuple[int, str]:
        number = ("--version", str(version))
        code, said = yard.run("evaluate", yard.name, *number, *files, SWITCHYARD_EVALUATION_EXTRAS="false")
        assert code == 0, said
        return yard.run("gate", yard.name, *number, *files, "--policy", str(tmp_path / "policy.yaml"))

    code, said = gate(poor.version)
    said = " ".join(said.split())
    assert code == 4, said
    assert f"1 of 4 raw rows of {corpus.table} at version 0 are in quarantine (25.00%), more than the 2.00%" in said
    assert "in quarantine are bad_page 1, empty_text 1, retracted 1" in said
    assert f"run `spark-submit spark_jobs/profile_documents.py {corpus.table} --version 0`" in said
    assert yard.state.refusals.keys() == {poor.version}

    base = corpus.prepare()
    corpus.profile(base.delta_version)
    good = corpus.register(base)
    code, said = gate(good.version)
    assert code == 0, said
    seal = yard.state.seals[good.version]
    assert isinstance(seal, Seal)
    verdict = checked_statement(yard.parts, yard.name, seal).predicate["verdict"]
    checks = {check["rule"]: check for check in verdict["checks"] if check["metric"] == "data"}
    assert (checks["data max_quarantine"]["candidate"], checks["data profile"]["holds"]) == (0.0, True)
    assert any("0 of 2 raw rows" in reason for reason in verdict["reasons"])


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
