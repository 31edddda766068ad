"""Keeps the files that a verdict rests on, once per run, in the object store, where MLflow's users cannot reach.

In: a run's id and the bytes of its `scores.json` or `replay.json`. Out: the same bytes, in their oldest version,
whatever was written or deleted over them since. The file in MLflow is the copy for people.
"""

from __future__ import annotations

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import NotFound, SealBroken
from mlflow_project.rules.canonical import digest

SCORES, REPLAY = "scores.json", "replay.json"


def scores_key(run: str, file: str = SCORES) -> str:
    """Where a run's scores, or another file of it, lie in the artifacts bucket."""
    return f"evaluations/{run}/{file}"


def keep_scores(store: ObjectStore, run: str, data: bytes, file: str = SCORES) -> str:
    """Write a run's scores, or another file of it, once. Returns the digest.

    Raises:
        SealBroken: this run has another such file already.
    """
    bucket, key = store.settings.artifacts_bucket, scores_key(run, file)
    if not store.put_new(bucket, key, data, "application/json") and kept_scores(store, run, file) != data:
        raise SealBroken(f"Another {file} of run {run} lies at {bucket}/{key} already: evaluate again.")
    return digest(data)


def kept_scores(store: ObjectStore, run: str, file: str = SCORES) -> bytes:
    """The scores, or another file of the run, as the evaluation wrote them.

    Raises:
        NotFound: no evaluation has kept such a file of this run.
    """
    bucket, key = store.settings.artifacts_bucket, scores_key(run, file)
    written = [item for item in store.versions(bucket, key) if item.key == key and not item.deleted]
    if not written:
        raise NotFound(f"Nothing lies at {bucket}/{key}, where the evaluation of run {run} keeps its {file}.")
    return store.get(bucket, key, written[-1].version_id)
