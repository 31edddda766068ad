"""The guard's policy: the mapping `guard` in a `policy.yaml`.

guard:
  alpha: 0.01              the chance of one false rollback, all indicators together
  miss: 0.05               the chance that a harm of `tolerance` or more passes as clear
  bake: 30m                how long the guard watches after the new release has all traffic
  indicators:              what it watches; each may have a tolerance of its own
    errors: {tolerance: 0.05}
    latency: {tolerance: 0.10, quantile: 0.95}
    refusals: {must_clear: true}
    prediction_drift: {tolerance: 0.10}        for models
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_project.errors import InvalidData

ABOVE_LIMIT = {"latency", "cost", "ungroundedness"}
"""Indicators that count values above a limit, which the old release's values set."""
LATENCY = "latency"
PREDICTION_DRIFT = "prediction_drift"
"""The indicator that compares shares of predictions. It may rise or fall, and harms only beyond its tolerance."""


@dataclass(frozen=True)
class Indicator:
    """One thing that the guard watches.

    Attributes:
        tolerance: how much higher the new release's rate may be, as a share of requests, and still be harmless.
        must_clear: whether the next step waits until this indicator is clear. One that need not be clear can stop a
            rollout all the same.
        quantile: for values above a limit: which quantile of the old release's values is the limit.
    """

    name: str
    tolerance: float = 0.05
    must_clear: bool = False
    quantile: float = 0.95


@dataclass(frozen=True)
class GuardPolicy:
    """A validated policy; see the module's docstring."""

    indicators: tuple[Indicator, ...]
    alpha: float = 0.01
    miss: float = 0.05
    bake_seconds: float = 1800.0


KNOWN: Mapping[str, Indicator] = {
    each.name: each
    for each in (
        Indicator("errors", must_clear=True),
        Indicator(LATENCY, 0.10, must_clear=True),
        Indicator("schema_failures"),
        Indicator("refusals", 0.10),
        Indicator("cost", 0.10),
        Indicator("ungroundedness", 0.10),
        Indicator("negative_feedback", 0.10),
        Indicator(PREDICTION_DRIFT, 0.10),
    )
}
USUAL: Mapping[str, tuple[str, ...]] = {
    "prompt": ("errors", "latency", "schema_failures", "refusals", "cost"),
    "model": ("errors", "latency", PREDICTION_DRIFT),
}
"""What a policy watches that names no indicators, by the kind of what is released."""
_KEYS = {"alpha", "miss", "bake", "indicators"}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def guard_policy_from(data: Any, kind: str = "prompt", source: str = "guard") -> GuardPolicy:
    """Read a guard's policy; an empty mapping is the usual one of a `prompt` or a `model`.

    Raises:
        InvalidData: says in one sentence for each mistake what is wrong.
    """
    policy, mistakes = read_guard_policy(data, source, kind)
    if mistakes:
        raise InvalidData("; ".join(mistakes) + ".")
    return policy


def read_guard_policy(data: Any, source: str = "guard", kind: str = "prompt") -> tuple[GuardPolicy, list[str]]:
    """Read a guard's policy and list its mistakes, for a reader that has other mistakes to list."""
    mistakes: list[str] = []
    data = _mapping(data, _KEYS, source, mistakes)
    given = data.get("indicators", list(USUAL["model" if kind == "model" else "prompt"]))
    if isinstance(given, list) and all(isinstance(name, str) for name in given):
        given = {name: {} for name in given}
    if not isinstance(given, Mapping) or not given:
        mistakes.append(f"{source}.indicators must be a mapping from indicators to their settings, and not empty")
        given = {}
    indicators = tuple(_indicator(name, entry, f"{source}.indicators", mistakes) for name, entry in given.items())
    alpha = _share(data, "alpha", 0.01, source, mistakes, most=0.2)
    miss = _share(data, "miss", 0.05, source, mistakes, most=0.5)
    return GuardPolicy(indicators, alpha, miss, _bake(data, source, mistakes)), mistakes


def _indicator(name: Any, entry: Any, where: str, mistakes: list[str]) -> Indicator:
    usual = KNOWN.get(name) if isinstance(name, str) else None
    if usual is None:
        mistakes.append(f"{where}: {name!r} is no indicator that the guard knows; it knows {', '.join(sorted(KNOWN))}")
        return Indicator(str(name))
    where = f"{where}.{name}"
    keys = {"tolerance", "must_clear"} | ({"quantile"} if name in ABOVE_LIMIT else set())
    entry = _mapping(entry if entry is not None else {}, keys, where, mistakes)
    must_clear = entry.get("must_clear", usual.must_clear)
    if not isinstance(must_clear, bool):
        mistakes.append(f"{where}.must_clear must be true or false, not {must_clear!r}")
    tolerance = _share(entry, "tolerance", usual.tolerance, where, mistakes, most=0.5)
    quantile = _share(entry, "quantile", usual.quantile, where, mistakes, most=0.999)
    return Indicator(usual.name, tolerance, bool(must_clear), quantile)


def _bake(data: Mapping[str, Any], source: str, mistakes: list[str]) -> float:
    value = data.get("bake", "30m")
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        mistakes.append(f"{source}.bake must be a time such as 30m, 2h or 1d, not {value!r}")
        return 0.0
    return float(match[1]) * _SECONDS[match[2]]


def _mapping(data: Any, keys: set[str], where: str, mistakes: list[str]) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        mistakes.append(f"{where} must be a mapping with {', '.join(sorted(keys))}, not {data!r}")
        return {}
    mistakes += [f"{where}: {key!r} is unknown; known are {', '.join(sorted(keys))}" for key in data if key not in keys]
    return data


def _share(data: Mapping[str, Any], key: str, usual: float, where: str, mistakes: list[str], *, most: float) -> float:
    value = data.get(key, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        mistakes.append(f"{where}.{key} must be a number above 0 and at most {most:g}, not {value!r}")
        return usual
    return float(value)
