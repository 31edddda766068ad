"""A sample of the answers as traces, through `mlflow.genai.evaluate` with our scorers, for MLflow's own pages.

A child run holds them, so that means of the sample do not stand beside means of all cases. It is a sample because
MLflow's server takes 25 to 66 ms per trace. MLflow is imported when a function needs it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mlflow_project.adapters.experiments import Run
from mlflow_project.domain.answer import Case
from mlflow_project.evaluation.answers import answer_from, plain
from mlflow_project.evaluation.asking import Outcome
from mlflow_project.evaluation.mlflow_run import mlflow_run
from mlflow_project.rules.masking import Masker
from mlflow_project.rules.scorers import Scorer, ScoringContext
from mlflow_project.rules.scorers.context import Similarity


def sample(outcomes: Sequence[Outcome], size: int, seed: str) -> list[Outcome]:
    """At most `size` answered cases. The same seed gives the same cases, so two releases show the same questions."""
    answered = [outcome for outcome in outcomes if outcome.answer is not None]
    return random.Random(seed).sample(answered, min(size, len(answered)))


def log_traces(
    uri: str,
    run: Run,
    outcomes: Sequence[Outcome],
    scorers: Mapping[str, Scorer],
    schema: Mapping[str, Any] | None,
    similarity: Similarity | None,
    masker: Masker,
) -> None:
    """Score these outcomes through MLflow, in a child of the run.

    Raises:
        Unavailable: MLflow does not take them. The run itself is complete.
    """
    label = f"{run.tags.get('mlflow.runName', run.id)} traces"
    with mlflow_run(uri, run.experiment, label, {"mlflow.parentRunId": run.id}):
        import mlflow

        mlflow.genai.evaluate(data=rows(outcomes, masker), scorers=mlflow_scorers(scorers, schema, similarity))


def rows(outcomes: Sequence[Outcome], masker: Masker) -> list[dict[str, Any]]:
    """Answered outcomes as MLflow's evaluation data, masked: inputs, outputs, expectations."""
    return [
        {
            "inputs": {"question": masker.mask(outcome.case.question).text, "id": outcome.case.id},
            "outputs": masker.mask_data(plain(outcome.answer)),
            "expectations": {"case": masker.mask_data(asdict(outcome.case))},
        }
        for outcome in outcomes
        if outcome.answer is not None
    ]


def mlflow_scorers(
    scorers: Mapping[str, Scorer], schema: Mapping[str, Any] | None = None, similarity: Similarity | None = None
) -> list[Any]:
    """Our scorers as scorers of MLflow, for data that `rows` made."""
    from mlflow.genai.scorers import scorer as as_scorer

    return [as_scorer(_wrapped(scorer, schema, similarity), name=name) for name, scorer in scorers.items()]


def _wrapped(scorer: Scorer, schema: Mapping[str, Any] | None, similarity: Similarity | None) -> Any:
    from mlflow.entities import Feedback

    def scored(outputs: dict[str, Any], expectations: dict[str, Any]) -> list[Any]:
        case = Case(**expectations["case"])
        score = scorer(ScoringContext(case, answer_from(outputs), schema, similarity))
        unscored = score.value is None
        return [] if unscored else [Feedback(value=score.value, rationale=score.reason or None)]

    return scored
