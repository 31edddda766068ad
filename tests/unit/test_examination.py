"""The tally of a pass says whether the input is exactly what is prepared already."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_project.rules.chunking.records import Fields, document
from mlflow_project.rules.quality.selection import Quality
from spark_jobs.examination import Examiner, Tally, all_differ, fingerprints, row_summaries, short_ids, tally
from spark_jobs.rows import Row
from stack.layout import ROOT

EXAMINER = Examiner(Fields(), False, "")
HASHES = [document(f"d{n}", "", f"Text of {n}.").document_hash for n in range(6)]
LINES = [b'{"id": "d%d", "text": "Text of %d."}' % (n, n) for n in range(6)]


def counted(rows: Sequence[Row], fresh: Sequence[str] = ()) -> Tally:
    return tally(row_summaries([each for row in rows for each in EXAMINER.examine(row)], set(fresh), Quality()))


def placed(lines: Sequence[bytes]) -> list[Row]:
    return [(("file", 0, number), line) for number, line in enumerate(lines)]


@settings(deadline=None)  # the first one imports Arrow
@given(st.lists(st.sampled_from(range(6)), max_size=8), st.sets(st.sampled_from(HASHES)), st.integers(0, 8))
def test_only_the_known_documents_each_once_in_any_order_are_the_same(
    numbers: list[int], known: set[str], cut: int
) -> None:
    rows = placed([*(LINES[n] for n in numbers), b"broken"])
    hashes = [HASHES[n] for n in numbers]
    one, other = counted(rows[:cut]), counted(rows[cut:])
    both = one + other
    assert both == other + one
    assert both.is_exactly(fingerprints(list(known))) == (sorted(hashes) == sorted(known))
    assert not counted(rows, fresh=HASHES).is_exactly(fingerprints(hashes)) or not hashes
    assert (both.accepted, both.rejected) == (len(hashes), {"not_json": 1})


def test_what_rows_say_and_where_they_stand_is_told_apart_and_new_documents_are_not() -> None:
    rows = placed([*LINES[:2], b"broken"])
    same = counted(rows, fresh=HASHES[:2])
    assert (same.fresh, same.rows) == (2, counted(rows).rows)
    others = [placed([*LINES[:2], b"broken too"]), placed([LINES[1], LINES[0], b"broken"]), rows[:2]]
    assert len({same.rows, *(counted(each).rows for each in others)}) == 4


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=8), st.integers(0, 8))
def test_an_id_that_stands_twice_is_found_whatever_task_it_stands_in(ids: list[str], cut: int) -> None:
    assert all_differ([short_ids(ids[:cut]), short_ids(ids[cut:]), b""]) == (len(ids) == len(set(ids)))
    assert not all_differ([short_ids([*ids, "one"]), short_ids(["one"])])


def test_workers_load_neither_delta_rs_nor_the_settings() -> None:
    """A cluster's executors have Spark's own Arrow, orjson and the packaged code, and every worker pays for imports."""
    loaded = "import sys, spark_jobs.staging; print(*{'deltalake', 'pydantic', 'mlflow', 'boto3'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.split() == []
