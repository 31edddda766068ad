"""MinIO from its source, since neither images nor downloads of it are made any more. Standard library only."""

from __future__ import annotations

from stack.go_build import GoProgram, build
from stack.layout import MINIO_SOURCE, minio_binary
from stack.progress import Progress
from stack.tools import Tools


def build_minio(progress: Progress, tools: Tools) -> str:
    """Build it unless it is there."""
    return build(GoProgram(MINIO_SOURCE, "github.com/minio/minio", minio_binary()), progress, tools)
