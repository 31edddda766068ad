"""The splitter and the ids of chunks, on any Unicode."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlflow_project.errors import InvalidData
from mlflow_project.rules.chunking.chunks import chunks_of
from mlflow_project.rules.chunking.splitter import Splitter, split
from mlflow_project.rules.chunking.structure import structure_of

LENIENT = ("utf-8", "surrogatepass")

any_text = st.text(max_size=400) | st.text(
    alphabet=st.sampled_from("ab .\n#`|-~。é\u0301  \t\r字।؟:-|*\u200d🚂"), max_size=500
)
splitters = st.builds(
    lambda size, share, unit: Splitter(size, int(size * share), unit),
    st.integers(8, 80),
    st.floats(0, 0.5),
    st.sampled_from(["characters", "tokens"]),
)


@settings(max_examples=400, deadline=None)
@given(any_text | st.text(alphabet=st.sampled_from("a. \ud83d\udc00é🚂"), max_size=200), splitters)
@example("\u200d- x```````word #!", Splitter(8, 2))
@example("\ud83d" * 40, Splitter(8, 4, "tokens"))  # half a pair is no character, and still has to end
def test_chunks_are_exact_slices_within_the_size_and_lose_only_white_space(text: str, splitter: Splitter) -> None:
    reached = 0
    for start, end in split(text, splitter, structure_of(text)):
        part = text[start:end]
        assert part
        assert part == part.strip()
        assert (len(part) if splitter.unit == "characters" else len(part.encode(*LENIENT)) / 4) <= splitter.size
        assert end > reached
        assert not text[reached:start].strip()
        reached = end
    assert not text[reached:].strip()


@settings(max_examples=200, deadline=None)
@given(any_text, splitters)
def test_equal_documents_have_equal_and_distinct_chunk_ids(text: str, splitter: Splitter) -> None:
    chunks = chunks_of("d", text, splitter)
    assert chunks == chunks_of("d", text, splitter)
    assert len({chunk.chunk_id for chunk in chunks}) == len(chunks)
    assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)


def test_a_chunk_keeps_its_id_when_another_part_of_the_document_changes() -> None:
    first = "One paragraph about the ledger.\n\n" * 3
    old = chunks_of("d", first + "# End\n\nold words", Splitter(60, 0))
    new = chunks_of("d", first + "# End\n\nnew words", Splitter(60, 0))
    assert [chunk.chunk_id for chunk in old[:-1]] == [chunk.chunk_id for chunk in new[:-1]]
    assert old[-1].chunk_id != new[-1].chunk_id


def test_a_heading_goes_with_its_text() -> None:
    text = "x" * 30 + "\n\n# Title\n\n" + "y" * 30
    assert [chunk.text for chunk in chunks_of("d", text, Splitter(42, 0))] == ["x" * 30, "# Title\n\n" + "y" * 30]


def test_a_fence_that_fits_is_not_cut() -> None:
    fence = "```py\n# no heading\nx = 1\n```"
    chunks = chunks_of("d", "Some words before it.\n\n" + fence + "\n\nand words after it.", Splitter(40, 10))
    assert sum(fence in chunk.text for chunk in chunks) == 1
    assert all(chunk.text.count("```") in (0, 2) for chunk in chunks)


def test_a_table_that_fits_is_not_cut() -> None:
    table = "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |"
    chunks = chunks_of("d", "Words that come first here.\n\n" + table + "\n\nLast words.", Splitter(50, 20))
    assert any(table in chunk.text for chunk in chunks)


def test_heading_paths_name_what_a_chunk_stands_under() -> None:
    text = "# A\n\nalpha\n\n## B\n\nbeta\n\n# C\n\ngamma"
    paths = {chunk.heading_path for chunk in chunks_of("d", text, Splitter(14, 0))}
    assert paths == {"A", "A > B", "C"}


@pytest.mark.parametrize("mark", ["。", "！", "？", "।", "؟", "۔"])
def test_sentences_of_other_scripts_end_where_their_marks_say(mark: str) -> None:
    sentence = "字" * 20 + mark
    chunks = chunks_of("d", sentence * 4, Splitter(50, 0))
    assert [chunk.text for chunk in chunks] == [sentence * 2, sentence * 2]


def test_turns_of_a_conversation_stay_whole_where_they_fit() -> None:
    text = "user: " + "a " * 12 + "\n\nassistant: " + "b " * 10
    blocks = ((0, 29), (32, len(text) - 1))
    chunks = chunks_of("d", text, Splitter(40, 5), blocks)
    assert [chunk.text for chunk in chunks] == [text[:29], text[32:].rstrip()]


def test_a_long_line_of_pipes_is_split_in_linear_time() -> None:
    text = "|-" * 200_000 + "\n" + "```" * 50_000
    assert chunks_of("d", text, Splitter())


def test_a_long_text_below_one_heading_is_split_in_linear_time() -> None:
    assert len(chunks_of("d", "# Title\n\n" + "All that is said below it.\n" * 400_000, Splitter())) > 15_000


@pytest.mark.parametrize(("size", "overlap"), [(7, 0), (100, 51), (100, -1)])
def test_impossible_sizes_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(InvalidData, match="cannot be made"):
        Splitter(size, overlap)


def test_cuts_and_ids_are_those_of_tables_that_exist() -> None:
    pieces = ["word ", "Sentence ends. ", "Really? ", "Yes!\n", "line\n", "\n\n", "\r\n\r\n", "    indented\n"]
    pieces += ["# Heading\n", "```\ncode\n```\n", "| a | b |\n|---|---|\n| 1 | 2 |\n"]
    pieces += ["字。", "जय। ", "…", "\u00a0", "e\u0301"]
    draw, found = random.Random(1), hashlib.blake2b(digest_size=16)
    for number in range(300):
        text = "".join(draw.choices(pieces, k=200))
        splitter = Splitter(80, 30)
        if number % 2:
            splitter = Splitter(draw.randint(8, 200), draw.randint(0, 4), draw.choice(["characters", "tokens"]))
        for chunk in chunks_of(str(number), text, splitter):
            found.update(f"{chunk.chunk_id} {chunk.start} {chunk.heading_path}\n".encode())
    assert found.hexdigest() == "b99dc8eb75e0901f657474e047cfb4b6"
