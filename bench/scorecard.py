"""`docs/scorecard.md` from `bench/results/`: what was measured, against which goal, and what was missed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.report import RESULTS

SCORECARD = Path(__file__).parents[1] / "docs" / "scorecard.md"
HEAD = """# Scorecard

Written by `make bench` from the measurements of one machine with two cores: believe ratios more than figures. A goal
that is missed says so. `make bench SUBJECT=gate` measures one subject again.
"""


def page(results: Mapping[str, list[dict[str, Any]]]) -> str:
    """The page: a table a subject."""
    parts = [HEAD]
    for subject, rows in sorted(results.items()):
        parts.append(f"\n## {subject.replace('_', ' ').capitalize()}\n")
        parts.append("| measure | value | against | ratio | goal | met |\n|---|---|---|---|---|---|")
        parts += [_row(row) for row in rows]
    return "\n".join(parts) + "\n"


def _row(row: Mapping[str, Any]) -> str:
    met = {True: "yes", False: "**missed**", None: ""}[row["met"]]
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g}"
    value = f"{row['value']:.4g} {row['unit']}".strip()
    cells = (row["measure"], value, row["against"], ratio, row["goal"], met)
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def main() -> None:
    """Write the page from all results that are there."""
    found = {file.stem: json.loads(file.read_text()) for file in RESULTS.glob("*.json")}
    SCORECARD.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
