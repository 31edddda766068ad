"""A sample of the answers through `mlflow.genai.evaluate`, by our scorers: traces with assessments, for MLflow's own
pages.

A child run holds them, so that the means of a sample never stand beside the means of all cases. Sampled, because
MLflow's server takes 25 to 66 ms a trace. This module alone imports MLflow's client, which takes seconds, and only when
called.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mlflow_project.adapters.experiments import Run
from mlflow_project.domain.answer import Case
from mlflow_project.errors import Unavailable
from mlflow_project.evaluation.answers import answer_from
from mlflow_project.evaluation.asking import Outcome
from mlflow_project.rules.masking import Masker
from mlflow_project.rules.scorers import Scorer, ScoringContext
from mlflow_project.rules.scorers.context import Similarity


def sample(outcomes: Sequence[Outcome], size: int, seed: str) -> list[Outcome]:
    """At most `size` answered cases; the same ones for the same seed, so that two releases show the same questions."""
    answered = [outcome for outcome in outcomes if outcome.answer is not None]
    return random.Random(seed).sample(answered, min(size, len(answered)))


def log_traces(
    uri: str,
    run: Run,
    outcomes: Sequence[Outcome],
    scorers: Mapping[str, Scorer],
    schema: Mapping[str, Any] | None = None,
    similarity: Similarity | None = None,
) -> None:
    """Score these outcomes through MLflow, in a child of the run.

    Raises:
        Unavailable: MLflow does not take them.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    label = f"{run.tags.get('mlflow.runName', run.id)} traces"
    try:
        with contextlib.redirect_stdout(sys.stderr):
            mlflow.set_tracking_uri(uri)
            mlflow.set_experiment(experiment_id=run.experiment)
            with mlflow.start_run(run_name=label, tags={"mlflow.parentRunId": run.id}):
                mlflow.genai.evaluate(data=rows(outcomes), scorers=mlflow_scorers(scorers, schema, similarity))
    except MlflowException as error:
        raise Unavailable(f"MLflow at {uri} did not take the traces of {label}: {error}") from error


def rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Answered outcomes as MLflow's evaluation data, masked: inputs, outputs, expectations."""
    plain = Masker()
    return [
        {
            "inputs": {"question": plain.mask(outcome.case.question).text, "id": outcome.case.id},
            "outputs": plain.mask_data(asdict(outcome.answer)),
            "expectations": {"case": plain.mask_data(asdict(outcome.case))},
        }
        for outcome in outcomes
        if outcome.answer is not None
    ]


def mlflow_scorers(
    scorers: Mapping[str, Scorer], schema: Mapping[str, Any] | None = None, similarity: Similarity | None = None
) -> list[Any]:
    """Our scorers as MLflow's: they work with `mlflow.genai.evaluate` on whatever `rows` made."""
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
