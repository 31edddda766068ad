"""Adds up what is counted about one subject, and keeps it in the store, so that another guard can go on.

In: a subject and the hosts' counts. Out: a `Judgement`. Kept in `guard/<name>.json` of the coordination bucket: the
evidence so far, what was already counted, and the guard's last word, which `switchyard guard --show` prints.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.guard.subjects import Subject
from mlflow_project.guard.traffic import Traffic
from mlflow_project.guard.words import PREFIX
from mlflow_project.rules.guard.betting import Tally
from mlflow_project.rules.guard.judge import MOST_KNOWN, Judgement, Watch, known_rate
from mlflow_project.rules.guard.limits import above, limit_bucket
from mlflow_project.rules.guard.policy import ABOVE_LIMIT, PREDICTION_DRIFT
from mlflow_project.rules.guard.predictions import Bins
from mlflow_project.snapshot.arm_counts import ArmCounts, ArmKey

logger = logging.getLogger(__name__)

STATE_SCHEMA = "switchyard.guard/v1"
RECENT_SECONDS = 60.0
LEAST_PAST = 30
"""Fewer values of the old release set no limit and no rate."""
_NOTHING = ArmCounts()


@dataclass
class Observation:
    """What the guard knows of one subject.

    Attributes:
        share: the canary's share to which the evidence for the next step belongs.
        limits: the bucket above which latency, cost or ungroundedness counts, as the old release set it.
        bins: the bins of a model's predictions, as the old release set them; None: not yet.
        seen: what was already taken from each run, by arm (`new` or `old`).
        word: the guard's last word: a state and a sentence.
        has_changed: whether something was counted since this was kept. counted_at: when, by the monotonic clock.
        newest_old: errors of the old release on its arm, by the time when they were read.
    """

    key: str
    watch: Watch
    share: float = 0.0
    limits: dict[str, int] = field(default_factory=dict)
    bins: Bins | None = None
    seen: dict[str, dict[str, ArmCounts]] = field(default_factory=dict)
    word: dict[str, Any] = field(default_factory=dict)
    has_changed: bool = True
    counted_at: float = field(default_factory=time.monotonic)
    newest_old: list[tuple[float, Tally]] = field(default_factory=list)

    def look(self, subject: Subject, traffic: Traffic) -> Judgement:
        """Take what was counted since the last look, and judge."""
        share = subject.rollout.share if subject.rollout is not None else 1.0
        if share != self.share:
            self.share, self.watch = share, self.watch.next_step()
        if subject.rollout is not None:
            self.limits.update(_limits(subject, traffic, self.limits))
            self.bins = self.bins or _bins(subject, traffic)
        new = self._taken("new", subject.new_arm, traffic)
        old = self._taken("old", subject.old_arm, traffic) if subject.old_arm is not None else ArmCounts()
        self.newest_old.append((time.monotonic(), Tally(old.requests, old.errors)))
        if new != _NOTHING or old != _NOTHING:
            self.has_changed, self.counted_at = True, time.monotonic()
            new_tallies, old_tallies = (tallies(each, self.limits, self.bins) for each in (new, old))
            self.watch = self.watch.after(new_tallies, old_tallies)
            if subject.rollout is not None:
                self.watch = self.watch.after_split(new.requests, old.requests)
        return self.watch.judgement()

    def recent_old(self) -> Tally:
        """Errors of the old release in the last minute, while it answers beside the new one."""
        now = time.monotonic()
        self.newest_old = [(at, tally) for at, tally in self.newest_old if now - at <= RECENT_SECONDS]
        tallies = [tally for _, tally in self.newest_old]
        return Tally(sum(each.requests for each in tallies), sum(each.hits for each in tallies))

    def _taken(self, side: str, arm: ArmKey, traffic: Traffic) -> ArmCounts:
        """What was counted of an arm since the last look. A run whose counts went down was tampered with, and is
        passed over."""
        total, seen = ArmCounts(), self.seen.setdefault(side, {})
        for run, counts in traffic.of(arm).items():
            added = counts.minus(seen[run]) if run in seen else counts
            if added.requests >= 0 and added.errors >= 0 and added.answered >= 0 and added.judged >= 0:
                total, seen[run] = total.plus(added), counts
        return total

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "schema": STATE_SCHEMA,
            "key": self.key,
            "share": self.share,
            "limits": self.limits,
            "bins": self.bins.to_dict() if self.bins is not None else None,
            "seen": {side: {run: each.to_dict() for run, each in runs.items()} for side, runs in self.seen.items()},
            "watch": self.watch.to_dict(),
            "word": self.word,
        }


def begin(subject: Subject, traffic: Traffic) -> Observation:
    """Begin to observe a subject. After a promotion, the old release's rates are those of its past."""
    observation = Observation(subject.key, Watch(subject.policy))
    if subject.rollout is not None:
        return observation
    history = traffic.of_version(subject.name, subject.old)
    observation.limits, observation.bins = _limits(subject, traffic, {}), _bins(subject, traffic)
    past = tallies(history, observation.limits, observation.bins)
    rates = {
        name: known_rate(tally, most=1.0 if name == PREDICTION_DRIFT else MOST_KNOWN)
        for name, tally in past.items()
        if np.max(tally.requests) >= LEAST_PAST
    }
    observation.watch = Watch(subject.policy, rates)
    if subject.was_live:
        observation.seen = {"new": dict(traffic.of(subject.new_arm))}
    return observation


def tallies(counts: ArmCounts, limits: Mapping[str, int], bins: Bins | None = None) -> dict[str, Tally]:
    """The counts of each indicator. One whose limit or bins are not set yet is left out."""
    found = {
        "errors": Tally(counts.requests, counts.errors),
        "schema_failures": Tally(counts.requests, counts.schema_failures),
        "refusals": Tally(counts.answered, counts.refusals),
        "negative_feedback": Tally(counts.judged, counts.negative),
    }
    for name, limit in limits.items():
        found[name] = above(getattr(counts, name), limit)
    if bins is not None:
        found[PREDICTION_DRIFT] = bins.tally(counts.predictions)
    return found


def load(store: ObjectStore, subject: Subject) -> Observation | None:
    """What an earlier guard knew of this subject; None: nothing, or it cannot be read."""
    try:
        data = json.loads(store.get(store.settings.coordination_bucket, _key(subject.name)))
        if data["key"] != subject.key:
            return None
        seen = {
            str(side): {str(run): ArmCounts.from_dict(each) for run, each in runs.items()}
            for side, runs in data["seen"].items()
        }
        watch = Watch.from_dict(subject.policy, data["watch"])
        limits = {str(name): int(bucket) for name, bucket in data["limits"].items() if name in ABOVE_LIMIT}
        bins = Bins.from_dict(data["bins"]) if data.get("bins") is not None else None
        return Observation(subject.key, watch, float(data["share"]), limits, bins, seen, dict(data["word"]))
    except NotFound:
        return None
    except (InvalidData, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        logger.error("what the guard knew cannot be read; it begins anew", extra={"error": repr(error)})
        return None


def keep(store: ObjectStore, name: str, observation: Observation) -> None:
    """Keep what the guard knows.

    Raises:
        Unavailable: the store does not answer.
    """
    data = json.dumps(observation.to_dict()).encode()
    store.put(store.settings.coordination_bucket, _key(name), data, "application/json")


def _limits(subject: Subject, traffic: Traffic, known: Mapping[str, int]) -> dict[str, int]:
    """The limits that the old release sets, of those that are not known yet, once it has answered often enough."""
    missing = [each for each in subject.policy.indicators if each.name in ABOVE_LIMIT and each.name not in known]
    history = traffic.of_version(subject.name, subject.old) if missing else ArmCounts()
    found = {}
    for indicator in missing:
        histogram = getattr(history, indicator.name)
        bucket = limit_bucket(histogram, indicator.quantile)
        if bucket is not None and sum(histogram.values()) >= LEAST_PAST:
            found[indicator.name] = bucket
    return found


def _bins(subject: Subject, traffic: Traffic) -> Bins | None:
    """The bins of predictions that the old release sets, once it has predicted often enough."""
    if all(each.name != PREDICTION_DRIFT for each in subject.policy.indicators):
        return None
    predictions = traffic.of_version(subject.name, subject.old).predictions
    return Bins.of(predictions) if sum(predictions.values()) >= LEAST_PAST else None


def _key(name: str) -> str:
    return f"{PREFIX}{name}.json"
