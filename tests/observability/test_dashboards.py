"""Grafana's dashboards: the committed JSON is what the code makes, and every expression asks for what is emitted."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from mlflow_project.telemetry.catalogue import CATALOGUE
from observability.grafana.contents import BOARDS, MODEL, RELEASES, Board
from observability.grafana.generate import FOLDER, SOURCE, as_json, path_of
from stack.layout import ROOT
from tests.observability.naming import series_of

SERIES = {series for metric in CATALOGUE for series in series_of(metric)}
PROVISIONING = ROOT / "observability" / "grafana" / "provisioning"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.title)
def test_the_committed_dashboard_is_what_the_code_makes(board: Board) -> None:
    assert path_of(board).read_text(encoding="utf-8") == as_json(board), "type `make dashboards`"


def test_no_other_dashboard_lies_there() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {path_of(board).name for board in BOARDS}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.title)
def test_a_panel_asks_only_for_series_that_are_emitted(board: Board) -> None:
    for panel in json.loads(as_json(board))["panels"]:
        for target in panel["targets"]:
            named = re.findall(r"(?<![\w:])(?:llm|gen_ai|switchyard)_[a-z_]+(?=[\[{) ]|$)", target["expr"])
            asked = set(named) - {
                label for metric in CATALOGUE for label in re.sub(r"\.", "_", " ".join(metric.labels)).split()
            }
            assert asked <= SERIES
            assert asked or "switchyard:" in target["expr"]


def test_every_panel_of_releases_is_split_by_release_or_name_and_shows_the_flips() -> None:
    made = json.loads(as_json(RELEASES))
    assert [annotation["name"] for annotation in made["annotations"]["list"]] == ["Flips"]
    for panel in made["panels"]:
        for target in panel["targets"]:
            if "switchyard_guard_looked_at_seconds" in target["expr"]:
                continue  # one guard watches every name
            assert re.search(r"by ?\([^)]*\b(release|name)\b", target["expr"]), target["expr"]


@pytest.mark.parametrize(
    "query",
    [
        'rate(llm_request_duration_count{model_name="…"}[1m])',
        "histogram_quantile(0.99, sum by(le, model_name) (rate(llm_request_duration_bucket[1m])))",
        'llm_input_tokens_total{model_name="…"}',
        'llm_output_tokens_total{model_name="…"}',
        'rate(llm_api_errors_total{model_name="…"}[5m])',
    ],
)
def test_the_queries_that_people_type_stand_in_the_readme_and_the_dashboards(query: str) -> None:
    shown = {expression for board in BOARDS for panel in board.panels for expression in panel.series}
    assert query.replace("…", MODEL) in shown
    assert query.replace('="…"', '=~".+"') in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()


def test_a_dashboard_about_one_model_lets_its_reader_choose_which() -> None:
    for board in BOARDS:
        asks = MODEL in as_json(board)
        names = [variable["name"] for variable in json.loads(as_json(board))["templating"]["list"]] if asks else []
        assert names == ([MODEL.removeprefix("$")] if asks else [])


def test_provisioning_names_the_data_source_that_the_panels_ask() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert (source["type"], source["uid"]) == (SOURCE.type_val, SOURCE.uid)
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "switchyard.yaml").read_text())["providers"]
    assert provider["type"] == "file"
