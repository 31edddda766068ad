"""Adds up what the guard counts and answers: harm, clear or inconclusive.

In: blocks of counts by indicator, of the new release and of what it is compared with. Out: a `Judgement`. A `Watch`
compares two arms that answer at the same time, or, where `past` has rates, one release with a known past. The counts of
`prediction_drift` are arrays with a number for each bin; every other indicator's are plain numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mlflow_project.rules.guard.betting import (
    Numbers,
    Tally,
    log_capital,
    no_worse,
    no_worse_than,
    unchanged,
    unchanged_from,
)
from mlflow_project.rules.guard.evidence import NO_REQUESTS, NOTHING, Evidence, Rate, count
from mlflow_project.rules.guard.policy import PREDICTION_DRIFT, GuardPolicy, Indicator
from mlflow_project.rules.guard.split import is_broken, split_capitals

Answer = Literal["harm", "clear", "inconclusive"]
MOST_KNOWN = 0.98
"""A known rate of failures is taken for no more, so that a release that is even worse can be told."""


@dataclass(frozen=True)
class Finding:
    """What one indicator says. Rates are shares of requests.

    `missing` is the traffic, in requests of the new release, after which it should be clear if nothing changes. None:
    it is decided, or need not be clear, or nothing can be said.
    """

    indicator: str
    answer: Answer
    new_requests: int
    new_rate: float | None
    old_rate: float | None
    log_evidence: float
    log_needed: float
    missing: int | None

    def sentence(self) -> str:
        """What the indicator says, with its numbers."""
        if self.new_rate is None:
            return f"{self.indicator}: no traffic to judge by"
        old = "no old traffic" if self.old_rate is None else f"{self.old_rate:.1%} before"
        told = f"{self.indicator} {self.new_rate:.1%} of {self.new_requests} requests, {old}"
        return f"{told} (about {self.missing} more requests needed)" if self.missing else told


@dataclass(frozen=True)
class Judgement:
    """The answer, what each indicator says, and whether the split between the arms is broken."""

    answer: Answer
    findings: tuple[Finding, ...]
    broken_split: bool = False

    def sentence(self) -> str:
        """The answer and its reasons, in one line."""
        if self.broken_split:
            return "The split is broken: one arm has far more requests than the other, so nothing can be compared."
        if self.answer == "inconclusive":
            told = [each for each in self.findings if each.missing or each.new_rate is None]
        else:
            told = [each for each in self.findings if each.answer == self.answer]
        return "; ".join(each.sentence() for each in told or self.findings)

    @property
    def missing(self) -> int:
        """How many requests of the new release are still missing before it can be clear, about."""
        return max((each.missing or 0 for each in self.findings), default=0)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        findings = [
            {
                "indicator": each.indicator,
                "answer": each.answer,
                "requests": each.new_requests,
                "rate": _rounded(each.new_rate),
                "rate_before": _rounded(each.old_rate),
                "log_evidence": round(each.log_evidence, 2),
                "log_needed": round(each.log_needed, 2),
                "missing": each.missing,
            }
            for each in self.findings
        ]
        return {"answer": self.answer, "broken_split": self.broken_split, "indicators": findings}


@dataclass(frozen=True)
class Watch:
    """All evidence of one rollout's step or of one bake time.

    Attributes:
        past: the rate that each indicator is compared with; None: the comparison is between two arms.
    """

    policy: GuardPolicy
    past: Mapping[str, Rate] | None = None
    evidence: Mapping[str, Evidence] | None = None
    split: Numbers | None = None

    def after(self, new: Mapping[str, Tally], old: Mapping[str, Tally]) -> Watch:
        """The watch after one block of counts. An indicator that a mapping lacks had no requests."""
        evidence = dict(self.evidence or {})
        for indicator in self.policy.indicators:
            before = evidence.get(indicator.name) or NOTHING
            counts = new.get(indicator.name, NO_REQUESTS)
            if self.past is None:
                after = before.after_both(counts, old.get(indicator.name, NO_REQUESTS), indicator)
            elif indicator.name in self.past:
                after = before.after_new(counts, self.past[indicator.name], indicator)
            else:
                continue
            evidence[indicator.name] = after
        return replace(self, evidence=evidence)

    def next_step(self) -> Watch:
        """The watch at the beginning of a rollout's next step, which has to become clear by its own traffic. Evidence
        of harm stays, so that all steps together have the policy's `alpha`."""
        evidence = {name: replace(each, clear=NOTHING.clear) for name, each in (self.evidence or {}).items()}
        return replace(self, evidence=evidence)

    def after_split(self, new_requests: float, old_requests: float) -> Watch:
        """The watch after so many more requests of both arms, for the test of the split."""
        split = np.zeros((2, 1)) if self.split is None else self.split
        return replace(self, split=split + split_capitals(new_requests, old_requests))

    def judgement(self) -> Judgement:
        """Harm if one indicator shows harm; clear if all that must be clear are; else inconclusive."""
        findings = tuple(self._finding(indicator) for indicator in self.policy.indicators)
        broken = self.split is not None and is_broken(self.split)
        answer: Answer = "inconclusive"
        if any(each.answer == "harm" for each in findings):
            answer = "harm"
        elif not broken and all(each.answer == "clear" for each in findings if each.indicator in self._must_clear):
            answer = "clear"
        return Judgement(answer, findings, broken)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the policy."""
        evidence = {name: each.to_dict() for name, each in (self.evidence or {}).items()}
        split = None if self.split is None else self.split.tolist()
        past = None if self.past is None else {name: np.asarray(rate).tolist() for name, rate in self.past.items()}
        return {"past": past, "evidence": evidence, "split": split}

    @classmethod
    def from_dict(cls, policy: GuardPolicy, data: Mapping[str, Any]) -> Watch:
        """Read what `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: it has another form.
        """
        past, split = data["past"], data["split"]
        known = {each.name for each in policy.indicators}
        evidence = {name: Evidence.from_dict(each) for name, each in data["evidence"].items() if name in known}
        return cls(
            policy,
            None if past is None else {str(name): np.asarray(rate, dtype=np.float64) for name, rate in past.items()},
            evidence,
            None if split is None else np.asarray(split, dtype=np.float64),
        )

    @property
    def _must_clear(self) -> set[str]:
        """The indicators that must be clear before the next step: all of them, if the policy says it of none."""
        needed = {each.name for each in self.policy.indicators if each.must_clear}
        return needed or {each.name for each in self.policy.indicators}

    def _finding(self, indicator: Indicator) -> Finding:
        evidence = (self.evidence or {}).get(indicator.name) or NOTHING
        harm, clear = evidence.log_harm, evidence.log_clear
        needed, needed_clear = harm_needed(self.policy), float(np.log(1 / self.policy.miss))
        known = evidence.old if self.past is None else self.past.get(indicator.name)
        new, old = _rate(evidence.new), _rate(known) if isinstance(known, Tally) else known
        answer: Answer = "harm" if harm >= needed else "clear" if clear >= needed_clear else "inconclusive"
        missing = None
        is_awaited = answer == "inconclusive" and indicator.name in self._must_clear
        if is_awaited and not (self.past is not None and old is None):
            missing = self._missing(indicator, evidence, needed_clear, old)
        shown, limit = (clear, needed_clear) if answer == "clear" else (harm, needed)
        new_rate, old_rate = (_of_bin(rate, evidence.worst_bin) for rate in (new, old))
        requests = int(count(evidence.new))
        return Finding(indicator.name, answer, requests, new_rate, old_rate, shown, limit, missing)

    def _missing(self, indicator: Indicator, evidence: Evidence, needed: float, old: Rate | None) -> int:
        """How many requests more let the test reach its limit, if both sides have the old release's rate."""
        drift = indicator.name == PREDICTION_DRIFT
        rate = np.clip(old if old is not None else 0.01, 0.005, 0.995 if drift else 0.5)
        one = Tally(1.0 + 0 * rate, rate)
        if self.past is not None:
            gains = (unchanged_from if drift else no_worse_than)(rate, one, indicator.tolerance)
        else:
            gains = (unchanged if drift else no_worse)(one, one, indicator.tolerance)
        spread = np.log(gains.shape[-1]) if not count(evidence.new) else 0.0
        lacking = needed - log_capital(evidence.clear) + spread
        return max(0, int(np.ceil(np.max(lacking / np.maximum(gains.max(axis=-1), 1e-6)))))


def harm_needed(policy: GuardPolicy) -> float:
    """The logarithm of the capital at which an indicator shows harm: all indicators share `alpha`."""
    return float(np.log(len(policy.indicators) / policy.alpha))


def known_rate(past: Tally, most: float = MOST_KNOWN) -> Rate:
    """The rate that a past sets for a new release: the upper end of Wilson's 95 % interval, so that a short past is
    not taken for more than it shows, but `most` at most."""
    n, z = np.asarray(past.requests, dtype=np.float64), 1.96
    rate = past.hits / n
    spread = z * np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return np.minimum(most, (rate + z * z / (2 * n) + spread) / (1 + z * z / n))


def _rate(tally: Tally) -> Rate | None:
    return tally.hits / tally.requests if count(tally) else None


def _of_bin(rate: Rate | None, number: int) -> float | None:
    return None if rate is None else float(np.atleast_1d(rate)[number if np.ndim(rate) else 0])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
