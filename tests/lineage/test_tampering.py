"""Whoever moves a pointer, or takes a record out of the ledger, is named by the walk."""

from __future__ import annotations

import json
from dataclasses import replace

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.ledger import Ledger
from mlflow_project.ledger.chain import key_of
from mlflow_project.lineage.trace import trace_answer
from tests.lineage.corpus import TEXTS, Corpus
from tests.lineage.test_asking import broken
from tests.releases.conftest import Yard, own_ledger_bucket


def test_a_moved_index_pointer_and_a_missing_record_break_the_chain(yard: Yard) -> None:
    """The attacker can write to the buckets. He points a table version at the index of another text, puts the pointer
    back, and then deletes the record of the seal. The object lock keeps the record. In a copy of the ledger without the
    lock it is really gone."""
    corpus = Corpus.of(yard)
    base = corpus.prepare()
    release = corpus.release(base)
    asked = f"{yard.name}-tampered"
    corpus.answered(asked, release, [corpus.chunks()["gate"]])
    other = corpus.prepare({**TEXTS, "gate": "The gate accepts everything."})
    store, bucket = yard.parts.store, "llm-artifacts-bucket"
    pointers = {item.key: store.get(bucket, item.key) for item in store.list(bucket, "index-of/")}
    key, pointer = next((key, data) for key, data in pointers.items() if json.loads(data)["index"] == base.index)
    assert not trace_answer(yard.parts, asked).is_broken

    store.put(bucket, key, pointer.replace(base.index.encode(), other.index.encode()))
    assert f"it was rebuilt: the index of {corpus.table} at version" in broken(trace_answer(yard.parts, asked))["index"]
    store.put(bucket, key, pointer)

    store.delete(store.settings.ledger_bucket, key_of(1))
    kept_by_object_lock = replace(yard.parts, ledger=Ledger(store))
    assert not trace_answer(kept_by_object_lock, asked).is_broken

    copy = own_ledger_bucket()
    without = ObjectStore(store.settings.model_copy(update={"ledger_bucket": copy}))
    without.ensure_bucket(copy, locked=True)
    for item in store.list(store.settings.ledger_bucket):
        without.put(copy, item.key, store.get(store.settings.ledger_bucket, item.key))
    found = broken(trace_answer(replace(yard.parts, store=without, ledger=Ledger(without)), asked))
    assert "record 1" in found["ledger"], found
