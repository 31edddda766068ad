"""The gate's verdict with its reasons, and the scores that it is computed from. "Rejected" is a value, never an error.

`Scores` has one number per metric and case, or None where the case was not scored. Unscored is never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

VERDICT_SCHEMA = "switchyard.verdict/v1"

Outcome = Literal["accepted", "rejected", "inconclusive"]


@dataclass(frozen=True)
class Score:
    """One scorer's result for one answer. `value` None means unscored; `reason` says why."""

    value: float | None
    reason: str = ""


@dataclass(frozen=True)
class Scores:
    """One release's scores over the same ordered cases.

    `metrics[name][i]` belongs to `case_ids[i]`; None is unscored. `errors` counts, per metric, the cases where its
    scorer raised: such a metric is incomplete and a gate refuses on it. `run` is the MLflow run with the evidence,
    `file` the digest of its `scores.json`.
    """

    label: str
    digest: str
    cases_digest: str
    case_ids: tuple[str, ...]
    metrics: Mapping[str, tuple[float | None, ...]]
    errors: Mapping[str, int] = field(default_factory=dict)
    tags: tuple[tuple[str, ...], ...] = ()
    run: str | None = None
    file: str | None = None


@dataclass(frozen=True)
class Check:
    """One rule of the policy, decided: `holds` None means that these cases cannot decide it."""

    metric: str
    rule: str
    holds: bool | None
    reason: str
    candidate: float | None = None
    champion: float | None = None
    lower: float | None = None
    upper: float | None = None
    p_value: float | None = None
    detectable: float | None = None
    cases_needed: int | None = None


@dataclass(frozen=True)
class Spending:
    """How sure a verdict had to be, because the gate was asked about these cases before.

    `procedure` names how verdicts share the policy's error, or says that the policy ignores the earlier ones. `number`
    counts this verdict, from 1. `confidence` is that of its tests. `left` is the share of the policy's error that
    verdicts after a rejection may still use. `new_cases` restore the policy's own confidence.
    """

    procedure: str
    number: int
    confidence: float
    left: float
    new_cases: int


@dataclass(frozen=True)
class Verdict:
    """The gate's decision on one candidate against one champion (None: there was none) under one policy.

    `spending` is None if nothing was tested against a champion.
    """

    outcome: Outcome
    reasons: tuple[str, ...]
    checks: tuple[Check, ...] = ()
    cases: int = 0
    spending: Spending | None = None

    @property
    def accepted(self) -> bool:
        return self.outcome == "accepted"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with `accepted` spelt out."""
        return {"schema": VERDICT_SCHEMA, "accepted": self.accepted, **_plain(asdict(self))}


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    checks = [{key: value for key, value in check.items() if value is not None} for check in data["checks"]]
    return {**data, "checks": checks, "reasons": list(data["reasons"])}
