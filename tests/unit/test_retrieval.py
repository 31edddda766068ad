"""An index is built, opened and searched; questions may be any text."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_project.adapters.retrieval import embeddings, index_builder
from mlflow_project.adapters.retrieval.explained import search_index
from mlflow_project.adapters.retrieval.index import Index, fuse, open_index
from mlflow_project.adapters.retrieval.index_files import write_manifest
from mlflow_project.answering.citations import citations
from mlflow_project.domain.answer import Answer, Completion
from mlflow_project.domain.release import Manifest, Retrieval
from mlflow_project.errors import IndexBroken, InvalidData
from mlflow_project.evaluation.answers import answer_from, plain
from spark_jobs.build_index import filters_of

TEXTS = {
    "ledger": "Every record of the ledger holds the hash of the record before it.",
    "alias": "An alias says which version is live.",
    "rollback": "A rollback moves the alias back to what was promoted before.",
    "tokyo": "東京タワーは高さ333メートルの塔である。",
}


def rows(with_vectors: bool) -> Iterator[tuple[dict[str, Any], Any]]:
    vectors = embeddings.embed(list(TEXTS.values()))
    for number, (name, text) in enumerate(TEXTS.items()):
        row = {"chunk_id": f"c{number}", "document_id": name, "title": name, "text": text, "start": 0, "end": len(text)}
        row["filters"] = {"language": "ja" if name == "tokyo" else "en"}
        yield row, vectors[number] if with_vectors else None


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("index")
    index_builder.build(folder / "built", rows(with_vectors=True))
    return opened_from(folder / "built")


def opened_from(folder: Path) -> Index:
    return open_index(folder, folder.parent / "scratch", write_manifest(folder, {}))


def best(index: Index, question: str, retrieval: Retrieval, **where: str) -> list[str]:
    return [context.document_id for context in index.search(question, retrieval, where)]


def test_words_find_other_forms_of_a_word(hybrid: Index) -> None:
    assert best(hybrid, "promoting", Retrieval(1, 1, 0)) == ["rollback"]


def test_scripts_without_spaces_are_found_by_a_part_of_a_sentence(hybrid: Index) -> None:
    assert best(hybrid, "東京", Retrieval(1, 1, 0)) == ["tokyo"]


def test_vectors_find_what_shares_no_word(hybrid: Index) -> None:
    assert best(hybrid, "which tower in Japan is tall", Retrieval(1, 0, 1)) == ["tokyo"]


def test_filters_hold_for_words_and_vectors(hybrid: Index) -> None:
    assert best(hybrid, "alias", Retrieval(5, 1, 1), document_id="ledger") == ["ledger"]
    assert best(hybrid, "alias", Retrieval(5, 1, 1), language="ja") == ["tokyo"]
    assert best(hybrid, "alias", Retrieval(5, 1, 1), language="xx") == []


def test_a_filter_of_the_release_and_one_of_the_request_hold_together(hybrid: Index) -> None:
    pinned = Retrieval(5, 1, 1, where={"language": "en"})
    assert "tokyo" not in best(hybrid, "which tower in Japan is tall", pinned)
    assert best(hybrid, "alias", pinned, document_id="ledger") == ["ledger"]
    assert best(hybrid, "alias", pinned, language="ja") == []


def test_metadata_cannot_pass_for_another_field(tmp_path: Path) -> None:
    forged = {"a=b": "c", "document_id": "other", "tags": ["x", "y"]}
    row = {"chunk_id": "c", "document_id": "own", "title": "", "text": "alias", "start": 0, "end": 5, "filters": forged}
    index_builder.build(tmp_path / "built", [(row, None)])
    opened = opened_from(tmp_path / "built")
    for where, found in (({"a": "b=c"}, 0), ({"document_id": "other"}, 0), ({"a=b": "c"}, 1), ({"tags": "y"}, 1)):
        assert len(opened.search("alias", Retrieval(), where)) == found


def test_texts_numbers_truth_and_lists_of_them_may_be_filtered_on() -> None:
    metadata = {"year": 2024, "open": True, "tags": ["a", 1, None], "deep": {"x": 1}, "long": "x" * 201, "none": None}
    wanted = {"year": "2024", "open": "true", "tags": ["a", "1"], "language": "en"}
    assert filters_of({**metadata, "language": 7}, "en") == wanted


def test_a_release_without_a_filter_keeps_its_digest() -> None:
    plain = Manifest("prompt", "qa", retrieval=Retrieval(3)).to_dict()
    assert plain["retrieval"] == {"chunks": 3, "words_weight": 1.0, "vectors_weight": 0.2}
    pinned = Manifest("prompt", "qa", retrieval=Retrieval(3, where={"language": "en"}))
    assert Manifest.from_dict(pinned.to_dict()) == pinned


def test_joined_by_scores_many_words_count_more_than_the_nearest_meaning(hybrid: Index) -> None:
    question = "the tower of Tokyo in Japan and its record"
    assert best(hybrid, question, Retrieval(1, 1, 2, fusion="ranks")) == ["tokyo"]
    assert best(hybrid, question, Retrieval(1, 1, 1, fusion="scores")) == ["ledger"]


def test_joined_by_scores_the_meaning_decides_where_only_frequent_words_are_shared(hybrid: Index) -> None:
    question = "a tall tower in Japan"
    assert best(hybrid, question, Retrieval(1, 1, 0)) == ["rollback"]
    assert best(hybrid, question, Retrieval(1, 1, 1, fusion="scores")) == ["tokyo"]


def test_a_score_is_the_share_of_the_highest_bm25_score_plus_the_cosine(hybrid: Index) -> None:
    (plain,) = hybrid.search("hash", Retrieval(1, 1, 0))
    (joined,) = hybrid.search("hash", Retrieval(1, 2.0, 0.5, fusion="scores"))
    highest = 2.2 * math.log(1 + (4 - 1 + 0.5) / (1 + 0.5))
    cosine = max(0.0, embeddings.similarity("hash", TEXTS["ledger"]))
    assert joined.score == pytest.approx(2.0 * plain.score / highest + 0.5 * cosine, abs=1e-4)


@pytest.mark.parametrize("wrong", ["en", {"year": 2024}, {"": "x"}, {"language": ""}])
def test_a_filter_that_is_no_mapping_of_texts_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidData, match="filter"):
        Retrieval(where=wrong)


def test_a_context_is_the_chunk_with_its_place(hybrid: Index) -> None:
    context = hybrid.search("hash of the record", Retrieval(1))[0]
    assert (context.chunk_id, context.text, context.end) == ("c0", TEXTS["ledger"], len(TEXTS["ledger"]))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    question=st.text(max_size=60) | st.sampled_from(['"', "AND OR NOT", "text:(", "[* TO *]", "\x00", "a" * 5000, "~^"])
)
def test_no_question_raises(hybrid: Index, question: str) -> None:
    assert len(hybrid.search(question, Retrieval(2))) <= 2


def test_an_index_without_vectors_searches_words_alone(tmp_path: Path) -> None:
    index_builder.build(tmp_path / "built", rows(with_vectors=False))
    opened = opened_from(tmp_path / "built")
    assert best(opened, "ledger", Retrieval(1, 1, 1)) == ["ledger"]
    assert not any((tmp_path / "scratch").iterdir())


def test_an_empty_index_answers_with_nothing(tmp_path: Path) -> None:
    index_builder.build(tmp_path / "built", [])
    opened = opened_from(tmp_path / "built")
    assert opened.search("anything", Retrieval()) == []


def test_a_folder_that_is_no_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="no search index"):
        open_index(tmp_path / "nothing", tmp_path / "scratch", "sha256:0")


def test_what_is_written_into_an_open_index_changes_no_answer(tmp_path: Path) -> None:
    index_builder.build(tmp_path / "built", rows(with_vectors=True))
    opened = opened_from(tmp_path / "built")
    assert not any((tmp_path / "scratch").iterdir())
    before = opened.search("ledger", Retrieval(4))
    for path in (tmp_path / "built").rglob("*"):
        if path.is_file():
            path.write_bytes(b"\0" * path.stat().st_size if path.suffix == ".npy" else b"")
    assert opened.search("ledger", Retrieval(4)) == before


@pytest.mark.parametrize("file", ["chunks.jsonl", "offsets.npy", "vectors.npy", "words/meta.json", "manifest.json"])
def test_an_index_with_one_changed_byte_is_not_opened(tmp_path: Path, file: str) -> None:
    folder = tmp_path / "built"
    index_builder.build(folder, rows(with_vectors=True))
    name = write_manifest(folder, {})
    data = (folder / file).read_bytes()
    (folder / file).write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
    with pytest.raises(IndexBroken):
        open_index(folder, tmp_path / "scratch", name)
    assert not any((tmp_path / "scratch").iterdir())


def test_fusion_rewards_agreement_and_is_deterministic() -> None:
    assert [one for one, _ in fuse([(1.0, [(1, 9.0), (2, 8.0)]), (1.0, [(2, 0.9), (3, 0.8)])])] == [2, 1, 3]


def test_the_reading_side_loads_neither_spark_nor_registry_nor_store() -> None:
    heavy = "{'pyspark', 'mlflow', 'boto3', 'wordllama'}"
    program = f"import sys, mlflow_project.adapters.retrieval.index; print({heavy} & {{*sys.modules}})"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


def test_the_best_by_vectors_are_found_in_a_large_index_as_in_a_small_one(tmp_path: Path) -> None:
    chance, vocabulary = np.random.default_rng(7), sorted({word for text in TEXTS.values() for word in text.split()})
    texts = [" ".join(chance.choice(vocabulary, 12)) for _ in range(3000)]
    vectors = embeddings.embed(texts)
    found = {}
    for size, read_whole in (("small", 3000), ("large", 0)):
        index_builder.build(tmp_path / size, map(numbered, range(3000), texts, vectors), read_whole)
        opened = opened_from(tmp_path / size)
        found[size] = [best(opened, text, Retrieval(10, 0, 1), parity="even") for text in texts[:20]]
    assert (tmp_path / "large" / index_builder.HEADS).exists()
    assert found["large"] == found["small"]
    assert all(int(name) % 2 == 0 for names in found["large"] for name in names)


def numbered(number: int, text: str, vector: Any) -> tuple[dict[str, Any], Any]:
    row = {"chunk_id": str(number), "document_id": str(number), "title": "", "text": text, "start": 0, "end": len(text)}
    return row | {"filters": {"parity": "odd" if number % 2 else "even"}}, vector


def test_a_search_for_a_person_says_how_each_chunk_was_found(hybrid: Index) -> None:
    way, hits = search_index(hybrid, "rollback to what was promoted", None, 3)
    assert way == "hybrid"
    first = hits[0]
    assert first.context.document_id == "rollback"
    assert first.by_words is not None
    assert first.by_words.rank == 1
    assert first.by_vectors is not None
    assert first.words == ("rollback", "to", "what", "was", "promot")
    by_words = search_index(hybrid, "rollback to what was promoted", "words", 3)[1]
    assert by_words[0].by_words is not None
    assert by_words[0].context.score == by_words[0].by_words.score


def test_vectors_that_an_index_lacks_are_refused(tmp_path: Path) -> None:
    index_builder.build(tmp_path / "built", rows(with_vectors=False))
    index = opened_from(tmp_path / "built")
    assert search_index(index, "alias", None, 3)[0] == "words"
    with pytest.raises(InvalidData, match="has no vectors"):
        search_index(index, "alias", "hybrid", 3)


def test_a_citation_names_the_pages_of_its_chunk(tmp_path: Path) -> None:
    row = {"chunk_id": "c", "document_id": "report.pdf", "title": "", "text": "The fee is 40.", "start": 0, "end": 14}
    index_builder.build(tmp_path / "built", [({**row, "pages": [3, 4]}, None)])
    found = opened_from(tmp_path / "built").search("fee", Retrieval(1, 1, 0))
    assert found[0].pages == (3, 4)
    quoted, marked = Completion("40", quotes=(("c", 4, 13),)), Completion("It is 40 [1].")
    assert [cited.pages for cited in citations(quoted, found)] == [(3, 4)]
    kept = answer_from(plain(Answer("It is 40 [1].", contexts=tuple(found), citations=citations(marked, found))))
    assert (kept.contexts[0].pages, kept.citations[0].pages) == ((3, 4), (3, 4))
