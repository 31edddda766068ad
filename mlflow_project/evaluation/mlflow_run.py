"""Score answered cases as one MLflow run, by `mlflow.models.evaluate`.

In: a release, its outcomes, and score functions. Out: the run's id and every score. MLflow calls the score functions as
`extra_metrics`, logs each mean, and keeps all cases with their scores and reasons in its evaluation table
(`eval_results_table.json`), which its Evaluation view compares between runs. The cases are the run's dataset.

Importing MLflow and the `evaluate` library takes seconds; `import_mlflow` does it.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import math
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow_project.domain.answer import Answer
from mlflow_project.domain.verdict import Score
from mlflow_project.errors import Unavailable
from mlflow_project.evaluation.asking import Outcome
from mlflow_project.evaluation.library_metrics import import_library
from mlflow_project.evaluation.scoring import Scored, ScoreFunction, scored
from mlflow_project.rules.masking import Masker
from mlflow_project.rules.scorers import LOWER_IS_BETTER

Mask = Callable[[str], str]


def import_mlflow(home: Path | None) -> None:
    """Import MLflow, and the `evaluate` library unless `home`, its cache, is None. Takes seconds; call it before
    anything else of this module.

    Call it on the main thread: MLflow's import hooks take a lock of their own, and can block for ever when another
    thread imports something at the same moment.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # by default it waits minutes for a lost server
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "true")  # MLflow imports LiteLLM, which fetches a price list
    os.environ.setdefault("TQDM_DISABLE", "1")  # the command shows its own progress; two bars draw over each other
    mlflow = importlib.import_module("mlflow")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.models.list_evaluators()  # imports the evaluators, and with them scikit-learn and matplotlib
    if home is not None:
        import_library(home)


def origin_tags(user: str) -> dict[str, str]:
    """MLflow's tags for who evaluates, by what, and from which Git commit, if the working folder is in a repository."""
    tags = {"mlflow.source.name": "switchyard evaluate", "mlflow.source.type": "LOCAL"}
    tags |= {"mlflow.user": user} if user else {}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["git", "rev-parse", "HEAD"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        tags["mlflow.source.git.commit"] = found.stdout.strip()
    return tags


@contextlib.contextmanager
def mlflow_run(uri: str, experiment: str, name: str, tags: Mapping[str, str]) -> Iterator[str]:
    """A new run of MLflow's client, open until the block ends; its id. An error in the block marks the run as failed.

    Raises:
        Unavailable: MLflow does not answer, or refuses what is logged.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # MLflow prints addresses, and stdout is for one JSON document
            mlflow.set_tracking_uri(uri)
            mlflow.set_experiment(experiment_id=experiment)  # traces go there
            # By its id, because start_run without one would take over the run that `mlflow run` has opened around us.
            made = mlflow.MlflowClient().create_run(experiment, run_name=name, tags=dict(tags))
            with mlflow.start_run(run_id=made.info.run_id) as run:
                yield run.info.run_id
    except MlflowException as error:
        raise Unavailable(f"MLflow at {uri} did not take the evaluation of {name}: {error}") from error


def evaluate_in_run(
    outcomes: Sequence[Outcome],
    functions: Mapping[str, ScoreFunction],
    library: Sequence[Any],
    dataset: tuple[str, str],
    masker: Masker,
) -> Scored:
    """Score the outcomes by `mlflow.models.evaluate` in the run that is open.

    Args:
        functions: per metric, the score of one outcome.
        library: metrics of MLflow that are logged besides.
        dataset: where the cases come from, and their digest.
    """
    import mlflow

    by_id = {outcome.case.id: outcome for outcome in outcomes}
    columns: dict[str, list[Score | None]] = {}
    mask = _each_text_once(masker)
    metrics = [_metric(name, function, by_id, columns, mask) for name, function in functions.items()]
    data = _dataset(outcomes, *dataset, mask)
    mlflow.models.evaluate(data=data, model_type=None, extra_metrics=[*metrics, *library], evaluators="default")
    return scored(columns)


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the scored cases; None if there is none, or if it is not finite."""
    present = [value for value in values if value is not None]
    found = sum(present) / len(present) if present else math.nan
    return found if math.isfinite(found) else None


def _metric(
    name: str,
    function: ScoreFunction,
    outcomes: Mapping[str, Outcome],
    columns: dict[str, list[Score | None]],
    mask: Mask,
) -> Any:
    """A score function as a metric of MLflow, which leaves its scores in `columns`.

    MLflow calls it for the first case alone, then for all. An aggregate with the metric's own name is logged under that
    name; any other would be logged as `correct/mean`.
    """
    from mlflow.metrics import MetricValue
    from mlflow.models import make_metric

    def per_case(id: Sequence[str]) -> Any:  # MLflow passes the table's column of this name
        columns[name] = [function(outcomes[case]) for case in id]
        values = [score.value if score else None for score in columns[name]]
        reasons = [mask(score.reason) if score and score.reason else None for score in columns[name]]
        of_all = mean(values)
        return MetricValue(
            scores=values,
            justifications=reasons if any(reasons) else None,
            aggregate_results={} if of_all is None else {name: of_all},
        )

    return make_metric(eval_fn=per_case, greater_is_better=name not in LOWER_IS_BETTER, name=name)


def _each_text_once(masker: Masker) -> Mask:
    """Masks each text once: the same chunks and reasons come again and again."""
    masked: dict[str, str] = {}

    def mask(text: str) -> str:
        if text not in masked:
            masked[text] = masker.mask(text).text
        return masked[text]

    return mask


def _dataset(outcomes: Sequence[Outcome], source: str, digest: str, mask: Mask) -> Any:
    """The cases with their answers, masked because many people read a run. MLflow takes 36 characters of a digest."""
    import mlflow
    import pandas

    frame = pandas.DataFrame([_row(outcome, mask) for outcome in outcomes])
    return mlflow.data.from_pandas(
        frame,
        source=_source(source),
        targets="expected",
        predictions="answer",
        name=source.rpartition(":")[2].strip("/") or "cases",
        digest=digest.removeprefix("sha256:")[:36],
    )


def _row(outcome: Outcome, mask: Mask) -> dict[str, Any]:
    case, answer = outcome.case, outcome.answer
    return {
        "id": case.id,
        "question": mask(case.question),
        "expected": mask(" | ".join(case.expected)),
        "answer": mask(_said(answer)) if answer else "",
        "refused": answer.refused if answer else None,
        "error": mask(outcome.error),
        "contexts": "\n\n".join(mask(chunk.text) for chunk in answer.contexts) if answer else "",
        "chunk_ids": ", ".join(chunk.chunk_id for chunk in answer.contexts) if answer else "",
        "document_ids": ", ".join(mask(chunk.document_id) for chunk in answer.contexts) if answer else "",
        "tags": ", ".join(case.tags),
    }


def _said(answer: Answer) -> str:
    return answer.text if answer.text is not None else json.dumps(answer.object, ensure_ascii=False)


def _source(source: str) -> Any:
    """Where the cases come from, as MLflow names it."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.delta_dataset_source import DeltaDatasetSource

    path, _, version = source.partition("@")
    if source.startswith(("s3a://", "s3://")):
        return DeltaDatasetSource(path=path, delta_table_version=int(version) if version else None)
    return CodeDatasetSource(tags={"uri": source})
