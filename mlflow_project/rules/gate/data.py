"""What a policy demands of the texts that a release rests on. Pure.

    data: {max_quarantine: 2%, profile: required}

In: that entry, and the texts' quality at the table version that the release pins. Out: a `DataRule`, and checks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_project.domain.text_quality import TextQuality
from mlflow_project.domain.verdict import Check

_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,4})?)\s*%", re.ASCII)
_KEYS = ("max_quarantine", "profile")


@dataclass(frozen=True)
class DataRule:
    """`max_quarantine` is the largest share of rejected raw rows, from 0 to 1, or None for any."""

    max_quarantine: float | None = None
    needs_profile: bool = False


def read_data_rule(entry: Any, mistakes: list[str]) -> DataRule | None:
    """Read the `data` of a policy. Adds a sentence to `mistakes` for each mistake."""
    if not isinstance(entry, Mapping) or not entry:
        mistakes.append("data must be a mapping with max_quarantine, profile, or both")
        return None
    mistakes += [f"data: {key!r} is unknown; known are {', '.join(_KEYS)}" for key in entry if key not in _KEYS]
    largest = _share(entry["max_quarantine"], mistakes) if "max_quarantine" in entry else None
    if "profile" in entry and entry["profile"] != "required":
        mistakes.append(f"data: profile can only be `required`, not {entry['profile']!r}")
    return DataRule(largest, "profile" in entry)


def _share(value: Any, mistakes: list[str]) -> float | None:
    match = _SHARE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or float(match[1]) > 100:
        mistakes.append(f"data: max_quarantine must be a share from 0% to 100%, such as 2%, not {value!r}")
        return None
    return round(float(match[1]) / 100, 6)


def data_checks(rule: DataRule, found: TextQuality) -> tuple[Check, ...]:
    """What the policy's `data` says about the texts of a release."""
    checks = [_quarantine(rule.max_quarantine, found)] if rule.max_quarantine is not None else []
    if rule.needs_profile:
        checks.append(_profile(found))
    return tuple(checks)


def unreadable(said: str) -> Check:
    """The check that stands for all of them if the quality of the texts cannot be read."""
    return Check("data", "data", None, f"data: the quality of the texts cannot be read, so nothing is decided: {said}")


def _quarantine(largest: float, found: TextQuality) -> Check:
    holds = found.rejected <= largest * found.rows + 1e-9
    relation = "within" if holds else "more than"
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in found.quarantine.items())
    why = "" if holds else f"; in quarantine are {reasons}: mend the raw texts, prepare them again, and pin the result"
    reason = (
        f"data: {found.rejected:,} of {found.rows:,} raw rows of {found.table} at version {found.version} are in "
        f"quarantine ({found.share:.2%}), {relation} the {largest:.2%} that the policy allows{why}"
    )
    return Check("data", "data max_quarantine", holds, reason, candidate=found.share)


def _profile(found: TextQuality) -> Check:
    where = f"{found.table} at version {found.version}"
    if found.profiled:
        return Check("data", "data profile", True, f"data: {where} has a profile of {', '.join(found.profiled)}")
    run = f"spark-submit spark_jobs/profile_documents.py {found.table} --version {found.version}"
    return Check("data", "data profile", None, f"data: the policy asks for a profile of {where}: run `{run}`")
