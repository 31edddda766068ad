"""Metrics of Hugging Face's `evaluate` library, as metrics of `mlflow.models.evaluate`.

In: names of folders in `evaluation/evaluate_metrics/`, and outcomes by case id. Out: one `EvaluationMetric` per name,
called `library.<name>`. Call `import_library` first: it sets where the library keeps its cache, and that it must not
use the network.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow_project.errors import NotFound
from mlflow_project.evaluation import evaluate_metrics
from mlflow_project.evaluation.asking import Outcome
from mlflow_project.rules.citation_marks import without_marks

_FOLDER = Path(evaluate_metrics.__path__[0])


def library_metrics(names: Sequence[str], outcomes: Mapping[str, Outcome]) -> list[Any]:
    """One MLflow metric per name: its value over the cases that are answerable and have an answer.

    Raises:
        NotFound: there is no metric folder of that name.
    """
    check_known(names)
    return [_metric(name, outcomes) for name in names]


def import_library(home: Path) -> None:
    """Import the library with its cache in `home` and without network access. It reads both settings at import, so this
    must be its first import in the process."""
    home.mkdir(parents=True, exist_ok=True)
    os.environ.update(HF_HOME=str(home), HF_EVALUATE_OFFLINE="1", HF_HUB_OFFLINE="1")
    importlib.import_module("evaluate")


def check_known(names: Sequence[str]) -> None:
    """Check that each name has a metric folder.

    Raises:
        NotFound: one of them has none.
    """
    for name in names:
        if name not in known_metrics():
            raise NotFound(f"There is no metric {name!r}. Known metrics: {', '.join(known_metrics())}.")


def known_metrics() -> list[str]:
    """The names of the metric folders."""
    return sorted(path.parent.name for path in _FOLDER.glob("*/*.py") if path.stem == path.parent.name)


def _metric(name: str, outcomes: Mapping[str, Outcome]) -> Any:
    import evaluate
    from mlflow.metrics import MetricValue
    from mlflow.models import make_metric

    loaded = evaluate.load(str(_FOLDER / name))

    def over_all_cases(id: Sequence[str]) -> Any:  # MLflow passes the table's column of this name
        answered = [
            (outcome.answer, outcome.case)
            for outcome in map(outcomes.__getitem__, id)
            if outcome.answer is not None and outcome.case.expected
        ]
        if not answered:
            return MetricValue(aggregate_results={})
        predictions = [without_marks(answer.text or "", len(answer.contexts)) for answer, _ in answered]
        references = [list(case.expected) for _, case in answered]
        value = loaded.compute(predictions=predictions, references=references)[name]
        return MetricValue(aggregate_results={f"library.{name}": value})

    return make_metric(eval_fn=over_all_cases, greater_is_better=True, name=f"library.{name}")
