"""How a metric of the catalogue is called in Prometheus: dots become underscores, and nothing is added but a
histogram's own three series."""

from __future__ import annotations

from mlflow_project.telemetry.catalogue import Metric


def prometheus_name(metric: Metric) -> str:
    """One series that the metric has."""
    return metric.name.replace(".", "_") + ("_count" if metric.kind == "histogram" else "")


def series_of(metric: Metric) -> set[str]:
    """Every series name that the metric has."""
    name = metric.name.replace(".", "_")
    return {f"{name}_{end}" for end in ("bucket", "sum", "count")} if metric.kind == "histogram" else {name}
