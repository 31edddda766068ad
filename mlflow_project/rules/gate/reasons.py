"""The sentences of a verdict. Each names the metric and the numbers and, if something is missing, what to do."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mlflow_project.domain.verdict import Check, Spending
from mlflow_project.rules.gate.comparison import Comparison
from mlflow_project.rules.gate.policy import Cap, Guard, MetricRule
from mlflow_project.rules.gate.spending import IGNORED


def number(value: float) -> str:
    """A number as text: three decimals below ten, one above, and no minus before zero."""
    shown = f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return shown.removeprefix("-") if float(shown.replace(",", "")) == 0 else shown


def too_few(metric: str, scored: int, least: int) -> str:
    """The reason when too few cases were scored."""
    return f"{metric}: {scored} scored cases, the policy asks for {least}; add {least - scored} more"


def floor(metric: str, mean: float, least: float) -> str:
    """The reason of a floor: the mean and the floor."""
    if mean >= least:
        return f"{metric} {number(mean)} reaches its floor {number(least)}"
    return f"{metric} {number(mean)} is below its floor {number(least)}"


def cap(rule: Cap, value: float) -> str:
    """The reason of a cap: the statistic and the cap."""
    relation = "stays within" if value <= rule.at_most else "is above"
    return f"{rule.metric} ({rule.statistic}) {number(value)} {relation} its cap {number(rule.at_most)}"


def unanswered(metric: str, missing: int, cases: int) -> str:
    """How many cases got no answer, and how a policy can allow for them."""
    if not missing:
        return f"every one of the {cases} cases got an answer"
    return f"{missing} of {cases} cases got no answer; evaluate again, or allow for it by a cap on `{metric}`"


def report(metric: str, mean: float, other: float) -> str:
    """Both means of a metric that is only reported."""
    return f"{metric} {number(mean)}, the champion's {number(other)}: reported, not judged"


def guard(rule: Guard, cases: int, mean: float, other: float, holds: bool) -> str:
    """The reason of a guard: both means on the cases of the tag."""
    what = (
        f"{rule.metric} on the {cases} cases of tag {rule.tag}: {number(mean)} against the champion's {number(other)}"
    )
    return f"{what}, within its guard" if holds else f"{what}, a loss of more than the {number(rule.drop)} it may lose"


def rule(
    of: MetricRule,
    found: Comparison,
    mean: float,
    other: float,
    holds: bool | None,
    needed: int | None,
    confidence: float,
) -> str:
    """The reason of a rule: the numbers, what it asks, whether that is shown, and how many more cases would decide."""
    turned = 1 if of.direction == "higher" else -1
    edges = sorted((turned * found.lower, turned * found.upper))
    change = f"{mean - other:+.3f}, {percent(confidence)} bounds {number(edges[0])} and {number(edges[1])}"
    numbers = f"{of.metric} {number(mean)} against the champion's {number(other)} ({change})"
    same = ", because both are the same on every case" if found.identical else ""
    return f"{numbers}: {_asked(of, holds)}{same}{_more(found, holds, needed)}"


def percent(confidence: float) -> str:
    """A confidence as people write it: 95 %, 96.96 %, 99.992 %, never rounded to 100 %."""
    digits = max(2, math.ceil(-math.log10(100 * (1 - confidence))))
    return f"{100 * confidence:.{digits}f}".rstrip("0").rstrip(".") + " %"


def spent(of: Spending, confidence: float) -> str:
    """How often the gate was asked about these cases, what that costs, and what restores the policy's confidence."""
    if of.procedure == IGNORED:
        earlier = of.number - 1
        return f"The policy ignores earlier verdicts on these cases (there were {earlier})" if earlier else ""
    first = "The first verdict on these cases" if of.number == 1 else f"Verdict {of.number} on mostly these cases"
    text = (
        f"{first}: its tests had {percent(of.confidence)} confidence. Verdicts on the same cases share the "
        f"{percent(1 - confidence)} error of the policy; {of.left:.0%} of it are left if this one is not accepted"
    )
    return f"{text}. {of.new_cases} new cases in place of old ones restore it" if of.number > 1 else text


def detectable(checks: Sequence[Check], cases: int) -> str:
    """The smallest effect that these cases could show, for each tested metric; empty if none was tested."""
    shown = [f"{check.metric} {number(check.detectable)}" for check in checks if check.detectable is not None]
    return f"The smallest effect that {cases} cases show at 80 % power: {', '.join(shown)}" if shown else ""


def _asked(of: MetricRule, holds: bool | None) -> str:
    if of.rule == "superior":
        return {True: "shown to be better", False: "no gain", None: "a gain is not shown"}[holds]
    margin = number(of.margin or 0.0)
    return {
        True: f"not worse by {margin} or more",
        False: f"worse, by more than the margin {margin}",
        None: f"a loss of {margin} is not ruled out",
    }[holds]


def _more(found: Comparison, holds: bool | None, needed: int | None) -> str:
    if holds is not None:
        return ""
    shown = ""
    if found.detectable is not None:
        shown = f"; {found.pairs} cases show an effect of {number(found.detectable)} at 80 % power"
    if needed is None:
        return f"{shown}; no number of cases would decide an effect this near the margin"
    return f"{shown}; about {needed - found.pairs} more would decide, if the effect is what it seems"
