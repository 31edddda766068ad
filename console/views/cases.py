"""The cases of an evaluation that got worse, with the answers of both versions. In: the store's scores of two runs, and
MLflow's tables of them, whose texts are masked. Out: a `CasesView`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_project.adapters.evidence import kept_scores
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.parts import Parts
from mlflow_project.rules.scorers import LOWER_IS_BETTER

TABLE_FILE = "eval_results_table.json"
MOST = 25
_USUAL = ("correct", "token_f1")
"""The metrics to begin with, where a run has them."""


@dataclass(frozen=True)
class CaseRow:
    """One case. `ours` and `theirs` are its rows in the tables of the candidate and of the champion: `question`,
    `expected`, `answer`, `contexts`, `error`; empty where the run does not have the case."""

    id: str
    score: float
    before: float
    change: float
    tags: Sequence[str]
    ours: Mapping[str, Any]
    theirs: Mapping[str, Any]


@dataclass(frozen=True)
class CasesView:
    """The cases by one metric, the worst change first. `change` is positive where the candidate is better."""

    metric: str
    metrics: Sequence[str]
    champion: int
    better: int
    worse: int
    same: int
    rows: Sequence[CaseRow]


def cases_view(parts: Parts, predicate: Mapping[str, Any], metric: str) -> CasesView:
    """The cases by a metric; by "" those of a usual one.

    Args:
        predicate: what the gate's verdict rests on: `runs` and `champion`.

    Raises:
        NotFound: the verdict compared nothing, or the metric is none of the runs'. Unavailable: a service is gone.
    """
    runs, champion = predicate.get("runs") or {}, predicate.get("champion")
    if not champion or not runs.get("candidate") or not runs.get("champion"):
        raise NotFound("This verdict compared the version with no other one, so no case got worse.")
    ours, theirs = (_scores(parts, str(runs[side])) for side in ("candidate", "champion"))
    metrics = sorted(set(ours["metrics"]) & set(theirs["metrics"]))
    metric = metric or next((each for each in _USUAL if each in metrics), metrics[0] if metrics else "")
    if metric not in metrics:
        raise NotFound(f"Both runs have no metric {metric!r}. They have {', '.join(metrics)}.")
    changes = _changes(ours, theirs, metric)
    tables = [_table(parts, str(runs[side])) for side in ("candidate", "champion")]
    tags = dict(zip(ours["case_ids"], ours["tags"], strict=False))
    rows = [
        CaseRow(each, *changes[each], tags.get(each, ()), *(table.get(each, {}) for table in tables))
        for each in sorted(changes, key=lambda each: (changes[each][2], each))[:MOST]
    ]
    signs = [change for _, _, change in changes.values()]
    return CasesView(
        metric=metric,
        metrics=metrics,
        champion=champion["version"],
        better=sum(sign > 0 for sign in signs),
        worse=sum(sign < 0 for sign in signs),
        same=sum(sign == 0 for sign in signs),
        rows=rows,
    )


def _changes(ours: Mapping[str, Any], theirs: Mapping[str, Any], metric: str) -> dict[str, tuple[float, float, float]]:
    """Per case that both have scored: score, score before, and the change; positive is better."""
    before = dict(zip(theirs["case_ids"], theirs["metrics"][metric], strict=True))
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    return {
        case: (now, before[case], sign * (now - before[case]))
        for case, now in zip(ours["case_ids"], ours["metrics"][metric], strict=True)
        if now is not None and before.get(case) is not None
    }


def _scores(parts: Parts, run: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(kept_scores(parts.store, run))
    return found


def _table(parts: Parts, run: str) -> dict[str, dict[str, Any]]:
    """MLflow's table of a run, by case; empty if the run has none that can be read."""
    try:
        data = json.loads(parts.experiments.read(parts.experiments.get(run), TABLE_FILE))
        rows = (dict(zip(data["columns"], row, strict=True)) for row in data["data"])
        return {str(row["id"]): row for row in rows}
    except (NotFound, InvalidData, KeyError, TypeError, ValueError):
        return {}
