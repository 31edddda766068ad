"""Scores whether the answer is an expected one, and whether it refuses exactly when it should.

`exact_match`, `token_f1` and `contains` score answerable cases; `correct` and `refuses_rightly` score every case;
`agreement` scores those that are made from approved live answers.
"""

from __future__ import annotations

from collections import Counter

from mlflow_project.domain.verdict import Score
from mlflow_project.rules.scorers.context import ScoringContext, approved_release, unscored, yes_no
from mlflow_project.rules.scorers.words import holds, normalised, words

_NO_ANSWER = "the case is unanswerable"
_AGREES = 0.5


def exact_match(context: ScoringContext) -> Score:
    """1 if the answer is one of the expected ones, after normalising."""
    if not context.answerable:
        return unscored(_NO_ANSWER)
    expected = {normalised(text) for text in context.case.expected}
    return yes_no(any(normalised(text) in expected for text in _answers(context)), "is none of the expected answers")


def token_f1(context: ScoringContext) -> Score:
    """The best F1 of the answer's words against an expected answer's (Rajpurkar et al. 2016)."""
    if not context.answerable:
        return unscored(_NO_ANSWER)
    pairs = [(text, expected) for text in _answers(context) for expected in context.case.expected]
    return Score(max((words_f1(words(text), words(expected)) for text, expected in pairs), default=0.0))


def contains(context: ScoringContext) -> Score:
    """1 if the answer contains an expected one, word for word; for an object, if one of its values equals it."""
    if not context.answerable:
        return unscored(_NO_ANSWER)
    return _contains(context)


def agreement(context: ScoringContext) -> Score:
    """For a case made from an approved live answer: the F1 of the answer's words against that answer's; for an approved
    refusal, 1 if the answer refuses."""
    if approved_release(context.case) is None:
        return unscored("the case is not made from an approved answer")
    return token_f1(context) if context.answerable else refuses_rightly(context)


def correct(context: ScoringContext) -> Score:
    """1 if the answer contains an expected one; for an unanswerable case, if it refuses. A whole approved answer need
    not be repeated word for word: an agreement of one half is enough."""
    if context.answerable and approved_release(context.case) is not None:
        agreed = token_f1(context).value or 0.0
        return yes_no(agreed >= _AGREES, f"agrees with the approved answer by {agreed:.2f}, less than {_AGREES}")
    return _contains(context) if context.answerable else refuses_rightly(context)


def refuses_rightly(context: ScoringContext) -> Score:
    """1 if the answer refuses an unanswerable case, or answers an answerable one."""
    if context.answer.refused:
        return yes_no(not context.answerable, "refuses although the case has an answer")
    return yes_no(context.answerable, "answers although nothing answers the question")


def _contains(context: ScoringContext) -> Score:
    if context.answer.refused:
        return Score(0.0, "refuses although the case has an answer")
    if isinstance(context.answer.object, dict):
        return exact_match(context)
    found = any(holds(context.said, expected) for expected in context.case.expected)
    return yes_no(found, "holds none of the expected answers")


def _answers(context: ScoringContext) -> list[str]:
    """The texts that may be the answer: the plain values of an object, or else the whole text."""
    if context.answer.refused:
        return []
    if isinstance(context.answer.object, dict):
        return [str(value) for value in context.answer.object.values() if isinstance(value, str | int | float)]
    return [context.said]


def words_f1(said: list[str], expected: list[str]) -> float:
    """The F1 of two lists of words: 1 for the same words, 0 if they share none."""
    shared = sum((Counter(said) & Counter(expected)).values())
    return 2 * shared / (len(said) + len(expected)) if shared else 0.0
