"""The metric folders work with the `evaluate` library, without network, and agree with the scorers."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_project.domain.answer import Answer, Case
from mlflow_project.errors import NotFound
from mlflow_project.evaluation.asking import Outcome
from mlflow_project.evaluation.library_metrics import import_library, known_metrics, library_metrics

OUTCOMES = [
    Outcome(Case("1", "How long?", ("365 days",)), Answer("Retention is 365 days.")),
    Outcome(Case("2", "Who?", ("the gate", "a gate")), Answer("A gate")),
    Outcome(Case("3", "What is not known?"), Answer("I do not know.", refused=True)),
    Outcome(Case("4", "Lost?", ("yes",)), None, "time-out"),
]


def test_every_metric_folder_loads_and_agrees_with_its_scorer(tmp_path: Path) -> None:
    import_library(tmp_path)
    metrics = library_metrics(known_metrics(), {outcome.case.id: outcome for outcome in OUTCOMES})
    values = [metric.eval_fn([outcome.case.id for outcome in OUTCOMES]).aggregate_results for metric in metrics]
    assert values == [{"library.contains": 1.0}, {"library.token_f1": pytest.approx((2 / 3 + 1) / 2)}]
    assert metrics[0].eval_fn(["3"]).aggregate_results == {}, "no case that has an answer"


def test_an_unknown_metric_names_the_known_ones() -> None:
    with pytest.raises(NotFound, match="contains, token_f1"):
        library_metrics(["bleu"], {})
