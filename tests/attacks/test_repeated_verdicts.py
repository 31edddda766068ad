"""Somebody asks the gate until it says yes.

The attacker may register versions, evaluate them and edit the case file. He has no better release, and wants one of his
worthless ones accepted by chance. He gets a gate that becomes stricter with every verdict, whatever he calls his cases.
"""

from __future__ import annotations

from mlflow_project.evaluation.cases import Case, cases_digest, question_digest
from mlflow_project.rules.gate.spending import EarlierVerdict, marks_of, on_mostly_these

CASES = [Case(f"c{number}", f"Question {number}?", (f"Answer {number}",)) for number in range(150)]


def counted(cases: list[Case]) -> bool:
    """Whether a verdict on `CASES` counts for these cases."""
    before = EarlierVerdict(False, "grounds", cases_digest(CASES), marks_of(map(question_digest, CASES)))
    return bool(on_mostly_these([before], cases_digest(cases), marks_of(map(question_digest, cases))))


def test_a_new_case_among_the_old_ones_forgets_no_verdict() -> None:
    """He adds one case, and the digest of the set is new."""
    assert counted([*CASES, Case("new", "New?", ("New",))])


def test_new_names_another_order_and_other_expected_answers_forget_no_verdict() -> None:
    """He renames all cases, turns them round and edits what they expect."""
    assert counted([Case(f"x{case.id}", case.question, ("Other",)) for case in reversed(CASES)])


def test_fewer_cases_forget_no_verdict() -> None:
    """He keeps the ten cases that his release gets right."""
    assert counted(CASES[:10])


def test_repeated_cases_dilute_nothing() -> None:
    """He writes one new question under a hundred ids."""
    assert counted([*CASES, *[Case(f"n{number}", "New?", ("New",)) for number in range(500)]])
