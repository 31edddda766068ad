"""A model's version leads back to the training run that produced it, and to the feature tables at their versions."""

from __future__ import annotations

import json

import httpx

from mlflow_project.adapters.experiments import Experiments
from mlflow_project.lineage.facts import Facts
from mlflow_project.lineage.graph import Node
from mlflow_project.settings import RegistrySettings, load
from tests.releases.conftest import Yard


def test_a_model_leads_to_its_training_and_a_feature_table_to_its_models(yard: Yard) -> None:
    """One run that says what it made, then one whose file was edited: the walk names it."""
    settings = load(RegistrySettings)
    name, data, tested = f"model-{yard.name}", f"s3a://curated-data-bucket/{yard.name}@3", "s3a://bucket/tests@1"
    with httpx.Client(base_url=f"{settings.mlflow_uri}/api/2.0/mlflow/", timeout=20) as mlflow:
        mlflow.post("registered-models/create", json={"name": name}).raise_for_status()
    experiments = Experiments(settings)
    run = experiments.start(experiments.experiment(f"train-{name}"), name, {"switchyard.kind": "training"})
    made = {"name": name, "version": 1, "data": data, "test_set": tested}
    experiments.write(run, "registered.json", json.dumps(made).encode())
    experiments.finish(run)

    release, training = Node("release", f"{name}/1"), Node("run", run.id)
    up = Facts(yard.parts).walk([release], "up")
    assert set(up.nodes) == {release, training, Node("table", data), Node("table", tested)}
    assert {edge.how for edge in up.edges} == {"produced", "is the training data of", "is the test data of"}
    down = Facts(yard.parts).walk([Node("table", data)], "down")
    assert down.nodes == (Node("table", data), training, release)

    experiments.write(run, "registered.json", b"{}")
    facts = Facts(yard.parts)
    facts.edges(Node("release", "another/1"), "up")
    assert facts.gaps == [], "it concerns no other walk"
    assert facts.edges(release, "up") == []
    assert any(f"training run {run.id} does not say what it made" in gap for gap in facts.gaps)
