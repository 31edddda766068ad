"""The policy beside each prompt: what a new version must show before an alias may move to it.

In: the data of a `policy.yaml`. Out: a `Policy`, or one `InvalidData` that lists every mistake.

    confidence: 0.95          one-sided, of every check
    min_cases: 100            pairs that a deciding metric needs
    metrics:                  direction higher|lower; floor (higher) = the least mean; rule superior|non_inferior|report
      correct: {direction: higher, floor: 0.6, rule: non_inferior, margin: 0.05}
    caps:                     the most that a mean, a 95th percentile or a maximum may be
      latency_ms: {p95: 500}
      failed: {mean: 0.0}
    guards:                   a drop on the cases of a tag that is larger than `drop` and no chance result
      - {tag: unanswerable, metric: correct, drop: 0.1, min_cases: 20}
    earlier_verdicts: count   verdicts on the same cases share the allowed error; `ignore` gives each one all of it
    loading:                  for models: what may be loaded beyond skops and LightGBM's text
      {formats: [pickle], trusted_types: [my_package.MyTransformer]}
    replay:                   a replay of so many live questions must come first, and show these metrics not inferior;
      {n: 300, non_inferior: [groundedness], margin: 0.05}   the margin is that of `metrics` where it is left out
    data:                     of the texts that the release rests on: the largest share of rows in quarantine, and
      {max_quarantine: 2%, profile: required}                a profile (`rules/gate/data.py`)
    new_contract: false       for models: true allows inputs that the champion's callers do not send
    protected: false          a protected prompt follows the ledger alone, and needs a second person's approval
    approval: false           a person approves in the workflow before Production
    guard:                    what the guard watches after a promotion and during a rollout (rules/guard/policy.py)
      {indicators: {errors: {}, latency: {}}, bake: 30m}
    rollout:                  how `switchyard rollout start` moves traffic, unless its options say otherwise
      {steps: [1%, 5%, 25%, 100%], every: 10m, unit: session}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from mlflow_project.domain.model import Format, Loading
from mlflow_project.domain.rollout import USUAL_STEPS, Plan, read_seconds, read_steps
from mlflow_project.errors import InvalidData
from mlflow_project.rules.canonical import digest_of
from mlflow_project.rules.gate.data import DataRule, read_data_rule
from mlflow_project.rules.gate.statistics import RMSE, is_statistic
from mlflow_project.rules.guard.policy import read_guard_policy
from mlflow_project.rules.scorers import LIVE_SCORERS, LOWER_IS_BETTER

Direction = Literal["higher", "lower"]
Rule = Literal["superior", "non_inferior", "report"]
Statistic = Literal["mean", "p95", "max"]


@dataclass(frozen=True)
class MetricRule:
    """What one metric must show. `margin` is in the metric's own unit: how much worse is still harmless."""

    metric: str
    direction: Direction
    rule: Rule
    floor: float | None = None
    margin: float | None = None


@dataclass(frozen=True)
class Cap:
    """The most that a statistic of a metric may be."""

    metric: str
    statistic: Statistic
    at_most: float


@dataclass(frozen=True)
class Guard:
    """Refuse when the cases of one tag lose more than `drop` on a metric, significantly. With fewer than `min_cases`
    scored pairs nothing can be said."""

    tag: str
    metric: str
    drop: float
    min_cases: int = 1


@dataclass(frozen=True)
class ReplayRule:
    """How many live questions a replay must have asked, and on which metrics the candidate must not be inferior."""

    n: int
    metrics: tuple[MetricRule, ...]


@dataclass(frozen=True)
class Policy:
    """A validated policy; `digest` is of the data that it was read from. `guard`, where it is given, is valid too."""

    metrics: tuple[MetricRule, ...]
    caps: tuple[Cap, ...]
    guards: tuple[Guard, ...]
    confidence: float
    min_cases: int
    protected: bool
    approval: bool
    digest: str
    loading: Loading = field(default_factory=Loading)
    new_contract: bool = False
    guard: Mapping[str, Any] | None = None
    replay: ReplayRule | None = None
    data: DataRule | None = None
    counts_earlier_verdicts: bool = True
    rollout: Plan | None = None

    def rule_of(self, metric: str) -> MetricRule:
        """The rule of a metric that the policy names."""
        return next(rule for rule in self.metrics if rule.metric == metric)


_FLAGS = ("protected", "approval", "new_contract")
_KEYS = {
    "confidence",
    "min_cases",
    "metrics",
    "caps",
    "guards",
    "loading",
    "replay",
    "data",
    "guard",
    "earlier_verdicts",
    "rollout",
    *_FLAGS,
}


def policy_from(data: Any, source: str = "policy.yaml") -> Policy:
    """Read a policy.

    Raises:
        InvalidData: with a line for each mistake.
    """
    mistakes: list[str] = []
    if not isinstance(data, Mapping):
        raise InvalidData(f"{source} must be a mapping with the keys {', '.join(sorted(_KEYS))}.")
    mistakes += [f"{key!r} is not a key of a policy" for key in data if key not in _KEYS]
    metrics = [_metric(name, entry, mistakes) for name, entry in _mapping(data, "metrics", mistakes).items()]
    caps = [cap for name, entry in _mapping(data, "caps", mistakes).items() for cap in _caps(name, entry, mistakes)]
    guards = [_guard(entry, number, metrics, mistakes) for number, entry in enumerate(_guards(data, mistakes), 1)]
    confidence = _number(data, "confidence", mistakes, "the policy", default=0.95)
    if not 0.5 < confidence < 1:
        mistakes.append("confidence must lie between 0.5 and 1, as in 0.95")
    min_cases = data.get("min_cases", 30)
    if not isinstance(min_cases, int) or isinstance(min_cases, bool) or min_cases < 1:
        mistakes.append("min_cases must be a whole number of at least 1")
    flags = {key: data.get(key, False) for key in _FLAGS}
    mistakes += [f"{key} must be true or false" for key, value in flags.items() if not isinstance(value, bool)]
    guard = data.get("guard")
    if guard is not None:
        mistakes += read_guard_policy(guard)[1]
    replay = _replay(data["replay"], metrics, mistakes) if data.get("replay") is not None else None
    texts = read_data_rule(data["data"], mistakes) if "data" in data else None
    earlier = _choice(data.get("earlier_verdicts", "count"), ("count", "ignore"), "earlier_verdicts", mistakes)
    loading, rollout = _loading(data, mistakes), _rollout(data, mistakes)
    capped = any(cap.metric == RMSE for cap in caps)
    if not capped and not any(metric.floor is not None for metric in metrics):
        mistakes.append(f"no metric has a floor, and {RMSE} no cap, so nothing could decide on a first version")
    if mistakes:
        raise InvalidData("\n  ".join([f"{source} has {len(mistakes)} mistake(s):", *mistakes]))
    return Policy(
        tuple(metrics),
        tuple(caps),
        tuple(guards),
        confidence,
        min_cases,
        **flags,
        loading=loading,
        replay=replay,
        data=texts,
        counts_earlier_verdicts=earlier == "count",
        rollout=rollout,
        digest=digest_of(dict(data)),
        guard=guard,
    )


def _loading(data: Mapping[str, Any], mistakes: list[str]) -> Loading:
    entry = _known(data.get("loading") or {}, {"formats", "trusted_types"}, "loading", mistakes)
    formats, types = (entry.get(key, []) for key in ("formats", "trusted_types"))
    if not _are_texts(formats) or not set(formats) <= set(get_args(Format)):
        mistakes.append(f"loading.formats must be a list of {', '.join(get_args(Format))}")
        formats = []
    if not _are_texts(types):
        mistakes.append("loading.trusted_types must be a list of classes, such as my_package.MyTransformer")
        types = []
    return Loading(tuple(formats), tuple(types))


def _replay(entry: Any, metrics: list[MetricRule], mistakes: list[str]) -> ReplayRule:
    entry = _known(entry, {"n", "non_inferior", "margin"}, "replay", mistakes)
    n, named = entry.get("n"), entry.get("non_inferior")
    if not isinstance(n, int) or isinstance(n, bool) or n < 2:
        mistakes.append(f"replay: n must be a whole number of at least 2, not {n!r}")
        n = 2
    named = [named] if isinstance(named, str) else named
    if not named or not _are_texts(named):
        mistakes.append("replay: non_inferior must name a metric, or a list of metrics")
        named = []
    margin = _number(entry, "margin", mistakes, "replay") if "margin" in entry else None
    rules = []
    for metric in named:
        known = next((rule for rule in metrics if rule.metric == metric), None)
        allowed = margin if margin is not None else known.margin if known is not None else None
        if metric not in LIVE_SCORERS:
            can = ", ".join(sorted(LIVE_SCORERS))
            mistakes.append(f"replay: {metric} cannot be scored on live questions; choose among {can}")
        elif allowed is None or allowed <= 0:
            mistakes.append(f"replay: {metric} needs a margin above 0, here or under `metrics`")
        direction: Direction = "lower" if metric in LOWER_IS_BETTER else "higher"
        rules.append(MetricRule(metric, direction, "non_inferior", margin=allowed))
    return ReplayRule(n, tuple(rules))


def _rollout(data: Mapping[str, Any], mistakes: list[str]) -> Plan | None:
    if data.get("rollout") is None:
        return None
    entry = _known(data["rollout"], {"steps", "every", "unit"}, "rollout", mistakes)
    steps, every = entry.get("steps", USUAL_STEPS.split(",")), entry.get("every")
    if not _are_texts(steps) or not isinstance(every, str | None):
        mistakes.append("rollout.steps must be a list of shares such as 5%, and rollout.every a time such as 10m")
        return None
    try:
        seconds = read_seconds(every) if every is not None else None
        return Plan(read_steps(",".join(steps)), seconds, entry.get("unit", "session"))
    except InvalidData as error:
        mistakes.append(f"rollout: {error}")
        return None


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _metric(name: str, entry: Any, mistakes: list[str]) -> MetricRule:
    where = f"metrics.{name}"
    entry = _known(entry, {"direction", "rule", "floor", "margin"}, where, mistakes)
    direction = _choice(entry.get("direction"), get_args(Direction), f"{where}.direction", mistakes)
    rule = _choice(entry.get("rule", "report"), get_args(Rule), f"{where}.rule", mistakes)
    floor = _number(entry, "floor", mistakes, where) if "floor" in entry else None
    margin = _number(entry, "margin", mistakes, where) if "margin" in entry else None
    if floor is not None and entry.get("direction") == "lower":
        mistakes.append(f"{where}: a metric where lower is better takes a cap, not a floor")
    if rule == "non_inferior" and (margin is None or margin <= 0):
        mistakes.append(f"{where}: non_inferior needs a margin above 0, the loss that is still harmless")
    if entry.get("rule", "report") in ("superior", "report") and margin is not None:
        mistakes.append(f"{where}: only non_inferior takes a margin")
    return MetricRule(name, direction, rule, floor, margin)


def _caps(name: str, entry: Any, mistakes: list[str]) -> list[Cap]:
    entry = _known(entry, set(get_args(Statistic)), f"caps.{name}", mistakes)
    if is_statistic(name) and set(entry) - {"mean"}:
        mistakes.append(f"caps.{name}: it is one number for all cases, so its only cap is `mean`")
    return [Cap(name, statistic, _number(entry, statistic, mistakes, f"caps.{name}")) for statistic in entry]


def _guard(entry: Any, number: int, metrics: list[MetricRule], mistakes: list[str]) -> Guard:
    where = f"guards[{number}]"
    entry = _known(entry, {"tag", "metric", "drop", "min_cases"}, where, mistakes)
    least = entry.get("min_cases", 1)
    if type(least) is not int or least < 1:
        mistakes.append(f"{where}: min_cases must be a whole number of at least 1, not {least!r}")
        least = 1
    if entry.get("metric") not in {metric.metric for metric in metrics}:
        mistakes.append(f"{where}: metric {entry.get('metric')!r} is not among the policy's metrics")
    if not isinstance(entry.get("tag"), str):
        mistakes.append(f"{where}: it needs a tag")
    drop = _number(entry, "drop", mistakes, where)
    if drop < 0:
        mistakes.append(f"{where}: drop says how much the tag may lose, and cannot be negative")
    return Guard(str(entry.get("tag")), str(entry.get("metric")), drop, least)


def _guards(data: Mapping[str, Any], mistakes: list[str]) -> list[Any]:
    value = data.get("guards") or []
    if not isinstance(value, list):
        mistakes.append("guards must be a list with one entry per tag")
        return []
    return value


def _mapping(data: Mapping[str, Any], key: str, mistakes: list[str]) -> Mapping[str, Any]:
    value = data.get(key) or {}
    if not isinstance(value, Mapping):
        mistakes.append(f"{key} must be a mapping from metric to rule")
        return {}
    mistakes += [
        f"{key}: {name!r} is not a metric's name: write it as text" for name in value if not isinstance(name, str)
    ]
    return value


def _known(entry: Any, keys: set[str], where: str, mistakes: list[str]) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        mistakes.append(f"{where} must be a mapping with {', '.join(sorted(keys))}")
        return {}
    mistakes += [
        f"{where}: {key!r} is unknown; known are {', '.join(sorted(keys))}" for key in entry if key not in keys
    ]
    return {key: value for key, value in entry.items() if key in keys}


def _choice(value: Any, choices: tuple[str, ...], where: str, mistakes: list[str]) -> Any:
    if value not in choices:
        mistakes.append(f"{where} must be one of {', '.join(choices)}, not {value!r}")
        return choices[-1]
    return value


def _number(entry: Mapping[str, Any], key: str, mistakes: list[str], where: str, default: float | None = None) -> float:
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not float("-inf") < value < float("inf"):
        mistakes.append(f"{where}: {key} must be a number, not {value!r}")
        return 0.0
    return float(value)
