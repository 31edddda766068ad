"""The extractive answerer on public questions (XQuAD): how often it quotes the answer, and when it says nothing.

An unanswerable question is one whose document is not in the index. Measured on the questions of every other document;
the ranking was tuned on the others.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlflow_project import answering
from mlflow_project.adapters.providers import Providers
from mlflow_project.adapters.retrieval import embeddings, index_builder
from mlflow_project.adapters.retrieval.index_files import write_manifest
from mlflow_project.answering import WarmRelease
from mlflow_project.domain.answer import Answer
from mlflow_project.domain.release import KnowledgeBase, Message, Retrieval
from mlflow_project.rules.chunking.splitter import Splitter, split
from mlflow_project.settings import ProviderSettings
from tests.answering.conftest import Run
from tests.answering.releases import release

TEMPLATE = (Message("system", "Answer from the chunks."), Message("user", "{{context}}\n\n{{question}}"))


@dataclass(frozen=True)
class Library:
    """Half of the documents in an index, and questions about the half that is and the half that is not."""

    warm: WarmRelease
    documents: dict[str, str]
    known: list[dict[str, Any]]
    strange: list[dict[str, Any]]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def library(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("xquad")
    every = lines(shared_data / "xquad" / "documents.jsonl")
    documents = {document["id"]: document["text"] for document in sorted(every, key=lambda d: d["id"])[1::2]}
    rows = [
        {"chunk_id": f"{name}-{start}", "document_id": name, "title": name.replace("_", " "), "text": text[start:end]}
        | {"start": start, "end": end, "filters": {}}
        for name, text in documents.items()
        for start, end in split(text, Splitter())
    ]
    vectors = embeddings.embed([str(row["text"]) for row in rows])
    index_builder.build(folder / "index", zip(rows, vectors.tolist(), strict=True))
    base = KnowledgeBase("s3a://curated-data-bucket/xquad", 0, write_manifest(folder / "index", {}))
    questions = lines(shared_data / "xquad" / "questions.jsonl")
    warm = answering.warm(
        release("extractive", TEMPLATE, retrieval=Retrieval(5), knowledge_base=base),
        index_folder=folder / "index",
        scratch=folder / "scratch",
        providers=Providers(ProviderSettings()),
    )
    known = [question for question in questions if question["document_id"] in documents]
    strange = [question for question in questions if question["document_id"] not in documents]
    return Library(warm, documents, known[::3], strange[::3])


async def answers(warm: WarmRelease, questions: list[dict[str, Any]]) -> list[Answer]:
    return [await answering.answer(warm, {"question": question["question"]}) for question in questions]


def test_most_questions_are_answered_and_strange_ones_are_not(run: Run[Any], library: Library) -> None:
    said = run(answers(library.warm, library.known))
    right = [
        any(wanted.lower() in " ".join((answer.text or "").lower().split()) for wanted in question["answers"])
        for question, answer in zip(library.known, said, strict=True)
    ]
    refused = [answer.refused for answer in run(answers(library.warm, library.strange))]
    assert sum(right) / len(right) >= 0.70
    assert sum(refused) / len(refused) >= 0.90


def test_every_quote_stands_word_for_word_where_its_citation_says(run: Run[Any], library: Library) -> None:
    for answer in run(answers(library.warm, library.known[:60])):
        quoted = [library.documents[cited.document_id][cited.start : cited.end] for cited in answer.citations]
        assert answer.refused or answer.text == " ".join(" ".join(quote.split()) for quote in quoted)


def test_a_question_costs_less_than_ten_milliseconds_of_the_processor(run: Run[Any], library: Library) -> None:
    began = time.process_time()
    run(answers(library.warm, library.known))
    assert 1000 * (time.process_time() - began) / len(library.known) <= 10
