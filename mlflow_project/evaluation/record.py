"""What an evaluation leaves in MLflow, and how it is read again: one run a release and set of cases.

In: a release, its outcomes and scores. Out: the run, with parameters (all that the release pins), metrics (means), the
table of cases `cases.json`, and `scores.json`. `scores_of(run)` is the inverse: it believes the scores that the store
has kept, and refuses a run whose own differ.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from mlflow_project.adapters.evidence import keep_scores, kept_scores
from mlflow_project.adapters.experiments import Experiments, Run
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.release import Release
from mlflow_project.domain.verdict import Scores
from mlflow_project.errors import InvalidData, NotFound, SealBroken
from mlflow_project.evaluation.asking import Outcome
from mlflow_project.evaluation.scoring import Scored
from mlflow_project.rules.canonical import digest
from mlflow_project.rules.masking import Masker

SCORES_SCHEMA = "switchyard.scores/v1"
SCORES_FILE, TABLE_FILE = "scores.json", "cases.json"
DIGEST_TAG, CASES_TAG, SCORERS_TAG = "switchyard.digest", "switchyard.cases", "switchyard.scorers"
COMPLETE_TAG, VERSION_TAG, SCORES_TAG = "switchyard.complete", "switchyard.version", "switchyard.scores"

_MASKER = Masker()


def experiment_name(name: str) -> str:
    """The MLflow experiment that holds a prompt's evaluations."""
    return f"evaluate-{name}"


def find_run(experiments: Experiments, release: Release, tags: Mapping[str, str] | None = None) -> Run | None:
    """The newest finished run of this release (and number) that has these tags too."""
    wanted = {DIGEST_TAG: release.digest, VERSION_TAG: str(release.version), **(tags or {})}
    found = experiments.find(experiments.experiment(experiment_name(release.name)), wanted)
    return found[0] if found else None


def start_run(experiments: Experiments, release: Release, cases: str, scorers: str) -> Run:
    """A new run, tied to the prompt version."""
    tags = {
        DIGEST_TAG: release.digest,
        VERSION_TAG: str(release.version),
        CASES_TAG: cases,
        SCORERS_TAG: scorers,
        "mlflow.linkedPrompts": json.dumps([{"name": release.name, "version": str(release.version)}]),
    }
    return experiments.start(experiments.experiment(experiment_name(release.name)), release.label, tags)


def fill_run(
    experiments: Experiments,
    store: ObjectStore,
    run: Run,
    release: Release,
    outcomes: Sequence[Outcome],
    scored: Scored,
    scores: Scores,
) -> Scores:
    """Write all that was found; `scores.json` comes last, and then the word that the run is complete. The scores, with
    the digest of their file.
    """
    parameters = {**_flat(release.manifest.to_dict()), "cases.digest": scores.cases_digest, "cases": len(outcomes)}
    complete = not scores.errors and all(outcome.answer is not None for outcome in outcomes)
    experiments.write(run, TABLE_FILE, _table(outcomes, scored))
    data = json.dumps({**_plain(scores), "scorers": run.tags[SCORERS_TAG]}, ensure_ascii=False).encode()
    kept = keep_scores(store, run.id, data)
    experiments.write(run, SCORES_FILE, data)
    tables = json.dumps([{"path": TABLE_FILE, "type": "table"}])
    tags = {"mlflow.loggedArtifacts": tables, COMPLETE_TAG: "yes" if complete else "no", SCORES_TAG: kept}
    experiments.log(run, parameters=parameters, metrics=means(scores), tags=tags)
    return replace(scores, file=kept)


def scores_of(experiments: Experiments, store: ObjectStore, run: Run) -> Scores:
    """The scores that the evaluation gave this run.

    Raises:
        SealBroken: the run's `scores.json` was edited in MLflow since, or the evaluation kept none.
        InvalidData: they are not of this schema, or not of the release, cases and scorers that the run says.
    """
    kept = _unedited(experiments, store, run)
    data = json.loads(kept)
    if data.get("schema") != SCORES_SCHEMA:
        raise InvalidData(f"{SCORES_FILE} of run {run.id} says schema {data.get('schema')!r}, not {SCORES_SCHEMA!r}.")
    said = tuple(run.tags.get(tag) for tag in (DIGEST_TAG, CASES_TAG, SCORERS_TAG))
    if (data["digest"], data["cases_digest"], data["scorers"]) != said:
        raise InvalidData(
            f"{SCORES_FILE} of run {run.id} is of {data['label']} ({data['digest'][:19]}) on cases "
            f"{data['cases_digest'][:19]}, but the run says otherwise: evaluate it --again."
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
    """What the store has kept, if the run in MLflow still shows the same."""
    try:
        kept = kept_scores(store, run.id)
    except NotFound as error:
        raise SealBroken(f"No evaluation of this stack made run {run.id}: evaluate --again. {error}") from error
    if experiments.read(run, SCORES_FILE) != kept:
        raise SealBroken(
            f"{SCORES_FILE} of run {run.id} in MLflow is not what the evaluation wrote: it was edited since. Evaluate "
            "it --again."
        )
    return kept


def means(scores: Scores) -> dict[str, float]:
    """Per metric the mean of the scored cases; a metric that none was scored on, or that is not finite, is left out."""
    scored = {name: [v for v in values if v is not None] for name, values in scores.metrics.items()}
    found = {name: sum(values) / len(values) for name, values in scored.items() if values}
    return {name: mean for name, mean in found.items() if math.isfinite(mean)}


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


def _table(outcomes: Sequence[Outcome], scored: Scored) -> bytes:
    """As MLflow's own tables: columns, and rows of data."""
    names = sorted(scored.scores)
    columns = ["id", "question", "expected", "answer", "refused", "error", "contexts", "tags", *names, "reasons"]
    rows = []
    for number, outcome in enumerate(outcomes):
        case, answer = outcome.case, outcome.answer
        of_case = {name: scored.scores[name][number] for name in names}
        rows.append(
            [
                case.id,
                _masked(case.question),
                _masked(" | ".join(case.expected)),
                _masked(answer.text) if answer and answer.text is not None else None,
                answer.refused if answer else None,
                _masked(outcome.error),
                [_masked(chunk.text) for chunk in answer.contexts] if answer else [],
                list(case.tags),
                *(score.value for score in of_case.values()),
                {name: _masked(score.reason) for name, score in of_case.items() if score.reason},
            ]
        )
    return json.dumps({"columns": columns, "data": rows}, ensure_ascii=False).encode()


@lru_cache(maxsize=4096)
def _masked(text: str) -> str:
    """Without personal data and secrets: a run is read by many, and the same chunks stand in it again and again."""
    return _MASKER.mask(text).text


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted names: what MLflow compares side by side."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and key != "response_schema":
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
