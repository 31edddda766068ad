"""What an evaluation leaves in MLflow, and how it is read again: one run per release and set of cases.

Besides what `mlflow.models.evaluate` logs (`mlflow_run`), a run has as parameters all that the release pins, and the
file `scores.json` with every score. The object store keeps the same scores where users of MLflow cannot reach them.
`scores_of(run)` reads the store's, and refuses a run whose own differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlflow_project.adapters.evidence import SCORES, keep_scores, kept_scores
from mlflow_project.adapters.experiments import Experiments, Run
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.release import Release
from mlflow_project.domain.verdict import Scores
from mlflow_project.errors import InvalidData, NotFound, SealBroken
from mlflow_project.evaluation.mlflow_run import mean
from mlflow_project.rules.canonical import digest
from mlflow_project.rules.gate.statistics import means_and_statistics
from mlflow_project.rules.scorers import FAILED

SCORES_SCHEMA = "switchyard.scores/v1"
SCORES_FILE = SCORES
EVALUATE, REPLAYS, SHADOWS = "evaluate", "replay", "shadow"
"""What runs are for. Each purpose has its own experiments, so that no gate takes a replay for an evaluation."""
DIGEST_TAG, CASES_TAG, SCORERS_TAG = "switchyard.digest", "switchyard.cases", "switchyard.scorers"
COMPLETE_TAG, VERSION_TAG, SCORES_TAG = "switchyard.complete", "switchyard.version", "switchyard.scores"


def experiment_name(name: str, purpose: str = EVALUATE) -> str:
    """The MLflow experiment that holds the evaluations of a prompt or a model, or its replays."""
    return f"{purpose}-{name}"


def find_run(
    experiments: Experiments, release: Release, tags: Mapping[str, str] | None = None, purpose: str = EVALUATE
) -> Run | None:
    """The newest finished run of this release (and number) that has these tags too."""
    wanted = {DIGEST_TAG: release.digest, VERSION_TAG: str(release.version), **(tags or {})}
    found = experiments.find(experiments.experiment(experiment_name(release.name, purpose)), wanted)
    return found[0] if found else None


def run_tags(release: Release, cases: str, scorers: str) -> dict[str, str]:
    """The tags by which a run is found again. `mlflow.linkedPrompts` lists the run on the prompt version's page."""
    linked = {"mlflow.linkedPrompts": json.dumps([{"name": release.name, "version": str(release.version)}])}
    return {
        DIGEST_TAG: release.digest,
        VERSION_TAG: str(release.version),
        CASES_TAG: cases,
        SCORERS_TAG: scorers,
        **(linked if release.manifest.kind == "prompt" else {}),
    }


def keep(experiments: Experiments, store: ObjectStore, run: Run, release: Release, scores: Scores) -> Scores:
    """Write parameters and `scores.json`, and last whether the run is complete: every case has an answer, and no scorer
    failed. Returns the scores with the digest of their file."""
    parameters = {
        **_flat(release.manifest.to_dict()),
        "cases.digest": scores.cases_digest,
        "cases": len(scores.case_ids),
    }
    complete = not scores.errors and not any(scores.metrics[FAILED])
    data = json.dumps({**_plain(scores), "scorers": run.tags[SCORERS_TAG]}, ensure_ascii=False).encode()
    kept = keep_scores(store, run.id, data)
    experiments.write(run, SCORES_FILE, data)
    tags = {COMPLETE_TAG: "yes" if complete else "no", SCORES_TAG: kept}
    experiments.log(run, parameters=parameters, tags=tags)
    return replace(scores, file=kept)


def scores_of(experiments: Experiments, store: ObjectStore, run: Run) -> Scores:
    """The scores that the evaluation gave this run.

    Raises:
        SealBroken: the run's `scores.json` was edited in MLflow, or no evaluation of this stack made the run.
        InvalidData: the scores have another schema, or belong to another release, cases or scorers than the run says.
    """
    kept = _unedited(experiments, store, run)
    data = json.loads(kept)
    if data.get("schema") != SCORES_SCHEMA:
        raise InvalidData(f"{SCORES_FILE} of run {run.id} says schema {data.get('schema')!r}, not {SCORES_SCHEMA!r}.")
    said = tuple(run.tags.get(tag) for tag in (DIGEST_TAG, CASES_TAG, SCORERS_TAG))
    if (data["digest"], data["cases_digest"], data["scorers"]) != said:
        raise InvalidData(
            f"{SCORES_FILE} of run {run.id} is of {data['label']} ({data['digest'][:19]}) on cases "
            f"{data['cases_digest'][:19]}, but the run says otherwise. Evaluate again with --again."
        )
    return Scores(
        label=data["label"],
        digest=data["digest"],
        cases_digest=data["cases_digest"],
        case_ids=tuple(data["case_ids"]),
        metrics={name: tuple(values) for name, values in data["metrics"].items()},
        errors=data["errors"],
        tags=tuple(tuple(tags) for tags in data["tags"]),
        run=run.id,
        file=digest(kept),
    )


def _unedited(experiments: Experiments, store: ObjectStore, run: Run) -> bytes:
    """The scores that the store keeps, if the run's own file is still the same."""
    try:
        kept = kept_scores(store, run.id)
    except NotFound as error:
        raise SealBroken(f"No evaluation of this stack made run {run.id}: evaluate --again. {error}") from error
    if experiments.read(run, SCORES_FILE) != kept:
        raise SealBroken(
            f"{SCORES_FILE} of run {run.id} in MLflow is not what the evaluation wrote: it was edited since. Evaluate "
            "again with --again."
        )
    return kept


def means(scores: Scores) -> dict[str, float]:
    """Per metric the mean of the scored cases, without metrics that have none or whose mean is not finite; for models
    also F1, PR-AUC, calibration error and RMSE."""
    found = {name: mean(values) for name, values in scores.metrics.items()}
    return means_and_statistics({name: value for name, value in found.items() if value is not None}, scores)


def _plain(scores: Scores) -> dict[str, Any]:
    return {
        "schema": SCORES_SCHEMA,
        "label": scores.label,
        "digest": scores.digest,
        "cases_digest": scores.cases_digest,
        "case_ids": scores.case_ids,
        "metrics": scores.metrics,
        "errors": scores.errors,
        "tags": scores.tags,
    }


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings with dotted names, so that MLflow compares each value side by side."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and key != "response_schema":
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
