"""Models in a real MLflow: small ones, trained here, with a test set in a real Delta table."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import mlflow
import numpy as np
import pandas
import pyarrow
import pytest
from deltalake import write_deltalake
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

from mlflow_project.adapters.delta_tables import storage_options
from mlflow_project.domain.record import LedgerRecord
from mlflow_project.domain.release import Release
from mlflow_project.evaluation.asking import Plan
from mlflow_project.evaluation.compare import Judged, judge
from mlflow_project.evaluation.workplace import Evaluated, Workplace, workplace
from mlflow_project.parts import Parts
from mlflow_project.promotion.promote import promote
from mlflow_project.promotion.seal_release import record_verdict
from mlflow_project.rules.gate.policy import Policy, policy_from
from tests.conftest import RunningStack

FEATURES = ("amount", "hour", "velocity")
POLICY: dict[str, Any] = {
    "min_cases": 100,
    "metrics": {
        "f1": {"direction": "higher", "floor": 0.3, "rule": "non_inferior", "margin": 0.1},
        "pr_auc": {"direction": "higher", "rule": "report"},
        "correct": {"direction": "higher", "floor": 0.6, "rule": "non_inferior", "margin": 0.05},
        "calibration_error": {"direction": "lower", "rule": "report"},
    },
    "caps": {"failed": {"mean": 0.0}, "size_mb": {"max": 5}, "latency_ms": {"p95": 1000}},
    "guards": [{"tag": "country=DE", "metric": "correct", "drop": 0.1}],
}


def transactions(count: int, seed: int) -> pandas.DataFrame:
    """Transactions, a third of them fraud that the amount and the velocity show."""
    random = np.random.default_rng(seed)
    frame = pandas.DataFrame({name: random.normal(0, 1, count) for name in FEATURES})
    frame["country"] = random.choice(["DE", "FR"], count)
    frame["is_fraud"] = (frame["amount"] + frame["velocity"] + random.normal(0, 0.5, count) > 0.6).astype("int64")
    return frame


@dataclass
class Models:
    """One registered model with versions, its test set, and what gate and promoter do with it."""

    name: str
    table: str
    parts: Parts
    frames: dict[int, pandas.DataFrame] = field(default_factory=dict)

    def register(self, columns: Sequence[str] = FEATURES, *, seed: int = 1, **options: Any) -> int:
        """Train on these columns, log and register. `options` go to `mlflow.sklearn.log_model`."""
        frame = transactions(400, seed)
        model = options.pop("model", None) or LogisticRegression().fit(frame[list(columns)], frame["is_fraud"])
        signature = options.pop("signature", None) or infer_signature(frame[list(columns)], frame["is_fraud"])
        with contextlib.redirect_stdout(io.StringIO()), mlflow.start_run():
            logged = mlflow.sklearn.log_model(
                model,
                name="model",
                registered_model_name=self.name,
                signature=signature,
                input_example=frame[list(columns)].head(5),
                pip_requirements=["scikit-learn"],
                **options,
            )
        version = int(logged.registered_model_version)
        tags = {"label": "is_fraud", "task": "classifier", "test_table": self.table, "test_version": "0"}
        for key, value in tags.items():
            self.parts.registry.set_version_tag(self.name, version, f"switchyard.{key}", value)
        return version

    def release(self, version: int) -> Release:
        return workplace(self.parts).release(self.name, version)

    def evaluate(self, version: int, policy: Policy | None = None) -> tuple[Workplace, list[Evaluated]]:
        """What `switchyard evaluate` does."""
        place = workplace(self.parts)
        candidate = place.release(self.name, version)
        held_out, champion = place.held_out(candidate), place.champion_of(candidate)
        bench = place.bench(Plan(), held_out.source, (), _silent)
        done = [place.evaluated_model(candidate, held_out, bench, (policy or policy_from(POLICY)).loading)]
        done += [place.evaluated_model(champion, held_out, bench, None)] if champion else []
        return place, done

    def judged(self, version: int, policy: Policy | None = None) -> Judged:
        """The verdict of the gate, after an evaluation."""
        place, done = self.evaluate(version, policy)
        candidate = done[0].release
        champion = place.champion_of(candidate)
        return judge(candidate, champion, policy or policy_from(POLICY), place.experiments, place.store)

    def seal(self, version: int, policy: Policy | None = None) -> LedgerRecord:
        """What `switchyard gate` does with an accepted version; the evaluation is made up, to save its time."""
        from mlflow_project.domain.verdict import Verdict

        place, rules = workplace(self.parts), policy or policy_from(POLICY)
        candidate = place.release(self.name, version)
        return record_verdict(
            self.parts,
            release=candidate,
            verdict=Verdict("accepted", ("it was good",)),
            policy_digest=rules.digest,
            champion=place.champion_of(candidate),
            runs={"candidate": None, "champion": None},
            cases={"digest": "sha256:" + "0" * 64, "count": 1},
            who="user:test",
            loading=rules.loading,
        )

    def promote(self, version: int) -> None:
        promote(self.parts, self.name, version, "Production", "user:test", "")


@contextlib.contextmanager
def _silent(_: str) -> Any:
    yield lambda *_: None


@pytest.fixture(scope="session")
def mlflow_client(registry_server: RunningStack) -> None:
    """MLflow's own client, on the session's server."""
    mlflow.set_tracking_uri(Parts.connect().registry.uri)
    mlflow.set_experiment("train-tests")


@pytest.fixture(scope="session")
def test_table(minio: RunningStack) -> str:
    """A held-out test set as a Delta table, at version 0."""
    address = f"curated-data-bucket/tests/fraud_{uuid4().hex[:8]}"
    table = pyarrow.Table.from_pandas(transactions(600, 99), preserve_index=False)
    write_deltalake(f"s3://{address}", table, storage_options=storage_options())
    return f"s3a://{address}"


@pytest.fixture
def models(mlflow_client: None, test_table: str) -> Iterator[Models]:
    """A model name that nobody else has. It is deleted at the end, so that hosts of other tests load no model."""
    made = Models(f"fraud-{uuid4().hex[:8]}", test_table, Parts.connect())
    yield made
    if made.parts.registry.entry(made.name) is not None:
        mlflow.MlflowClient().delete_registered_model(made.name)
