"""`switchyard evaluate --explain`: how much each feature moves a model's predictions, in the run of its scores."""

from __future__ import annotations

import json

import pytest

from mlflow_project.domain.model import Loading
from mlflow_project.evaluation.asking import Plan
from mlflow_project.evaluation.explanation import EXPLANATION_FILE, PICTURE_FILE
from tests.models.conftest import Models, _silent


def test_the_features_that_decide_come_first_and_no_row_is_logged(models: Models) -> None:
    version = models.register()
    place, done = models.evaluate(version)
    held_out = place.held_out(done[0].release)
    bench = place.bench(Plan(), held_out.source, (), _silent)
    found = place.explained(done[0], held_out, bench, Loading())
    assert list(found.mean_absolute)[-1] == "hour"
    assert found.mean_absolute["amount"] > 5 * found.mean_absolute["hour"]
    run = place.experiments.get(done[0].scores.run or "")
    logged = json.loads(place.experiments.read(run, EXPLANATION_FILE))
    assert logged["mean_absolute"] == pytest.approx(dict(found.mean_absolute))
    assert set(logged) == {"of", "rows", "orders", "mean_absolute"}
    assert place.experiments.read(run, PICTURE_FILE).startswith(b"\x89PNG")
