"""Tells SQL that only reads from SQL that may write, by its first word. `switchyard sql` runs nothing else.

In: a statement. Out: nothing, or `Refused`.
"""

from __future__ import annotations

import re

from mlflow_project.errors import Refused

READING = ("SELECT", "WITH", "VALUES", "TABLE", "FROM", "DESCRIBE", "DESC", "SHOW")
"""First words of statements that read. EXPLAIN is not among them: EXPLAIN ANALYZE runs what it explains."""
_FIRST_WORD = re.compile(r"(?:[\s(]|--[^\n]*(?:\n|$)|/\*.*?\*/)*(\w*)", re.DOTALL)


def refuse_writing(query: str) -> None:
    """Check the first word of a statement, behind comments and parentheses.

    Raises:
        Refused: it is not the first word of a statement that reads.
    """
    found = _FIRST_WORD.match(query)
    word = found[1] if found else ""
    if word.upper() not in READING:
        raise refusal(f"begins with {word[:40]!r}" if word else "has no first word")


def refusal(why: str) -> Refused:
    """The error for a statement that may write."""
    return Refused(
        f"`switchyard sql` only reads, and this statement {why}. Nothing was run. Begin with SELECT, WITH, VALUES, "
        "DESCRIBE or SHOW. To change tables, use `switchyard prepare` and `switchyard restore`."
    )
