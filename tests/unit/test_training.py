"""Training without any server: the same numbers twice, the split, and what is said of declarations that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import skops.io
from deltalake import write_deltalake

from mlflow_project.errors import InvalidData
from mlflow_project.training.candidates import estimator
from mlflow_project.training.data import read_rows, rows_digest, write_rows
from mlflow_project.training.feature_file import FeatureFile
from mlflow_project.training.files import declaration_from, read_declaration
from mlflow_project.training.model_file import ModelFile
from mlflow_project.training.rows import split
from mlflow_project.training.training import Trained, train

ROOT = Path(__file__).parents[2]
KINDS = ("linear", "random_forest", "gradient_boosting", "support_vectors", "lightgbm")
SMALL = {"random_forest": {"n_estimators": 8}, "gradient_boosting": {"max_iter": 8}, "lightgbm": {"n_estimators": 8}}


def declared(task: str = "classifier", **changes: Any) -> ModelFile:
    """All kinds of estimators on columns a, b and c."""
    metric = "f1_macro" if task == "classifier" else "rmse"
    candidates = {kind: {"kind": kind, **SMALL.get(kind, {})} for kind in KINDS}
    data = {"task": task, "label": "y", "features": ["a", "b", "c"], "metric": metric, "candidates": candidates}
    return declaration_from({**data, "folds": 3, "seed": 11, "threads": 1, **changes}, ModelFile, "model.yaml")


def table(count: int = 240) -> pa.Table:
    """Rows with nulls in a column, a number and a class that depend on the others."""
    chance = np.random.default_rng(5)
    rows = chance.normal(size=(count, 3))
    value = rows[:, 0] * 2 - rows[:, 1] + chance.normal(size=count) / 4
    sparse = pa.array([None if number % 7 == 0 else float(x) for number, x in enumerate(rows[:, 2])])
    times = pa.array(range(count), pa.timestamp("us", "UTC"))
    columns = {
        "id": [f"r{n:04}" for n in range(count)],
        "event_time": times,
        "a": rows[:, 0],
        "b": rows[:, 1],
        "c": sparse,
    }
    return pa.table({**columns, "y": value > 0, "number": value, "word": np.where(value > 0, "yes", "no")})


def trained(declaration: ModelFile, folder: Path) -> Trained:
    parts = split(declaration, write_rows(str(folder / "rows"), table(), {}))
    one, other = parts.training, parts.test
    return train(declaration, one.rows, one.labels, other.rows, other.labels)


@pytest.mark.parametrize("task", ["classifier", "regressor"])
def test_the_same_rows_and_seed_give_the_same_numbers_to_the_last_digit(tmp_path: Path, task: str) -> None:
    declaration = declared(task, label="y" if task == "classifier" else "number")
    first, again = trained(declaration, tmp_path / "1"), trained(declaration, tmp_path / "2")
    assert [one.name for one in first.tried] == list(KINDS)
    assert first.tried == again.tried
    assert first.metrics == again.metrics
    assert first.predictions.tobytes() == again.predictions.tobytes()


def test_a_search_tries_the_same_parameters_again(tmp_path: Path) -> None:
    declaration = declared(candidates={"linear": {"kind": "linear"}}, search={"trials": 3})
    first, again = trained(declaration, tmp_path / "1"), trained(declaration, tmp_path / "2")
    assert [one.name for one in first.tried] == ["linear", "linear-0", "linear-1", "linear-2"]
    assert first.tried == again.tried


def test_the_best_by_cross_validation_is_chosen_and_it_learnt_something(tmp_path: Path) -> None:
    few = {kind: {"kind": kind, **SMALL.get(kind, {})} for kind in ("linear", "lightgbm")}
    made = trained(declared(candidates=few), tmp_path)
    assert made.best.mean == max(one.mean for one in made.tried)
    assert made.metrics["accuracy"] > 0.85
    assert {"roc_auc", "average_precision", "brier", "log_loss"} <= set(made.metrics)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", ["classifier", "regressor"])
def test_every_kind_survives_skops_to_the_last_bit(tmp_path: Path, kind: str, task: str) -> None:
    rows = table().select(["a", "b", "c"]).to_pandas()
    labels = np.asarray(table()["word" if task == "classifier" else "number"].to_pylist())
    model = estimator(kind, task, SMALL.get(kind, {}), 3, 2).fit(rows, labels)
    packed = skops.io.dumps(model)
    again = skops.io.loads(packed, trusted=skops.io.get_untrusted_types(data=packed))
    assert np.asarray(again.predict(rows)).tolist() == np.asarray(model.predict(rows)).tolist()


def test_the_newest_rows_are_held_out_and_equal_times_are_not_torn_apart(tmp_path: Path) -> None:
    rows = table()
    times = pa.array([min(number, 190) for number in range(240)], pa.timestamp("us", "UTC"))
    rows = rows.set_column(1, "event_time", times)
    parts = split(declared(test={"share": 0.1, "by": "time"}), write_rows(str(tmp_path / "rows"), rows, {}))
    assert (len(parts.training.labels), len(parts.test.labels)) == (190, 50)
    assert parts.training.rows["a"].tolist() == rows["a"].to_pylist()[:190]


def test_a_random_split_keeps_the_share_of_every_class_and_is_a_table_of_its_own(tmp_path: Path) -> None:
    data = write_rows(str(tmp_path / "rows"), table(), {})
    parts, again = split(declared(), data), split(declared(), data)
    assert parts.test.labels.mean() == pytest.approx(np.asarray(table()["y"]).mean(), abs=0.02)
    assert (str(parts.test_set), parts.test_set.version) == (f"{data.table}_test@0", again.test_set.version)
    assert read_rows(str(parts.test_set)).data.column_names == ["a", "b", "c", "y"]
    moved = split(declared(seed=12), data)
    assert moved.test_set.version == 1


def test_equal_rows_are_written_once_and_their_digest_does_not_depend_on_chunks(tmp_path: Path) -> None:
    rows = table()
    torn = pa.concat_tables([rows.slice(0, 100), rows.slice(100)])
    first, again = (write_rows(str(tmp_path / "rows"), one, {"from": "here"}) for one in (rows, torn))
    assert (first.version, first.digest) == (again.version, again.digest) == (0, rows_digest(torn))
    assert read_rows(f"{tmp_path}/rows@0").recipe == {"from": "here"}
    assert read_rows(f"{tmp_path}/rows@0").digest == first.digest, "read from Delta, where all columns may hold nulls"
    strict = pa.schema([one.with_nullable(one.name == "c") for one in rows.schema])
    assert rows_digest(rows.cast(strict)) == first.digest
    zeros = rows.set_column(rows.column_names.index("c"), "c", rows["c"].fill_null(0.0))
    assert rows_digest(zeros) != first.digest
    other = write_rows(str(tmp_path / "rows"), rows.slice(1), {"from": "here"})
    assert other.version == 1
    assert read_rows(f"{tmp_path}/rows@0").digest == first.digest


def test_rows_are_sorted_before_they_are_written_hashed_or_returned(tmp_path: Path) -> None:
    """Delta promises no order: a table of several files may come back in another one."""
    chance = np.random.default_rng(3)
    rows = table()
    shuffled = rows.take(pa.array(chance.permutation(len(rows))))
    first = write_rows(str(tmp_path / "rows"), rows, {})
    again = write_rows(str(tmp_path / "rows"), shuffled, {})
    assert (again.version, again.digest) == (first.version, first.digest) == (0, read_rows(f"{tmp_path}/rows").digest)
    write_deltalake(str(tmp_path / "torn"), shuffled.slice(0, 40))
    write_deltalake(str(tmp_path / "torn"), shuffled.slice(40), mode="append")
    torn = read_rows(str(tmp_path / "torn"))
    assert torn.digest == first.digest
    assert torn.data.to_pylist() == read_rows(f"{tmp_path}/rows").data.to_pylist()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metric": "rmse"}, "metric 'rmse' is none of a classifier"),
        ({"features": ["a", "d"]}, "no column 'd'"),
        ({"features": ["*"]}, "The label 'y' is among the features"),
        ({"features": ["a", "word"]}, "Column word of"),
        ({"label": "nothing"}, "no column 'nothing', the label"),
        ({"label": "c", "features": ["a"]}, "rows of .* have no c"),
        ({"folds": 50, "test": {"share": 0.97}}, "folds need"),
        ({"candidates": {"x": {"kind": "linear", "depth": 3}}}, "no parameter depth"),
        ({"candidates": {"x": {"kind": "perceptron"}}}, "candidates.x.kind"),
        ({"candidates": {"x": {"kind": "linear", "C": -1}}}, "Candidate x cannot be trained"),
        ({"test": {"share": 1.5}}, "share must lie between 0 and 1"),
        ({"test": {"share": 0.001}}, "both need some"),
        ({"output": "probability"}, "support vectors give no probabilities"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidData, match=said):
        trained(declared(**changes), tmp_path)


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("features", {"f": {"aggregate": "sum", "over": "1h"}}, "needs `of`"),
        ("features", {"f": {"aggregate": "sum", "of": "channel", "over": "1h"}}, "sum needs numbers"),
        ("features", {"f": {"aggregate": "count", "over": "1 hour"}}, "write a duration as 30m"),
        ("features", {"f": {"aggregate": "last", "of": "channel", "over": "1h"}}, "needs `encode`"),
        ("inputs", {"answer": {"of": "is_fraud"}}, "the label itself"),
        ("inputs", {"x": {"of": "channel"}}, "give encode or vectors"),
        ("inputs", {"payments_1h": {"of": "amount"}}, "taken twice: payments_1h"),
        ("label", "fraud", "not a column of labels"),
        ("age", "id", "taken twice: id"),
        ("expectations", {"max_rejected": 2}, "expectations.max_rejected"),
        ("columns", {}, "columns"),
    ],
)
def test_mistakes_in_a_declaration_of_features_are_named(where: str, value: Any, said: str) -> None:
    good = read_declaration(ROOT / "models" / "fraud" / "features.yaml", FeatureFile).model_dump(mode="json")
    assert declaration_from(good, FeatureFile, "features.yaml").digest
    with pytest.raises(InvalidData, match=said):
        declaration_from({**good, where: value}, FeatureFile, "features.yaml")


@pytest.mark.parametrize("name", ["fraud", "intent"])
def test_the_models_that_ship_learn_from_columns_that_their_features_have(name: str) -> None:
    folder = ROOT / "models" / name
    features = read_declaration(folder / "features.yaml", FeatureFile)
    model = read_declaration(folder / "model.yaml", ModelFile)
    assert model.columns(features.columns()) == features.columns()
    assert (model.label, model.data) == (features.label, f"{features.table}_training")
