"""ONNX sentence models: described from their folder, pinned by digest, and part of the index that they made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlflow_project.adapters.retrieval import cross_encoder, index_builder, sentence_model
from mlflow_project.adapters.retrieval.index import open_index
from mlflow_project.adapters.retrieval.index_files import write_manifest
from mlflow_project.adapters.retrieval.sentence_model import SentenceModel, describe
from mlflow_project.adapters.retrieval.specification import Embedder
from mlflow_project.domain.release import Retrieval
from mlflow_project.errors import InvalidData
from tests.sentence_models import DIMENSIONS, WORDS, table, write_model, write_reranker

TEXTS = ("alias version", "rollback", "ledger ledger version rollback alias")


def length_1(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / np.linalg.norm(vector))


def test_a_texts_vector_is_the_mean_of_its_tokens_and_padding_does_not_count(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    described = describe(folder)
    assert (described.name, described.pooling, described.max_tokens) == ("onnx:tiny", "mean", 4)
    found = SentenceModel(folder, described).embed(TEXTS, "document")
    rows = {word: table()[place] for place, word in enumerate(WORDS)}
    assert np.allclose(found[0], length_1(rows["alias"] + rows["version"]), atol=1e-6)
    assert np.allclose(found[1], length_1(rows["rollback"]), atol=1e-6)
    cut = 2 * rows["ledger"] + rows["version"] + rows["rollback"]  # the fifth token is one too many
    assert np.allclose(found[2], length_1(cut), atol=1e-6)


def test_pooling_prefixes_and_dimensions_are_those_of_the_model_and_of_the_user(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny", pooling="cls_token")
    (folder / "config_sentence_transformers.json").write_text('{"prompts": {"query": "query: ", "passage": "ledger "}}')
    described = describe(folder, dimensions=3)
    model = SentenceModel(folder, described)
    assert np.allclose(model.embed(["alias"], "question")[0], length_1(table()[WORDS.index("query")][:3]), atol=1e-6)
    assert np.allclose(model.embed(["alias"], "document")[0], length_1(table()[WORDS.index("ledger")][:3]), atol=1e-6)
    with pytest.raises(InvalidData, match="has 6 dimensions, and 7 are asked for"):
        SentenceModel(folder, describe(folder, dimensions=7))


def test_other_files_length_or_dimensions_make_another_embedder(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    keys = {describe(folder).key, describe(folder, dimensions=3).key, describe(folder, max_tokens=2).key}
    keys |= {describe(write_model(tmp_path / "other" / "tiny", seed=8)).key, Embedder().key}
    assert len(keys) == 5
    read = Embedder.from_data(describe(folder).to_data())
    assert read == describe(folder)
    assert Embedder.from_data(Embedder().to_data()) == Embedder()


def test_a_folder_that_is_no_model_or_not_the_pinned_one_is_refused_in_words(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    described = describe(folder)
    write_model(folder, seed=8)
    with pytest.raises(InvalidData, match="its files differ"):
        SentenceModel(folder, described)
    (folder / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(InvalidData, match="onnxruntime cannot load"):
        SentenceModel(folder, describe(folder))
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidData, match=r"tokenizer\.json cannot be read"):
        SentenceModel(folder, describe(folder))
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(InvalidData, match="only mean and cls"):
        describe(folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(InvalidData, match=r"model\.onnx is missing"):
        describe(folder)


def test_an_index_carries_its_model_and_embeds_questions_with_it(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    described, built = describe(folder), tmp_path / "built"
    vectors = SentenceModel(folder, described).embed(TEXTS, "document")
    rows = [
        ({"chunk_id": text, "document_id": text, "title": "", "text": text, "start": 0, "end": 1}, vector)
        for text, vector in zip(TEXTS, vectors, strict=True)
    ]
    index_builder.build(built, rows, None)
    sentence_model.copy_files(folder, built / index_builder.EMBEDDER)
    name = write_manifest(built, {"specification": {"vectors": described.to_data()}})
    index = open_index(built, tmp_path / "open", name)
    assert (index.dimensions, index.asks_an_endpoint) == (DIMENSIONS, False)
    assert [each.text for each in index.search("rollback", Retrieval(1, 0, 1))] == ["rollback"]


def test_a_cross_encoder_in_the_index_orders_what_was_found_if_the_release_asks_for_it(tmp_path: Path) -> None:
    folder, built = write_reranker(tmp_path / "cross"), tmp_path / "built"
    reranker = cross_encoder.describe(folder)
    texts = ("alias of a version", "alias rollback", "alias rollback query rollback")  # even tokens: 1, 2, 4
    rows = [
        ({"chunk_id": text, "document_id": text, "title": "", "text": text, "start": 0, "end": 1}, None)
        for text in texts
    ]
    index_builder.build(built, rows)
    sentence_model.copy_files(folder, built / index_builder.RERANKER)
    name = write_manifest(built, {"specification": {"vectors": None, "reranker": reranker.to_data()}})
    index = open_index(built, tmp_path / "open", name)
    found = [each.text for each in index.search("alias of", Retrieval(2, 1, 0))]
    assert found[0] == texts[0]
    reranked = index.search("alias of", Retrieval(2, 1, 0, rerank=3))
    assert [each.text for each in reranked] == [texts[2], texts[1]]
    assert reranked[0].score > reranked[1].score
    assert [each.text for each in index.search("alias of", Retrieval(3, 1, 0, rerank=1))] == [
        each.text for each in index.search("alias of", Retrieval(3, 1, 0))
    ]
