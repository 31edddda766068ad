"""Token F1, as a metric of the `evaluate` library: one prediction and a list of references a case."""

from __future__ import annotations

import datasets
import evaluate

from mlflow_project.domain.answer import Answer, Case
from mlflow_project.rules.scorers import SCORERS, ScoringContext

_DESCRIPTION = "The best F1 of the answer's words against one of the expected answers."


class TokenF1(evaluate.Metric):  # type: ignore[misc]
    """Computes {"token_f1": mean over the cases}."""

    def _info(self) -> evaluate.MetricInfo:
        features = {"predictions": datasets.Value("string"), "references": datasets.Sequence(datasets.Value("string"))}
        return evaluate.MetricInfo(
            description=_DESCRIPTION, citation="", inputs_description="", features=datasets.Features(features)
        )

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        cases = (Case("", "", tuple(expected)) for expected in references)
        contexts = (ScoringContext(case, Answer(said)) for case, said in zip(cases, predictions, strict=True))
        values = [SCORERS["token_f1"](context).value for context in contexts]
        scored = [value for value in values if value is not None]
        return {"token_f1": sum(scored) / len(scored)}
