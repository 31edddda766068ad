"""Embeddings over the wire: what is asked, what of the answers is believed, and what happens when no answer comes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlflow_project import answering
from mlflow_project.adapters.providers.protocol import ProviderRequest
from mlflow_project.adapters.retrieval import index_builder
from mlflow_project.adapters.retrieval.index_files import write_manifest
from mlflow_project.adapters.retrieval.specification import Embedder, Reranker
from mlflow_project.domain.release import KnowledgeBase, Retrieval
from mlflow_project.errors import ConfigError, ProviderError
from mlflow_project.settings import ProviderSettings
from tests.answering.conftest import Run
from tests.answering.releases import KEY, gemini, openai, providers_for, release, settings_for
from tests.provider.behaviour import Behaviour
from tests.provider.embedding_wire import vector
from tests.provider.fixtures import Simulated

OPENAI = Embedder(kind="openai", model="small", max_characters=20)
RERANKER = Reranker("endpoint", "rerank-1", max_characters=100)
GEMINI = Embedder(kind="gemini", model="gemini-embedding-001", dimensions=8)
TEXTS = {"a": "An alias says which version is live.", "b": "A rollback moves the alias back.", "c": "The ledger."}


def embedded(settings: ProviderSettings, embedder: Embedder, texts: list[str]) -> Any:
    return providers_for(settings).embeddings_for(embedder).embed(texts, "question")


def test_openais_form_is_asked_with_the_key_and_texts_are_cut(provider_server: Simulated, run: Run[Any]) -> None:
    texts = ["one two", " ", "a text that is longer than twenty characters"]
    found = run(embedded(openai(provider_server), OPENAI, texts))
    (asked,) = provider_server.requests
    assert asked.path == "/v1/embeddings"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body == {"model": "small", "input": ["one two", "a text that is longe"], "encoding_format": "float"}
    wanted = np.array(vector("one two", 32)) / np.linalg.norm(vector("one two", 32))
    assert np.allclose(found.vectors[0], wanted)
    assert not found.vectors[1].any()
    assert found.tokens == 7


def test_geminis_form_says_that_a_text_is_a_question(provider_server: Simulated, run: Run[Any]) -> None:
    found = run(embedded(gemini(provider_server), GEMINI, ["one two"]))
    (asked,) = provider_server.requests
    assert asked.path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    assert asked.headers["x-goog-api-key"] == KEY
    (request,) = asked.body["requests"]
    assert (request["taskType"], request["outputDimensionality"]) == ("RETRIEVAL_QUERY", 8)
    assert found.vectors.shape == (1, 8)
    assert found.tokens is None


def test_a_chat_address_of_openais_form_leads_to_its_embeddings(provider_server: Simulated, run: Run[Any]) -> None:
    run(embedded(settings_for(f"{provider_server.openai_url}/chat/completions"), OPENAI, ["a"]))
    assert provider_server.requests[0].path == "/v1/embeddings"


@pytest.mark.parametrize(
    "behaviour", [Behaviour(fault="no_candidates"), Behaviour(fault="half_json"), Behaviour(status=401)]
)
def test_what_is_no_answer_is_an_error_without_the_text(
    behaviour: Behaviour, provider_server: Simulated, run: Run[Any]
) -> None:
    provider_server.will(always=behaviour)
    with pytest.raises(ProviderError) as raised:
        run(embedded(openai(provider_server), OPENAI, ["secret words"]))
    assert "secret words" not in str(raised.value)


def test_an_endpoint_is_asked_again_after_an_outage_and_needs_its_key(
    provider_server: Simulated, run: Run[Any]
) -> None:
    provider_server.will(Behaviour(status=503))
    assert run(embedded(openai(provider_server), OPENAI, ["a"])).vectors.shape == (1, 32)
    assert len(provider_server.requests) == 2
    with pytest.raises(ConfigError, match="no key"):
        embedded(settings_for(provider_server.gemini_url, key=None), GEMINI, ["a"]).close()


def opened(folder: Path, run: Run[Any], settings: ProviderSettings, *, may_fail: bool, **pinned: Any) -> Any:
    """A release over an index whose vectors an endpoint made, and whose reranker is one."""
    built = folder / "built"
    rows = [
        (
            {"chunk_id": name, "document_id": name, "title": "", "text": text, "start": 0, "end": len(text)},
            vector(text, 32),
        )
        for name, text in TEXTS.items()
    ]
    index_builder.build(built, rows, None)
    digest = write_manifest(built, {"specification": {"vectors": OPENAI.to_data(), "reranker": RERANKER.to_data()}})
    knowledge = KnowledgeBase("s3a://curated-data-bucket/docs", 1, digest)
    asked = release("extractive", retrieval=Retrieval(2, fusion="scores", **pinned), knowledge_base=knowledge)

    async def make() -> Any:
        return answering.warm(
            asked,
            index_folder=built,
            scratch=folder / "scratch",
            providers=providers_for(settings),
            words_if_endpoint_fails=may_fail,
        )

    return run(make())


def test_a_question_is_embedded_by_the_indexs_endpoint_and_other_requests_go_on(
    provider_server: Simulated, run: Run[Any], tmp_path: Path
) -> None:
    warm = opened(tmp_path, run, openai(provider_server), may_fail=False, words_weight=0.0, vectors_weight=1.0)
    provider_server.will(always=Behaviour(latency_ms=300))

    async def ask() -> tuple[Any, int]:
        ticks = 0
        asking = asyncio.create_task(warm.searcher.search("a rollback moves"))
        while not asking.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return asking.result(), ticks

    found, ticks = run(ask())
    assert found.contexts[0].document_id == "b"
    assert not found.words_only
    assert ticks > 10
    assert [each.body["input"] for each in provider_server.requests] == [["a rollback moves"]]


def test_while_the_endpoint_is_down_a_server_searches_by_words_and_an_evaluation_fails(
    provider_server: Simulated, run: Run[Any], tmp_path: Path
) -> None:
    requests: list[ProviderRequest] = []
    provider_server.will(always=Behaviour(status=401))
    serving = opened(tmp_path / "a", run, openai(provider_server), may_fail=True)
    answer = run(answering.answer(serving, {"question": "What does a rollback move?"}, on_request=requests.append))
    assert answer.contexts[0].document_id == "b"
    assert requests[0].words_only
    evaluating = opened(tmp_path / "b", run, openai(provider_server), may_fail=False)
    with pytest.raises(ProviderError):
        run(answering.answer(evaluating, {"question": "What does a rollback move?"}))


def test_a_model_that_has_changed_its_dimensions_is_never_mixed_with_the_index(
    provider_server: Simulated, run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm = opened(tmp_path, run, openai(provider_server), may_fail=False)
    monkeypatch.setattr("tests.provider.embedding_wire.DIMENSIONS", 48)
    with pytest.raises(ProviderError, match="48 dimensions, and those of the index have 32"):
        run(warm.searcher.search("rollback"))


def test_a_reranker_orders_the_chunks_that_were_found_and_its_outage_is_named(
    provider_server: Simulated, run: Run[Any], tmp_path: Path
) -> None:
    pinned: dict[str, Any] = {"words_weight": 1.0, "vectors_weight": 0.0, "rerank": 3}
    warm = opened(tmp_path, run, openai(provider_server), may_fail=True, **pinned)
    question = "alias alias rollback moves back the"
    found = run(warm.searcher.search(question))
    (asked,) = provider_server.requests
    assert (asked.path, asked.body["model"], asked.body["query"]) == ("/v1/rerank", "rerank-1", question)
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert len(asked.body["documents"]) == 3
    assert len(found.contexts) == 2
    assert found.contexts[0].document_id == "b"
    assert found.contexts[0].score == 1.0
    provider_server.will(always=Behaviour(fault="no_candidates"))
    kept = run(warm.searcher.search(question))
    assert (kept.not_reranked, kept.words_only, len(kept.contexts)) == (True, False, 2)
    strict = opened(tmp_path / "strict", run, openai(provider_server), may_fail=False, **pinned)
    with pytest.raises(ProviderError, match="a score for each chunk"):
        run(strict.searcher.search(question))
