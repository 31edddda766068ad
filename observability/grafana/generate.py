"""Grafana's dashboards from `contents.py`, by the foundation SDK: `make dashboards` writes `dashboards/*.json`."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, VariableRefresh

from observability.grafana.contents import BOARDS, FLIPS, MODEL, Board, Shown

FOLDER = Path(__file__).with_name("dashboards")
SOURCE = DataSourceRef(type_val="prometheus", uid="switchyard-prometheus")


def main() -> None:
    """Write each dashboard's file."""
    FOLDER.mkdir(exist_ok=True)
    for board in BOARDS:
        path_of(board).write_text(as_json(board), encoding="utf-8")


def path_of(board: Board) -> Path:
    """Where a dashboard's JSON is committed."""
    return FOLDER / f"{board.uid.removeprefix('switchyard-')}.json"


def as_json(board: Board) -> str:
    """A dashboard as Grafana reads it; the same text every time."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.about)
        .tags(["switchyard"])
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
    )
    if board.flips:
        made.annotation(_flips())
    if any(MODEL in expression for shown in board.panels for expression in shown.series):
        made.with_variable(_model())
    numbers = count(1)
    for shown in board.panels:
        made.with_panel(_panel(shown).id(next(numbers)))
    return json.dumps(made.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _panel(shown: Shown) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(shown.title)
        .description(shown.about)
        .unit(shown.unit)
        .min(0)
        .span(12)
        .height(8)
        .datasource(SOURCE)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
        )
    )
    for letter, (expression, legend) in zip("ABCDEF", shown.series.items(), strict=False):
        panel.with_target(prometheus.Dataquery().ref_id(letter).expr(expression).legend_format(legend).range())
    return panel


def _model() -> dashboard.QueryVariable:
    """Which model the panels about one show."""
    return (
        dashboard.QueryVariable(MODEL.removeprefix("$"))
        .label("Model")
        .datasource(SOURCE)
        .query("label_values(llm_request_duration_count, model_name)")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )


def _flips() -> dashboard.AnnotationQuery:
    """A line where a release begins to serve."""
    return (
        dashboard.AnnotationQuery()
        .name("Flips")
        .datasource(SOURCE)
        .enable(True)
        .icon_color("purple")
        .expr(FLIPS)
        .step("30s")
        .title_format("{{release}} serves {{alias}}")
    )


if __name__ == "__main__":
    main()
