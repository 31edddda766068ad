"""Our own facets for OpenLineage, until it has some for prompts and models (OpenLineage issue 4035).

As that proposal has it, they are optional facets of the objects that OpenLineage knows: `promptVersion` and
`releaseSeal` of a dataset, `evaluation` of a run. Their JSON Schemas are in `observability/lineage/`.
"""

from __future__ import annotations

from typing import Any

import attr
from openlineage.client.generated.base import DatasetFacet, RunFacet

_SCHEMAS = "urn:switchyard:openlineage:1-0-0"


@attr.define
class PromptVersionDatasetFacet(DatasetFacet):
    """Which version of a prompt or a model a dataset is. `digest` is that of the release's manifest."""

    kind: str
    name: str
    version: int
    digest: str | None = None

    @staticmethod
    def _get_schema() -> str:
        return f"{_SCHEMAS}:PromptVersionDatasetFacet.json"


@attr.define
class ReleaseSealDatasetFacet(DatasetFacet):
    """The gate's seal on a version. `record` is its serial in the ledger."""

    name: str
    version: int
    digest: str
    record: int
    sealedAt: str  # noqa: N815
    sealedBy: str  # noqa: N815

    @staticmethod
    def _get_schema() -> str:
        return f"{_SCHEMAS}:ReleaseSealDatasetFacet.json"


@attr.define
class EvaluationRunFacet(RunFacet):
    """Scores and verdict. `run` is the MLflow run with the scores, `metrics` are means over all cases."""

    candidate: str
    champion: str | None = None
    run: str | None = None
    cases: dict[str, Any] | None = None
    metrics: dict[str, float] | None = None
    policy: str | None = None
    verdict: dict[str, Any] | None = None

    @staticmethod
    def _get_schema() -> str:
        return f"{_SCHEMAS}:EvaluationRunFacet.json"


DATASET_FACETS = {"promptVersion": PromptVersionDatasetFacet, "releaseSeal": ReleaseSealDatasetFacet}
