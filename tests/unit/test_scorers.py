"""Each scorer says what its docstring promises, and leaves unscored what it cannot judge."""

from __future__ import annotations

from typing import Any

import pytest

from mlflow_project.domain.answer import Answer, Case, Citation, Context, Usage
from mlflow_project.rules.scorers import LIVE_SCORERS, SCORERS, ScoringContext
from mlflow_project.rules.scorers.words import holds, sentences, words

PAGE = "Every record holds the hash of the one before. Retention is 365 days. A flip returns with receipts."
CHUNK = Context("c1", "ledger", "Ledger", PAGE, 100, 100 + len(PAGE), 1.0)
OTHER = Context("c2", "gate", "Gate", "The gate is a pure function.", 0, 28, 0.5)


def score(name: str, case: Case, answer: Answer, **more: Any) -> float | None:
    return SCORERS[name](ScoringContext(case, answer, **more)).value


def asked(**fields: Any) -> Case:
    return Case(**{"id": "1", "question": "How long is retention?", "expected": ("365 days",), **fields})


def answered(text: str | None, **fields: Any) -> Answer:
    return Answer(text, **{"contexts": (CHUNK, OTHER), **fields})


REFUSAL = Answer("I do not know.", refused=True, contexts=(CHUNK,))
UNANSWERABLE = asked(expected=())


@pytest.mark.parametrize(
    ("said", "exact", "f1", "found"),
    [
        ("365 days", 1, 1, 1),
        ("The 365 days!", 1, 1, 1),
        ("Retention is 365 days.", 0, 2 / 3, 1),
        ("It is 3650 days", 0, 1 / 3, 0),
        ("", 0, 0, 0),
    ],
)
def test_answers_are_compared_word_by_word_after_normalising(said: str, exact: float, f1: float, found: float) -> None:
    values = [score(name, asked(), answered(said)) for name in ("exact_match", "token_f1", "contains")]
    assert values == pytest.approx([exact, f1, found])


def test_the_best_of_several_expected_answers_counts() -> None:
    assert score("token_f1", asked(expected=("one year", "365 days")), answered("365 days")) == 1


def test_a_refusal_is_right_for_an_unanswerable_case_only() -> None:
    assert score("refuses_rightly", UNANSWERABLE, REFUSAL) == 1
    assert score("refuses_rightly", asked(), REFUSAL) == 0
    assert score("refuses_rightly", UNANSWERABLE, answered("365 days")) == 0
    assert score("refuses_rightly", asked(), answered("wrong")) == 1


def test_a_refusal_of_an_answerable_question_is_wrong_and_not_unscored() -> None:
    assert [score(name, asked(), REFUSAL) for name in ("correct", "contains", "exact_match", "token_f1")] == [0] * 4


def test_correct_joins_finding_and_refusing() -> None:
    assert score("correct", UNANSWERABLE, REFUSAL) == 1
    assert score("correct", asked(), answered("It is 365 days.")) == 1


def test_expected_answers_say_nothing_about_an_unanswerable_case() -> None:
    assert [score(name, UNANSWERABLE, REFUSAL) for name in ("exact_match", "token_f1", "contains")] == [None] * 3


def test_of_an_object_one_value_must_be_the_expected_answer() -> None:
    case = asked(expected=("positive",))
    right = answered('{"label": "positive"}', object={"label": "positive", "reason": "negative words"})
    wrong = answered('{"label": "neutral"}', object={"label": "neutral", "reason": "some positive words"})
    assert (score("correct", case, right), score("correct", case, wrong)) == (1, 0)


def test_groundedness_is_whole_for_a_quote_and_falls_with_words_from_elsewhere() -> None:
    assert score("groundedness", asked(), answered("Retention is 365 days.")) == 1
    assert score("groundedness", asked(), answered("Retention is generous, elephants agree.")) == pytest.approx(0.25)


@pytest.mark.parametrize("mark", ["[1]", "[1, 2]", "[chunk 1]"])
def test_a_mark_that_cites_a_chunk_is_no_part_of_what_is_said(mark: str) -> None:
    for said in (f"365 days. {mark}", f"365 days {mark}."):
        assert score("groundedness", asked(), answered(said)) == 1
        assert score("exact_match", asked(), answered(said)) == 1


def test_a_number_in_brackets_that_names_no_chunk_is_text() -> None:
    assert score("groundedness", asked(), answered("Retention is 365 days. [3]")) == 0.5


def test_a_number_that_stands_nowhere_grounds_nothing() -> None:
    assert score("groundedness", asked(), answered("Retention is 366 days.")) == 0


def test_hallucination_is_the_complement_of_groundedness() -> None:
    case, answer = asked(), answered("Retention is 365 days. Elephants dance wildly.")
    assert score("hallucination", case, answer) == pytest.approx(1 - (score("groundedness", case, answer) or 0))


def test_without_text_to_rest_on_groundedness_is_unscored() -> None:
    assert score("groundedness", asked(), Answer("365 days")) is None
    assert score("groundedness", asked(), REFUSAL) is None


def test_a_context_given_with_the_case_grounds_too() -> None:
    assert score("groundedness", asked(context="Snow is white."), Answer("Snow is white.")) == 1


def test_citations_must_lie_in_a_given_chunk_and_support_the_answer() -> None:
    start = 100 + PAGE.index("Retention")
    right = Citation("c1", "ledger", start, start + 22)
    beyond = Citation("c1", "ledger", 90, 110)
    unknown = Citation("c9", "ledger", 0, 5)
    beside = Citation("c2", "gate", 0, 28)
    text = "Retention is 365 days."
    assert score("citations_right", asked(), answered(text, citations=(right,))) == 1
    assert score("citations_right", asked(), answered(text, citations=(right, unknown))) == 0.5
    assert score("citations_right", asked(), answered(text, citations=(beyond,))) == 0
    assert score("citations_right", asked(), answered(text, citations=(beside,))) == 0
    assert score("citations_right", asked(), answered(text)) == 0


@pytest.mark.parametrize(
    ("order", "first", "five", "rank", "gain"),
    [((CHUNK, OTHER), 1, 1, 1, 1), ((OTHER, CHUNK), 0, 1, 0.5, 0.6309), ((OTHER,), 0, 0, 0, 0)],
)
def test_retrieval_is_judged_by_where_the_quote_stands(
    order: tuple[Context, ...], first: float, five: float, rank: float, gain: float
) -> None:
    case = asked(quote="Retention is 365 days.", document_id="ledger")
    names = ("hit_at_1", "hit_at_5", "reciprocal_rank", "ndcg")
    values = [score(name, case, answered("x", contexts=order)) for name in names]
    assert values == pytest.approx([first, five, rank, gain], abs=1e-4)


def test_a_quote_that_was_cut_by_a_chunk_border_is_found_by_its_half() -> None:
    case = asked(quote="A flip returns with receipts. Then the server answers.", document_id="ledger")
    assert score("hit_at_1", case, answered("x")) == 1


def test_retrieval_is_unscored_where_nothing_was_retrieved_or_no_passage_is_known() -> None:
    assert score("hit_at_5", asked(quote="x", document_id="d"), Answer("x")) is None
    assert score("hit_at_5", asked(), answered("x")) is None


def test_relevance_and_coherence_need_vectors() -> None:
    answer = answered("One thing. Another thing. A third.")
    assert score("relevance", asked(), answer) is None
    assert score("coherence", asked(), answer) is None
    assert score("relevance", asked(), answer, similarity=lambda a, b: 1.2) == 1
    assert score("coherence", asked(), answer, similarity=lambda a, b: 0.5) == 0.5
    assert score("coherence", asked(), answered("One thing."), similarity=lambda a, b: 0.5) is None


def test_an_object_is_checked_against_the_schema() -> None:
    schema = {"type": "object", "required": ["label"], "properties": {"label": {"enum": ["positive", "negative"]}}}
    assert score("valid", asked(), answered("{}", object={"label": "positive"}), schema=schema) == 1
    assert score("valid", asked(), answered("{}", object={"label": "maybe"}), schema=schema) == 0
    assert score("valid", asked(), answered(None), schema=schema) == 0
    assert score("valid", asked(), answered("text")) is None


def test_toxic_words_are_counted_as_a_share() -> None:
    assert score("toxicity", asked(), answered("You idiot, read it")) == 0.25
    assert score("toxicity", asked(), answered("A class of its own")) == 0


def test_what_the_provider_does_not_report_is_unscored_and_not_zero() -> None:
    assert score("tokens", asked(), answered("x")) is None
    assert score("cost_usd", asked(), answered("x")) is None
    assert score("tokens", asked(), answered("x", usage=Usage(total_tokens=7))) == 7
    assert score("cost_usd", asked(), answered("x", cost_usd=0.002)) == 0.002


def test_words_keep_versions_and_sentences_end_in_many_scripts() -> None:
    assert words("The release v2.1 costs 0.32 ms.") == ["release", "v2.1", "costs", "0.32", "ms"]
    assert sentences("One. Two!\nThree。 四。") == ["One.", "Two!", "Three。", "四。"]
    assert holds("a flip moves it", "Flip moves")
    assert not holds("flipping", "flip")
    assert not holds("x", "")


def test_strict_retrieval_wants_the_whole_passage_of_the_right_document() -> None:
    half, whole = "The gate signs what", "The gate signs what it has measured on the same cases."
    chunks = (
        Context("a", "other", "", whole, 0, 10, 3.0),
        Context("b", "doc", "", half, 0, 10, 2.0),
        Context("c", "doc", "", whole, 0, 10, 1.0),
    )
    quote = "The gate signs what it has measured"
    context = ScoringContext(Case("1", "?", ("it",), document_id="doc", quote=quote), Answer("it", contexts=chunks))
    found = {name: SCORERS[name](context).value for name in SCORERS if "hit_at" in name or "rank" in name}
    assert (found["hit_at_1"], found["hit_at_5"], found["reciprocal_rank"]) == (0.0, 1.0, 0.5)
    assert (found["strict_hit_at_1"], found["strict_hit_at_5"]) == (0.0, 1.0)
    assert found["strict_reciprocal_rank"] == pytest.approx(1 / 3)
    assert SCORERS["strict_ndcg"](context).value == pytest.approx(0.5)
    unquoted = ScoringContext(Case("1", "?", ("measured",), document_id="doc"), Answer("it", contexts=chunks))
    assert SCORERS["reciprocal_rank"](unquoted).value == 0.5
    assert SCORERS["strict_reciprocal_rank"](unquoted).value == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", sorted(LIVE_SCORERS))
def test_a_live_scorer_reads_nothing_that_only_a_written_case_has(name: str) -> None:
    """Live questions have no expected answer and no document, so such a scorer would leave every one unscored."""
    cases = [asked(), asked(expected=(), document_id=None), asked(expected=("a flip",), document_id="gate")]
    answer = answered("Retention is 365 days.", usage=Usage(10, 5), latency_ms=3.0)
    found = {LIVE_SCORERS[name](ScoringContext(case, answer, similarity=lambda *_: 0.5)).value for case in cases}
    assert len(found) == 1, f"{name} belongs to _NEED_A_CASE"
