"""The gate remembers how often it was asked: verdicts on the same cases share one chance of a wrong acceptance.

In: the policy's confidence and the earlier verdicts on mostly the same cases. Out: the confidence of the next verdict.

Who tries worthless candidates until one passes, passes by chance sooner or later. So the k-th verdict gets the share
6 / (pi^2 k^2) of the error that the policy allows; all shares together make 1. What an accepted verdict could have used
goes on to the next one, because its candidate was shown to be no worthless one: releases that pass cost nothing, only
trials that fail do. This is the online fallback procedure (Tian and Ramdas, "Online control of the familywise error
rate", Statistical Methods in Medical Research 30, 2021): the chance that any worthless candidate is ever accepted stays
below the policy's error, however the verdicts depend on each other.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_project.domain.verdict import Spending

PROCEDURE = "online fallback, shares 6/(pi^2 k^2)"
IGNORED = "ignored"
TESTED = ("superior", "non_inferior")
"""The rules that test a candidate against its champion."""
_KEPT = 256
"""So many marks of a case set are kept. Sets up to this size are compared exactly, larger ones by a sample."""


@dataclass(frozen=True)
class EarlierVerdict:
    """A verdict of the ledger that tested a candidate against a champion.

    `grounds` are equal for two verdicts on the same evidence, which are one question. `marks` are those of its cases;
    empty in old records.
    """

    accepted: bool
    grounds: Any
    cases_digest: str
    marks: tuple[str, ...] = ()


def grounds(
    verdict: Mapping[str, Any], digest: str | None, champion: str | None, policy: str, cases: str
) -> tuple[Any, ...]:
    """What a verdict rests on: who was compared by which policy, and the values that were compared. The same grounds
    are the same question, asked again."""
    compared = [
        (check["metric"], check.get("candidate"), check.get("champion"))
        for check in verdict.get("checks", ())
        if check["rule"] in TESTED
    ]
    return digest, champion, policy, cases, tuple(compared)


def marks_of(questions: Iterable[str]) -> tuple[str, ...]:
    """Marks of a case set: the smallest hashes of its questions, so that two sets keep the marks of the same cases."""
    hashes = {hashlib.sha256(question.encode()).hexdigest()[:10] for question in questions}
    return tuple(sorted(hashes)[:_KEPT])


def on_mostly_these(earlier: Iterable[EarlierVerdict], cases_digest: str, marks: Sequence[str]) -> list[EarlierVerdict]:
    """The earlier verdicts whose cases contain at least half of these, each ground once, oldest first."""
    found: dict[Any, EarlierVerdict] = {}
    for each in earlier:
        if each.cases_digest == cases_digest or _share_of(marks, each.marks) >= 0.5:
            found.setdefault(each.grounds, each)
    return list(found.values())


def _share_of(marks: Sequence[str], others: Sequence[str]) -> float:
    """The share of a set that another one contains, estimated by the marks below which both are complete."""
    if not marks or not others:
        return 0.0
    complete = [set_[-1] for set_ in (marks, others) if len(set_) == _KEPT]
    limit = min(complete, default="g")  # hexadecimal digits end before g
    below = [mark for mark in marks if mark <= limit]
    return len(set(below) & set(others)) / len(below) if below else 0.0


def spending(confidence: float, accepted_before: Sequence[bool], cases: int) -> Spending:
    """What the next verdict may spend.

    Args:
        confidence: the policy's.
        accepted_before: the outcomes of the earlier verdicts on mostly the same cases, oldest first.
        cases: how many cases there are now.
    """
    error, carried, level = 1 - confidence, 0.0, 0.0
    for number, was_accepted in enumerate([*accepted_before, False], start=1):
        level = error * _share(number) + carried
        carried = level if was_accepted else 0.0
    number = len(accepted_before) + 1
    left = 1 - sum(_share(each) for each in range(1, number + 1))
    return Spending(PROCEDURE, number, 1 - level, left, math.floor(cases / 2) + 1)


def _share(number: int) -> float:
    return 6 / (math.pi * number) ** 2
