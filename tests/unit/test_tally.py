"""Whether a run found exactly what is prepared already is told by number and sum of the documents' fingerprints."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlflow_project.rules.chunking.records import document
from spark_jobs.changes import Tally
from spark_jobs.examination import fingerprints

HASHES = [document(f"d{n}", "", f"Text of {n}.").document_hash for n in range(6)]


def tally(hashes: list[str], fresh: int = 0) -> Tally:
    return Tally({"not_json": 1}, len(hashes), fresh, sum(int(each[:16], 16) for each in hashes), "")


@given(st.lists(st.sampled_from(HASHES), max_size=8), st.sets(st.sampled_from(HASHES)))
def test_only_the_known_documents_each_once_in_any_order_are_the_same(rows: list[str], known: set[str]) -> None:
    assert tally(rows).is_exactly(fingerprints(list(known))) == (sorted(rows) == sorted(known))
    assert not tally(rows, fresh=1).is_exactly(fingerprints(rows))
