"""`config.alloy` against a table taken from Alloy's documentation, and its pipeline against the collector's, which is
the one that is run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from stack.layout import ROOT
from tests.observability.alloy_reader import Block, read, references

COMPONENTS = read((ROOT / "observability" / "alloy" / "config.alloy").read_text())
COLLECTOR: dict[str, Any] = yaml.safe_load((ROOT / "observability" / "collector" / "config.yaml").read_text())
DOCUMENTED: dict[str, Any] = json.loads(Path(__file__).with_name("alloy_components.json").read_text())["components"]

SAME_STAGE = {
    "otlp": "otelcol.receiver.otlp",
    "memory_limiter": "otelcol.processor.memory_limiter",
    "resource": "otelcol.processor.transform",
    "batch": "otelcol.processor.batch",
    "prometheusremotewrite": "otelcol.exporter.prometheus",
    "otlphttp/traces": "otelcol.exporter.otlphttp",
    "debug": "otelcol.exporter.otlphttp",
}
"""A stage of the collector, and Alloy's component for it. Logs go onward where a site has a store for them."""


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.address)
def test_a_component_has_only_documented_arguments_and_blocks_and_all_that_are_required(component: Block) -> None:
    documented = DOCUMENTED[component.name]
    assert component.arguments.keys() <= set(documented["arguments"])
    assert set(documented["required"]) <= component.arguments.keys() | {block.name for block in component.blocks}
    for block in component.blocks:
        assert block.arguments.keys() <= set(documented["blocks"][block.name])
        assert not block.blocks


def test_every_reference_leads_to_a_component_of_the_file_and_a_field_that_it_exports() -> None:
    by_address = {component.address: component for component in COMPONENTS}
    assert len(by_address) == len(COMPONENTS)
    for value in values(COMPONENTS):
        for address, field in references(value):
            assert field in DOCUMENTED[by_address[address].name]["exports"], f"{address}.{field}"


def test_a_misspelt_reference_would_be_found() -> None:
    found = list(references("[otelcol.processor.bach.default.input]"))
    assert found == [("otelcol.processor.bach.default", "input")]
    assert found[0][0] not in {component.address for component in COMPONENTS}


@pytest.mark.parametrize("signal", ["metrics", "traces", "logs"])
def test_a_signal_goes_through_the_same_stages_in_the_same_order_as_in_the_collector(signal: str) -> None:
    pipeline = COLLECTOR["service"]["pipelines"][signal]
    stages = [*pipeline["receivers"], *pipeline["processors"], *pipeline["exporters"]]
    assert way_of(signal) == [SAME_STAGE[stage] for stage in stages]


def test_limits_batches_clean_up_and_names_are_those_of_the_collector() -> None:
    by_name = {component.name: component for component in COMPONENTS}
    ours = COLLECTOR["processors"]
    limiter, batch = by_name["otelcol.processor.memory_limiter"], by_name["otelcol.processor.batch"]
    assert limiter.arguments["limit"] == f'"{ours["memory_limiter"]["limit_mib"]}MiB"'
    assert limiter.arguments["spike_limit"] == f'"{ours["memory_limiter"]["spike_limit_mib"]}MiB"'
    assert batch.arguments["timeout"] == f'"{ours["batch"]["timeout"]}"'
    assert batch.arguments["send_batch_size"] == str(ours["batch"]["send_batch_size"])
    deleted = [action["key"] for action in ours["resource"]["attributes"] if action["action"] == "delete"]
    for kind in ("metric", "trace", "log"):
        statements = by_name["otelcol.processor.transform"].inner(f"{kind}_statements").arguments["statements"]
        assert re.findall(r'delete_key\(attributes, "([^"]+)"\)', statements) == deleted
    assert by_name["otelcol.exporter.prometheus"].arguments["add_metric_suffixes"] == "false"
    assert COLLECTOR["exporters"]["prometheusremotewrite"]["add_metric_suffixes"] is False


def way_of(signal: str) -> list[str]:
    """The components that a signal goes through, from the receiver on."""
    by_address = {component.address: component for component in COMPONENTS}
    here, way = by_address["otelcol.receiver.otlp.default"], ["otelcol.receiver.otlp"]
    while any(block.name == "output" for block in here.blocks):
        ((address, _),) = references(here.inner("output").arguments[signal])
        here = by_address[address]
        way.append(here.name)
    return way


def values(blocks: list[Block]) -> list[str]:
    """Every argument's value, however deep."""
    return [value for block in blocks for value in (*block.arguments.values(), *values(block.blocks))]
