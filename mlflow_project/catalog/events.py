"""One record of a run as OpenLineage's event, made of the classes of openlineage-python. Pure.

Equal records give equal events, to the byte: nothing of an event depends on when or where it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    column_lineage_dataset,
    data_quality_assertions_dataset,
    data_quality_metrics_input_dataset,
    dataset_version_dataset,
    documentation_job,
    error_message_run,
    job_type_job,
    output_statistics_output_dataset,
    parent_run,
    schema_dataset,
    tags_run,
)
from openlineage.client.serde import Serde

from mlflow_project.catalog.facets import DATASET_FACETS, EvaluationRunFacet
from mlflow_project.domain.run import Dataset, Parent, RunRecord
from mlflow_project.errors import InvalidData

NAMESPACE = "switchyard"
"""The namespace of jobs, the same as that of Airflow's events."""
PRODUCER = "urn:switchyard:lineage"
_BY: dict[str, Any] = {"producer": PRODUCER}  # attrs takes the field `_producer` by this name


def event_of(record: RunRecord) -> RunEvent:
    """The event of a record.

    Raises:
        InvalidData: a facet of the record lacks a field, or has one that its schema does not know.
    """
    try:
        return RunEvent(
            eventType=RunState[record.state],
            eventTime=record.time,
            run=Run(runId=record.run_id, facets=_run_facets(record)),
            job=Job(namespace=NAMESPACE, name=record.job, facets=_job_facets(record)),
            inputs=[_input(each) for each in record.inputs],
            outputs=[_output(each) for each in record.outputs],
            producer=PRODUCER,
        )
    except (TypeError, ValueError, KeyError) as error:
        raise InvalidData(f"The record of run {record.run_id} gives no event: {error}.") from error


def event_bytes(record: RunRecord) -> bytes:
    """The event as JSON, as the client's own transports write it."""
    return Serde.to_json(event_of(record)).encode()


def _run_facets(record: RunRecord) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if record.parent is not None:
        facets["parent"] = _parent_facet(record.parent, record.root)
    if record.error is not None:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(record.error, "PYTHON", **_BY)
    if record.who:
        by = tags_run.TagsRunFacetFields(key="by", value=record.who, source="SWITCHYARD")
        facets["tags"] = tags_run.TagsRunFacet(tags=[by], **_BY)
    if record.evaluation is not None:
        facets["evaluation"] = EvaluationRunFacet(**record.evaluation, **_BY)
    return facets


def _parent_facet(parent: Parent, root: Parent | None) -> Any:
    top = None
    if root is not None:
        top = parent_run.Root(parent_run.RootRun(root.run), parent_run.RootJob(root.namespace, root.job))
    run, job = parent_run.Run(parent.run), parent_run.Job(parent.namespace, parent.job)
    return parent_run.ParentRunFacet(run=run, job=job, root=top, **_BY)


def _job_facets(record: RunRecord) -> dict[str, Any]:
    processing = "STREAMING" if record.streams else "BATCH"
    facets: dict[str, Any] = {"jobType": job_type_job.JobTypeJobFacet(processing, "SWITCHYARD", "JOB", **_BY)}
    if record.description:
        facets["documentation"] = documentation_job.DocumentationJobFacet(record.description, **_BY)
    return facets


def _input(dataset: Dataset) -> InputDataset:
    own: dict[str, Any] = {}
    if dataset.rows is not None:
        own["dataQualityMetrics"] = data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet(
            columnMetrics={}, rowCount=dataset.rows, **_BY
        )
    if dataset.checks:
        own["dataQualityAssertions"] = data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
            [data_quality_assertions_dataset.Assertion(**each) for each in dataset.checks], **_BY
        )
    return InputDataset(dataset.namespace, dataset.name, inputFacets=own, facets=_dataset_facets(dataset))


def _output(dataset: Dataset) -> OutputDataset:
    own: dict[str, Any] = {}
    if dataset.rows is not None:
        own["outputStatistics"] = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=dataset.rows, **_BY
        )
    return OutputDataset(dataset.namespace, dataset.name, outputFacets=own, facets=_dataset_facets(dataset))


def _dataset_facets(dataset: Dataset) -> dict[str, Any]:
    facets: dict[str, Any] = {name: DATASET_FACETS[name](**said, **_BY) for name, said in dataset.facets.items()}
    if dataset.version is not None:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(dataset.version, **_BY)
    if dataset.columns:
        fields = [schema_dataset.SchemaDatasetFacetFields(name=name, type=kind) for name, kind in dataset.columns]
        facets["schema"] = schema_dataset.SchemaDatasetFacet(fields=fields, **_BY)
    if dataset.sources:
        facets["columnLineage"] = _column_lineage(dataset.sources)
    return facets


def _column_lineage(sources: Mapping[str, Any]) -> Any:
    fields = {
        column: column_lineage_dataset.Fields(
            [column_lineage_dataset.InputField(namespace, name, origin) for namespace, name, origin in origins]
        )
        for column, origins in sources.items()
    }
    return column_lineage_dataset.ColumnLineageDatasetFacet(fields=fields, **_BY)
