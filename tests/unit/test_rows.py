"""Files of lines in pieces: each line once, wherever the cuts fall."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_project.errors import InvalidData
from spark_jobs import rows
from spark_jobs.folders import Folder
from spark_jobs.raw import size_of
from spark_jobs.rows import File, Piece, PieceReader, planned

CONTENT = st.lists(st.sampled_from([b"\n", b"\r\n", b"a", b"bc", b"\xff", b"\0", b"defghij"]), max_size=40).map(
    b"".join
)


def read(data: bytes, cuts: list[int], monkeypatch: pytest.MonkeyPatch, block: int) -> list[bytes]:
    monkeypatch.setattr(rows, "_BLOCK", block)
    monkeypatch.setattr(rows, "_LOOK", block)
    file = pa.PythonFile(pa.BufferReader(data), mode="r")
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pairs = pairwise(places)
    return [line for start, end in pairs for some in rows.lines(file, start, end) for line in some]


@given(CONTENT, st.lists(st.integers(0, 10_000), max_size=6), st.integers(1, 9))
def test_each_line_is_read_once(data: bytes, cuts: list[int], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        expected = data.removesuffix(b"\n").split(b"\n") if data else []
        assert read(data, cuts, patch, block) == expected


def test_a_file_that_became_shorter_is_no_end_of_the_input(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b"one\ntwo\n")
    reader = PieceReader(Folder(str(tmp_path), "local"), [[Piece(File("file:/lines.jsonl", str(path), 100), 0, 100)]])
    with pytest.raises(OSError, match=r"file:/lines\.jsonl cannot be read: .*changed meanwhile"):
        list(reader(numbers(0)))


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    reader = PieceReader(Folder(str(tmp_path), "local"), [[Piece(File("file:/x", str(tmp_path / "x"), 10), 0, 10)]])
    with pytest.raises(OSError, match="file:/x cannot be read: "):
        list(reader(numbers(0)))


def test_rows_know_their_piece_and_their_line_in_it(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes("".join(f"{json.dumps(number)}\n" for number in range(3000)).encode())
    size = path.stat().st_size
    plan = planned([File("file:/lines.jsonl", str(path), size)], 4000, 100, 2)
    assert {len(task) for task in plan} == {1}
    rows = [row for some in PieceReader(Folder("", "local"), plan)(numbers(*range(len(plan)))) for row in some]
    rows.sort(key=lambda row: row[0])
    assert [int(value) for _, value in rows] == list(range(3000))
    starts = {block for (_, block, _), _ in rows}
    assert len(starts) == len(plan) > 2
    assert all(min(line for (_, block, line), _ in rows if block == start) == 0 for start in starts)


def test_small_files_share_a_task_and_large_ones_are_cut() -> None:
    files = [File(f"file:/{name}", f"/{name}", size) for name, size in (("a", 100), ("b", 10), ("c", 10), ("d", 0))]
    plan = planned(files, 40, 5, 1)
    told = [[(piece.file.path, piece.start, piece.end) for piece in task] for task in plan]
    assert told == [[("/a", 0, 40)], [("/a", 40, 80)], [("/a", 80, 100), ("/b", 0, 10)], [("/c", 0, 10), ("/d", 0, 0)]]


def test_an_empty_file_is_one_row_without_bytes(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_bytes(b"")
    plan = planned([File("file:/empty.jsonl", str(path), 0)], 1000, 5, 4)
    assert list(PieceReader(Folder("", "local"), plan)(numbers(0))) == [[(("file:/empty.jsonl", 0, 0), None)]]


def test_a_small_input_is_spread_over_the_cores() -> None:
    assert len(planned([File("file:/a", "/a", 80)], 1000, 5, 4)) == 4
    assert planned([], 1000, 5, 4) == []
    assert len(planned([File("file:/a", "/a", 3), File("file:/b", "/b", 0)], 1000, 0, 4)) == 3


def numbers(*those: int) -> list[pa.RecordBatch]:
    return [pa.RecordBatch.from_arrays([pa.array(those, pa.int64())], names=["id"])]


@pytest.mark.parametrize(
    ("value", "size"),
    [("134217728", 1 << 27), ("4194304b", 1 << 22), ("32m", 1 << 25), ("128KB", 1 << 17), ("2g", 2 << 30)],
)
def test_sizes_are_read_as_spark_spells_them(value: str, size: int) -> None:
    assert size_of("spark.sql.files.maxPartitionBytes", value) == size


@pytest.mark.parametrize("value", ["", "many", "-1", "1.5m", "32 m", "m"])
def test_a_setting_that_is_no_size_is_named(value: str) -> None:
    with pytest.raises(InvalidData, match=r"spark\.sql\.files\.maxPartitionBytes is .* not a size\. Write it like 32m"):
        size_of("spark.sql.files.maxPartitionBytes", value)
