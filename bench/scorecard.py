"""Writes the measured figures of `bench/results/` into `docs/scorecard.md`, and those of the first hour into README.

All other pages give no measured durations and sizes of their own; they link to the scorecard.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.report import RESULTS

ROOT = Path(__file__).parents[1]
SCORECARD = ROOT / "docs" / "scorecard.md"
README = ROOT / "README.md"
HEAD = """# Scorecard: what was measured

`python -m bench.scorecard` writes this page from `bench/results/`, and `make bench SUBJECT=gate` measures one subject
again. The machine has two cores, and other programs were at work on it: trust ratios and processor times more than
durations. A goal that is missed says so.
"""
FIRST_HOUR = {
    "`make setup`, the first time": "`make setup`, empty caches",
    "`make demo` in a new clone, after that": "`make demo`",
    "`make demo`, again": "`make demo`, again",
    "the Python environment, `.venv`": "disk: .venv",
    "the installer's cache, `~/.cache/uv`, which shares its files with `.venv`": "disk: cache uv",
    "MinIO and Spark's jars, `~/.cache/switchyard`": "disk: cache switchyard",
    "Go's caches (`go env GOCACHE GOMODCACHE`)": "disk: Go's caches",
    "memory of the running stack": "memory: all parts",
}
"""The rows of README's table: what a reader wants to know, and the measure that says it."""
_TABLE = re.compile(r"(<!-- measured by bench/first_hour.py -->\n).*?(\n<!-- end -->)", re.DOTALL)


def page(results: Mapping[str, list[dict[str, Any]]]) -> str:
    """The scorecard: one table per subject."""
    parts = [HEAD]
    for subject, rows in sorted(results.items()):
        parts.append(f"\n## {subject.replace('_', ' ').capitalize()}\n")
        parts.append("| measure | value | against | ratio | goal | met |\n|---|---|---|---|---|---|")
        parts += [_row(row) for row in rows]
    return "\n".join(parts) + "\n"


def readme(text: str, first_hour: Iterable[Mapping[str, Any]]) -> str:
    """README with the table of the first hour made anew."""
    values = {row["measure"]: row for row in first_hour}
    rows = [f"| {says} | {rounded(**_number(values[name]))} |" for says, name in FIRST_HOUR.items() if name in values]
    table = "\n".join(["| what | how much |", "|---|---|", *rows])
    return _TABLE.sub(lambda marks: marks[1] + table + marks[2], text)


def rounded(value: float, unit: str) -> str:
    """A duration or a size in two digits and its natural unit."""
    if unit == "s":
        return f"{value / 60:.2g} minutes" if value >= 100 else f"{value:.2g} s"
    return f"{value / 1000:.1f} GB" if value >= 100 else f"{value:.2g} MB"


def results() -> dict[str, list[dict[str, Any]]]:
    """All results that are there: measures by subject."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))}


def _number(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"value": row["value"], "unit": row["unit"]}


def _row(row: Mapping[str, Any]) -> str:
    met = {True: "yes", False: "**missed**", None: ""}[row["met"]]
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g}"
    value = f"{row['value']:.4g} {row['unit']}".strip()
    cells = (row["measure"], value, row["against"], ratio, row["goal"], met)
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def main() -> None:
    """Write both from all results that are there."""
    found = results()
    SCORECARD.write_text(page(found), encoding="utf-8")
    README.write_text(readme(README.read_text("utf-8"), found.get("first_hour", ())), encoding="utf-8")


if __name__ == "__main__":
    main()
