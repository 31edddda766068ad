"""How a measurement reports: `report(subject, measures)` prints a table and writes `bench/results/<subject>.json`.

The file is a list of {measure, value, unit, against, ratio, goal, met}. A goal that is missed says so.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Measure:
    """One figure. `against` is what it is compared with, `ratio` how they relate; `met` None: there was no goal."""

    measure: str
    value: float
    unit: str = ""
    against: str = ""
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None


def report(subject: str, measures: Sequence[Measure], title: str = "", *, part: bool = False) -> None:
    """Print the measures and keep them; `part`: other measures of the subject, of earlier runs, stay beside them."""
    shown = Table("measure", "value", "unit", "against", "ratio", "goal", "met", title=title or subject)
    for row in measures:
        met = {True: "yes", False: "MISSED", None: ""}[row.met]
        ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
        shown.add_row(row.measure, f"{row.value:.4g}", row.unit, row.against, ratio, row.goal, met)
    Console(width=None if sys.stdout.isatty() else 160).print(shown)
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{subject}.json"
    rows = [asdict(row) for row in measures]
    if part and file.exists():
        told = {row.measure for row in measures}
        rows = [row for row in json.loads(file.read_text()) if row["measure"] not in told] + rows
    file.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
