"""Quoting: sentences with exact places, ranked by what a question asks; and knowing when there is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_project.domain.answer import Context
from mlflow_project.rules.quoting import I_DO_NOT_KNOW, Weights, is_refusal, rank, sentences_of

PAGE = """# Ports

The server listens on port 8000. It can be overridden, e.g. by `SWITCHYARD_API_PORT`. Ask Dr. Grey
why: she knows.

## MinIO

- MinIO has port 9000
- its console has port 9001.

| part | port |
|---|---|
| MLflow | 5000 |

```
make up
```
"""


def words(text: str) -> list[str]:
    return text.lower().replace("?", " ").replace(".", " ").replace("`", " ").split()


def chunks(text: str, *spans: tuple[int, int], document: str = "page") -> list[Context]:
    return [Context(f"{document}-{a}", document, "Guide", text[a:b], a, b, 1.0) for a, b in spans]


def texts(text: str, *spans: tuple[int, int]) -> list[str]:
    return [sentence.text for sentence in sentences_of(chunks(text, *spans))]


def best(question: str, text: str = PAGE) -> str:
    sentences = sentences_of(chunks(text, (0, len(text))))
    return rank(question, sentences, None, words, Weights())[0].sentence.text


def test_markdown_falls_apart_into_what_can_be_quoted() -> None:
    assert texts(PAGE, (0, len(PAGE))) == [
        "The server listens on port 8000.",
        "It can be overridden, e.g. by `SWITCHYARD_API_PORT`.",
        "Ask Dr. Grey why: she knows.",
        "MinIO has port 9000",
        "its console has port 9001.",
        "| part | port |",
        "| MLflow | 5000 |",
        "make up",
    ]


def test_a_sentence_knows_the_heading_that_it_stands_under() -> None:
    above = {sentence.text: sentence.above for sentence in sentences_of(chunks(PAGE, (0, len(PAGE))))}
    assert above["MinIO has port 9000"] == "Guide MinIO"
    assert above["The server listens on port 8000."] == "Guide Ports"


def test_a_sentence_cut_by_the_end_of_a_chunk_is_whole_when_the_next_chunk_is_there() -> None:
    text = "One is here. Two stands on the border of both. Three is here."
    assert "Two stands on the border of both." in texts(text, (0, 30), (20, len(text)))
    assert texts(text, (20, len(text)), (0, 30)) == texts(text, (0, 30), (20, len(text)))


def test_sentences_of_scripts_without_spaces_are_found() -> None:
    assert texts("これは文です。もう一つ。", (0, 12)) == ["これは文です。", "もう一つ。"]


@given(st.text(max_size=300), st.data())
def test_places_are_exact_for_any_text_in_any_chunks(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    spans = [(max(0, a - 3), b) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) if a < b]
    for sentence in sentences_of(chunks(text, *spans)):
        assert " ".join(text[sentence.start : sentence.end].split()) == sentence.text
        holders = [chunk for chunk in chunks(text, *spans) if chunk.chunk_id == sentence.chunk_id]
        assert any(chunk.start <= sentence.start < chunk.end for chunk in holders)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Which port does the server listen on?", "The server listens on port 8000."),
        ("What port has the console of MinIO?", "its console has port 9001."),
        ("Which port does MLflow have?", "| MLflow | 5000 |"),
    ],
)
def test_the_sentence_that_answers_comes_first(question: str, answer: str) -> None:
    assert best(question) == answer


@pytest.mark.parametrize(
    ("question", "text", "answer"),
    [
        ("When was the bridge built?", "The bridge was built by Ada. The bridge was built in 1851.", "in 1851"),
        ("Who built the bridge?", "The bridge was built in 1851. The bridge was built by Ada.", "by Ada"),
        ("What is a seal?", "A release needs a seal. A seal is a signed statement.", "is a signed"),
        ("How many bridges are there?", "There are bridges. There are four bridges.", "four"),
    ],
)
def test_the_kind_of_question_decides_between_equals(question: str, text: str, answer: str) -> None:
    assert answer in best(question, text)


def test_confidence_is_high_for_an_answer_and_low_for_a_stranger() -> None:
    sentences = sentences_of(chunks(PAGE, (0, len(PAGE))))
    known = rank("Which port does the server listen on?", sentences, None, words, Weights())[0]
    stranger = rank("Who won the cup of 1974?", sentences, None, words, Weights())[0]
    assert 0 <= stranger.confidence < 0.3 < 0.45 < known.confidence <= 1


@given(st.text(max_size=100), st.text(max_size=200))
def test_confidence_is_always_a_share(question: str, text: str) -> None:
    for quote in rank(question, sentences_of(chunks(text, (0, len(text)))), None, words, Weights()):
        assert 0 <= quote.confidence <= 1


@pytest.mark.parametrize("text", [I_DO_NOT_KNOW, "I don't know", " i do not know. ", "I cannot answer this question."])
def test_a_refusal_is_known_again(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize("text", [None, "", "The ledger.", "I do not know. But it may be 7.", "They do not know."])
def test_an_answer_is_no_refusal(text: str | None) -> None:
    assert not is_refusal(text)
