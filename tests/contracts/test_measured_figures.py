"""Measured durations and sizes stand in one generated file, and pages link to it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.scorecard import README, SCORECARD, page, readme, results

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
_NUMBER = r"(?:[\d.,]+|an?|one|two|three|four|five|six|seven|eight|nine|ten|fifteen|twenty)"
_UNIT = r"(?:ms|milliseconds?|s|seconds?|minutes?|hours?|[kKMG]i?B)\b"
STRAY = re.compile(
    rf"\b(?:about|takes?|took|costs?)\s+(?:about\s+)?{_NUMBER}(?:\s+and\s+[\w ]{{1,8}})?\s+{_UNIT}|[\d.]+ GB\b"
)
"""How a sentence gives a measured figure: "takes about three minutes", "1.8 GB". A limit that the code sets ("waits 10
seconds", "at most 64 MiB") is none."""
_GENERATED = re.compile(r"<!-- measured by .*?<!-- end -->", re.DOTALL)


def test_the_scorecard_and_the_table_in_readme_are_what_the_results_say() -> None:
    found = results()
    assert SCORECARD.read_text("utf-8") == page(found), "python -m bench.scorecard writes both"
    assert README.read_text("utf-8") == readme(README.read_text("utf-8"), found["first_hour"])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_gives_no_measured_figure_of_its_own(path: Path) -> None:
    text = _GENERATED.sub("", path.read_text("utf-8"))
    assert [found[0] for found in STRAY.finditer(text)] == [], "let it link to docs/scorecard.md instead"


def test_a_measured_figure_is_recognized() -> None:
    for text in ("it takes about three minutes", "about 540 MB", "1.8 GB"):
        assert STRAY.search(text)
    assert not STRAY.search("A flip waits 10 seconds for receipts. A row may have at most 64 MiB.")
