"""Metrics of the `evaluate` library, from the metric folders of this package: `library_metrics(names, outcomes, home)`.

In: names of folders in `mlflow_project/metrics/`, answered cases. Out: one number a metric, over the cases that have an
answer. The library is imported only when a metric is asked for; it writes its cache below `home`, and asks no network.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mlflow_project import metrics
from mlflow_project.errors import NotFound
from mlflow_project.evaluation.asking import Outcome

_FOLDER = Path(metrics.__path__[0])


def library_metrics(names: Sequence[str], outcomes: Sequence[Outcome], home: Path) -> dict[str, float]:
    """Per name the metric's value over the answered, answerable cases.

    Raises:
        NotFound: there is no metric folder of that name.
    """
    for name in names:
        if not (_FOLDER / name / f"{name}.py").is_file():
            raise NotFound(f"There is no metric {name!r}: known are {', '.join(known_metrics())}.")
    answered = [outcome for outcome in outcomes if outcome.answer is not None and outcome.case.expected]
    if not names or not answered:
        return {}
    home.mkdir(parents=True, exist_ok=True)
    os.environ.update(HF_HOME=str(home), HF_EVALUATE_OFFLINE="1", HF_HUB_OFFLINE="1")
    import evaluate

    predictions = [outcome.answer.text or "" for outcome in answered if outcome.answer is not None]
    references = [list(outcome.case.expected) for outcome in answered]
    values: dict[str, float] = {}
    for name in names:
        values |= evaluate.load(str(_FOLDER / name)).compute(predictions=predictions, references=references)
    return {f"library.{name}": value for name, value in values.items()}


def known_metrics() -> list[str]:
    """The names of the metric folders."""
    return sorted(path.parent.name for path in _FOLDER.glob("*/*.py") if path.stem == path.parent.name)
