"""MinIO and MLflow for one run of a bench: no follower but the bench's own asks them, and nothing stays behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.conftest import own_settings, running


@contextmanager
def own_registry() -> Iterator[None]:
    """Settings load from the environment meanwhile; the caller's own, and a stack of his, are left alone."""
    with own_settings() as state:
        running(state, "minio", "mlflow")
        yield
