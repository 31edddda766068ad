"""Compares the answers of two releases to one live question. Says nothing about which of them is right."""

from __future__ import annotations

import math
from typing import Any

from mlflow_project.domain.answer import Answer
from mlflow_project.domain.verdict import Score
from mlflow_project.rules.citation_marks import without_marks
from mlflow_project.rules.scorers.context import ScoringContext, unscored, yes_no
from mlflow_project.rules.scorers.correctness import words_f1
from mlflow_project.rules.scorers.words import words

AGREEMENT = "agreement"


def agreement(first: Answer, second: Answer) -> Score:
    """How much two answers agree, from 0 to 1: the F1 of their words. Refusals agree with each other and with nothing
    else; objects agree if they are equal.
    """
    if first.refused or second.refused:
        return yes_no(first.refused == second.refused, "one refuses, the other answers")
    if first.object is not None or second.object is not None:
        return yes_no(first.object == second.object, "the objects differ")
    if first.text is None or second.text is None:
        return unscored("there are no two texts")
    return Score(words_f1(*(words(without_marks(each.text or "", len(each.contexts))) for each in (first, second))))


def equal_rows(first: Any, second: Any) -> Score:
    """The share of rows for which two models predict the same; numbers may differ by a millionth."""
    if not isinstance(first, list) or not isinstance(second, list) or len(first) != len(second):
        return yes_no(first == second, "the predictions have different forms")
    if not first:
        return unscored("there are no rows")
    return Score(sum(map(_is_same, first, second)) / len(first))


def refused(context: ScoringContext) -> Score:
    """1 if the answer refuses. On live questions, whether that is right is not known."""
    return Score(float(context.answer.refused))


def _is_same(first: Any, second: Any) -> bool:
    if isinstance(first, int | float) and isinstance(second, int | float):
        return math.isclose(first, second, rel_tol=1e-6, abs_tol=1e-9)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_is_same, first, second))
    return bool(first == second)
