"""`docs/guide/metrics.md`, the rules and the README name the metrics that the catalogue has, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from mlflow_project.telemetry.catalogue import CATALOGUE
from stack.layout import ROOT
from tests.observability.naming import series_of

PAGE = ROOT / "docs" / "guide" / "metrics.md"
RULES = sorted((ROOT / "observability" / "prometheus" / "rules").glob("*.yml"))
SERIES = {series for metric in CATALOGUE for series in series_of(metric)}
MENTIONED = re.compile(r"(?<![\w:.])(?:llm|gen_ai|switchyard)_[a-z_]+(?![\w:*])")


def test_the_page_lists_every_metric_with_its_kind_unit_and_labels() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{metric.name}` | {metric.kind}, {metric.unit} | "
        f"{', '.join(f'`{label}`' for label in metric.labels) or 'none'} | {metric.description} |"
        for metric in CATALOGUE
    ]


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.name)
def test_a_rule_asks_only_for_series_that_are_emitted(file: Path) -> None:
    expressions = " ".join(
        rule["expr"] for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]
    )
    assert set(MENTIONED.findall(expressions)) <= SERIES
    recorded = re.findall(
        r"switchyard:[\w:]+", " ".join(file.read_text() for file in RULES if "recording" in file.name)
    )
    assert set(re.findall(r"switchyard:[\w:]+", expressions)) <= set(recorded)


@pytest.mark.parametrize("page", ["README.md", "docs/operations/observability.md"])
def test_a_page_s_queries_ask_only_for_series_that_are_emitted(page: str) -> None:
    queries = " ".join(re.findall(r"```promql\n(.*?)```", (ROOT / page).read_text(), re.DOTALL))
    asked = set(MENTIONED.findall(queries))
    assert asked
    assert asked <= SERIES
