"""Text that was taken back: releases that rest on it are marked, and become live only when a person says why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlflow_project.adapters.delta_tables import ask
from mlflow_project.domain.rollout import Plan
from mlflow_project.errors import InvalidData, Refused
from mlflow_project.ledger import State
from mlflow_project.lineage.graph import Node
from mlflow_project.lineage.impact import Impact, impact
from mlflow_project.lineage.retract import retract
from mlflow_project.promotion.promote import promote, rollback
from mlflow_project.promotion.retracted import check_index
from mlflow_project.rollouts.start import start
from tests.lineage.corpus import TEXTS, Corpus
from tests.releases.conftest import Yard

ANNA, BERT = "user:anna", "user:bert"


def of_gate(yard: Yard, corpus: Corpus) -> Impact:
    return impact(yard.parts, [Node("document", "gate", corpus.table)], retracting=True)


def test_a_release_with_retracted_text_is_live_again_only_for_a_stated_reason(yard: Yard) -> None:
    """Three releases: the middle one rests on the text, the others do not."""
    corpus = Corpus.of(yard)
    others = {"ledger": TEXTS["ledger"]}
    without = corpus.release(corpus.prepare(others))
    base = corpus.prepare(TEXTS)
    resting = corpus.release(base, "with {{question}}")
    corpus.release(corpus.prepare({**others, "seal": "A seal binds a digest."}), "new {{question}}")

    with pytest.raises(InvalidData, match="--reason TEXT"):
        retract(yard.parts, of_gate(yard, corpus), BERT, " ")
    found = of_gate(yard, corpus)
    assert not any("prepare" in command for command in found.commands), found.commands
    unsure = replace(found, gaps=["the index of another table cannot be read"])
    done = retract(yard.parts, unsure, BERT, "the author withdrew it")
    assert (list(done.records), done.documents) == ([resting.label], {corpus.table: ["gate"]})
    assert retract(yard.parts, of_gate(yard, corpus), BERT, "once more") == done, "a second time changes nothing"
    columns, rows = ask(f"SELECT document_id, who, why FROM delta.`{corpus.table}_retracted`")
    assert (columns, rows) == (["document_id", "who", "why"], [("gate", BERT, "the author withdrew it")])
    record = next(each for each in yard.parts.ledger.records() if each.serial == done.records[resting.label])
    assert (record.type, record.version, record.digest) == ("retraction", resting.version, resting.digest)
    assert record.evidence == {"documents": ["gate"], "count": 1, "table": corpus.table, "index": base.index}

    said = rf"(?s){resting.label} rests on text that {BERT} retracted.*the author withdrew it.*--despite-retraction"
    for to in ("Staging", "Production"):
        with pytest.raises(Refused, match=said):
            promote(yard.parts, yard.name, resting.version, to, ANNA)
    with pytest.raises(Refused, match=said):
        start(yard.parts, yard.name, resting.version, Plan((0.5, 1.0)), ANNA)
    with pytest.raises(Refused, match=said):
        rollback(yard.parts, yard.name, ANNA, to=resting.version)
    code, words = yard.run("rollback", yard.name, "--to", str(resting.version))
    assert code == Refused.exit_code, words
    assert "--despite-retraction" in words
    assert rollback(yard.parts, yard.name, ANNA).version == without.version, "the one with the text is passed over"

    flip = rollback(yard.parts, yard.name, ANNA, "urgent", to=resting.version, despite_retraction="it is public now")
    stated = next(each for each in yard.parts.ledger.records() if each.serial == flip.serial)
    intent = next(each for each in yard.parts.ledger.records() if each.serial == stated.intent)
    assert (intent.why, intent.evidence["despite_retraction"]) == ("urgent; it is public now", record.serial)

    with pytest.raises(Refused, match=rf"other/1 pins the search index {base.index}, which has text that {BERT}"):
        check_index(yard.parts.ledger.state(), "other/1", base.index)
    check_index(yard.parts.ledger.state(), "other/1", None)
    check_index(State(), "other/1", base.index)


def test_the_command_wants_a_reason_and_no_whole_table(yard: Yard) -> None:
    for words, said in (
        (("--document", "gate", "--retract"), "--reason TEXT"),
        (("--table", "s3a://curated-data-bucket/x", "--retract", "--reason", "why"), "A whole table is not retracted"),
    ):
        corpus = Corpus.of(yard)
        if "--document" in words:
            corpus.release(corpus.prepare())
            words = ("--document", f"gate@{corpus.table}", "--retract")
        code, out = yard.run("lineage", "impact", *words)
        assert code == InvalidData.exit_code, out
        assert said in out
