"""The scores that a verdict rests on, kept where MLflow's users cannot reach: once a run, in the object store.

In: a run's id and the bytes of its `scores.json`. Out: the same bytes, in their oldest version, whatever was written or
deleted over them since. The file in MLflow is the copy for people.
"""

from __future__ import annotations

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import NotFound, SealBroken
from mlflow_project.rules.canonical import digest


def scores_key(run: str) -> str:
    """Where a run's scores lie in the artifacts bucket."""
    return f"evaluations/{run}/scores.json"


def keep_scores(store: ObjectStore, run: str, data: bytes) -> str:
    """Write them, once; their digest.

    Raises:
        SealBroken: this run has other scores already.
    """
    bucket, key = store.settings.artifacts_bucket, scores_key(run)
    if not store.put_new(bucket, key, data, "application/json") and kept_scores(store, run) != data:
        raise SealBroken(f"Other scores of run {run} lie at {bucket}/{key} already: evaluate again.")
    return digest(data)


def kept_scores(store: ObjectStore, run: str) -> bytes:
    """The scores as the evaluation wrote them.

    Raises:
        NotFound: no evaluation has kept scores of this run.
    """
    bucket, key = store.settings.artifacts_bucket, scores_key(run)
    written = [item for item in store.versions(bucket, key) if item.key == key and not item.deleted]
    if not written:
        raise NotFound(f"Nothing lies at {bucket}/{key}, where the evaluation of run {run} keeps its scores.")
    return store.get(bucket, key, written[-1].version_id)
