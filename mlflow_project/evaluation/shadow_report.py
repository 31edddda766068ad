"""Compares a shadow with production, pair by pair, as one MLflow run.

In: the events of a shadow, and the policy. Out: a run in the experiment `shadow-NAME` with the means of both sides,
their agreement, the paired verdict, and the worst pairs side by side. Nothing is asked: servers have scored the answers
when they were given.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mlflow_project.adapters.experiments import Experiments
from mlflow_project.adapters.object_store import ObjectStore
from mlflow_project.domain.shadow import Shadow
from mlflow_project.domain.verdict import Scores, Verdict
from mlflow_project.errors import NotFound
from mlflow_project.evaluation.mlflow_run import mean, origin_tags
from mlflow_project.evaluation.record import SHADOWS, experiment_name
from mlflow_project.feedback.live import Row
from mlflow_project.feedback.recorded import recorded
from mlflow_project.rules.canonical import digest_of
from mlflow_project.rules.gate.decide import decide
from mlflow_project.rules.gate.live import by_unit, live_policy, worst
from mlflow_project.rules.gate.policy import Policy
from mlflow_project.rules.masking import Masker
from mlflow_project.rules.scorers import FAILED
from mlflow_project.rules.scorers.agreement import AGREEMENT

WORST = 20


@dataclass(frozen=True)
class ShadowReport:
    """What a shadow has shown so far. `means` has `shadow` and `production` by metric; `address` is the run's page."""

    run: str
    address: str
    pairs: int
    failed: int
    agreement: float | None
    cost_usd: float
    means: Mapping[str, Mapping[str, float]]
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "run": self.run,
            "page": self.address,
            "pairs": self.pairs,
            "failed": self.failed,
            AGREEMENT: self.agreement,
            "cost_usd": self.cost_usd,
            "metrics": self.means,
            "verdict": self.verdict.to_dict(),
        }


def shadow_pairs(store: ObjectStore, name: str, shadow: Shadow) -> list[Row]:
    """The recorded pairs of a shadow, oldest first."""
    since = datetime.fromisoformat(shadow.since) - timedelta(minutes=5)  # the clocks of hosts differ
    rows = [row for row in recorded(store, "shadow", name, since) if row.get("shadow") == shadow.id]
    return sorted(rows, key=lambda row: (row["at"], row["event_id"]))


def report(
    experiments: Experiments,
    store: ObjectStore,
    name: str,
    shadow: Shadow,
    policy: Policy | None,
    masker: Masker,
    user: str,
) -> ShadowReport:
    """Compare all pairs so far, and keep one MLflow run.

    Raises:
        NotFound: no pair was recorded yet.
    """
    rows = shadow_pairs(store, name, shadow)
    if not rows:
        raise NotFound(
            f"No answer of the shadow {name}/{shadow.version} was recorded since {shadow.since}. Events arrive some "
            "seconds after the answers; `switchyard shadow status` shows how many workers have loaded it."
        )
    ours, theirs = _scores(rows, f"{name}/{shadow.version}", "shadow_"), _scores(rows, "production", "")
    rules, units = live_policy(policy), [row.get("session") or row["event_id"] for row in rows]
    verdict = decide(by_unit(ours, units), by_unit(theirs, units), rules)
    means = {side: _means(scores) for side, scores in (("shadow", ours), ("production", theirs))}
    agreed = [row.get(AGREEMENT) for row in rows]
    failed = Counter(row["error_type"] for row in rows if row["error_type"])
    cost = sum(row["cost_usd"] or 0.0 for row in rows)
    tags = {"switchyard.shadow": str(shadow.id), "switchyard.version": str(shadow.version), **origin_tags(user)}
    tags |= {"switchyard.digest": shadow.digest, "switchyard.verdict": verdict.outcome}
    run = experiments.start(experiments.experiment(experiment_name(name, SHADOWS)), f"{name}/{shadow.version}", tags)
    metrics = {f"{side}.{metric}": value for side, of_side in means.items() for metric, value in of_side.items()}
    metrics |= {"pairs": len(rows), "shadow.total_cost_usd": cost}
    agreement = mean(agreed)
    metrics |= {AGREEMENT: agreement} if agreement is not None else {}
    seen = sorted({row["release"] for row in rows})
    parameters = {**shadow.limits.to_dict(), "since": shadow.since, "production": ", ".join(seen)}
    experiments.log(run, parameters={**parameters, "failures": dict(failed)}, metrics=metrics)
    experiments.write(run, "verdict.json", json.dumps(verdict.to_dict(), indent=2, ensure_ascii=False).encode())
    experiments.write(run, "worst_pairs.json", _table(rows, worst(ours, theirs, rules, agreed, WORST), masker))
    shown = json.dumps([{"path": "worst_pairs.json", "type": "table"}])
    experiments.log(run, tags={"mlflow.loggedArtifacts": shown})
    experiments.finish(run)
    page = experiments.address(run)
    return ShadowReport(run.id, page, len(rows), failed.total(), agreement, cost, means, verdict)


def _scores(rows: Sequence[Row], label: str, side: str) -> Scores:
    """The scores of one side. A request that the shadow failed to answer is unscored, and counts in `failed`."""
    names = sorted({name for row in rows for name in (*row["scores"], *row["shadow_scores"])})
    metrics = {name: tuple(row[f"{side}scores"].get(name) for row in rows) for name in names}
    metrics[FAILED] = tuple(float(bool(side and row["error_type"])) for row in rows)
    ids = tuple(row["event_id"] for row in rows)
    return Scores(label, rows[0][f"{side}digest"], digest_of(list(ids)), ids, metrics)


def _means(scores: Scores) -> dict[str, float]:
    found = {name: mean(values) for name, values in scores.metrics.items()}
    return {name: value for name, value in found.items() if value is not None}


def _table(rows: Sequence[Row], ranked: Sequence[tuple[int, str, float]], masker: Masker) -> bytes:
    columns = ["at", "question", "shadow", "production", "metric", "difference", AGREEMENT, "error", "route"]
    data = []
    for number, metric, difference in ranked:
        row = rows[number]
        texts = [masker.mask(row[key] or "").text for key in ("question", "shadow_answer", "answer")]
        data.append([row["at"], *texts, metric, difference, row.get(AGREEMENT), row["error_type"], row["route"]])
    return json.dumps({"columns": columns, "data": data}, ensure_ascii=False).encode()
