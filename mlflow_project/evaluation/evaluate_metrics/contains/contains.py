"""Contains, as a metric of the `evaluate` library: one prediction and a list of references a case."""

from __future__ import annotations

import datasets
import evaluate

from mlflow_project.domain.answer import Answer, Case
from mlflow_project.rules.scorers import SCORERS, ScoringContext

_DESCRIPTION = "Whether an expected answer stands in the answer, word for word."


class Contains(evaluate.Metric):  # type: ignore[misc]
    """Computes {"contains": mean over the cases}."""

    def _info(self) -> evaluate.MetricInfo:
        features = {"predictions": datasets.Value("string"), "references": datasets.Sequence(datasets.Value("string"))}
        return evaluate.MetricInfo(
            description=_DESCRIPTION, citation="", inputs_description="", features=datasets.Features(features)
        )

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        cases = (Case("", "", tuple(expected)) for expected in references)
        contexts = (ScoringContext(case, Answer(said)) for case, said in zip(cases, predictions, strict=True))
        values = [SCORERS["contains"](context).value for context in contexts]
        scored = [value for value in values if value is not None]
        return {"contains": sum(scored) / len(scored)}
