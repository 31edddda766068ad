"""Metrics of the `evaluate` library, from the metric folders of this package: `library_metrics(names, outcomes)`.

In: names of folders in `mlflow_project/metrics/`, answered cases. Out: one number a metric, over the cases that have an
answer. `import_library` comes first: the library writes its cache where that says, and asks no network.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path

from mlflow_project import metrics
from mlflow_project.errors import NotFound
from mlflow_project.evaluation.asking import Outcome
from mlflow_project.rules.citation_marks import without_marks

_FOLDER = Path(metrics.__path__[0])


def library_metrics(names: Sequence[str], outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Per name, with `library.` before it, the metric's value over the answered, answerable cases.

    Raises:
        NotFound: there is no metric folder of that name.
    """
    check_known(names)
    answered = [outcome for outcome in outcomes if outcome.answer is not None and outcome.case.expected]
    if not names or not answered:
        return {}
    import evaluate

    answers = [outcome.answer for outcome in answered if outcome.answer is not None]
    predictions = [without_marks(answer.text or "", len(answer.contexts)) for answer in answers]
    references = [list(outcome.case.expected) for outcome in answered]
    values: dict[str, float] = {}
    for name in names:
        values |= evaluate.load(str(_FOLDER / name)).compute(predictions=predictions, references=references)
    return {f"library.{name}": value for name, value in values.items()}


def import_library(home: Path) -> None:
    """Import the library, once a process and before anybody else does: it reads where its cache lies, and that it may
    not ask the network, when it is imported."""
    home.mkdir(parents=True, exist_ok=True)
    os.environ.update(HF_HOME=str(home), HF_EVALUATE_OFFLINE="1", HF_HUB_OFFLINE="1")
    importlib.import_module("evaluate")


def check_known(names: Sequence[str]) -> None:
    """Whether each has a folder.

    Raises:
        NotFound: one has not.
    """
    for name in names:
        if name not in known_metrics():
            raise NotFound(f"There is no metric {name!r}: known are {', '.join(known_metrics())}.")


def known_metrics() -> list[str]:
    """The names of the metric folders."""
    return sorted(path.parent.name for path in _FOLDER.glob("*/*.py") if path.stem == path.parent.name)
