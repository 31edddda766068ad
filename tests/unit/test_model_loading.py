"""A model is loaded from checked files; loading runs no code unless the seal says so."""

import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer

from mlflow_project.domain.model import Column, Format, Loading, ModelDescription, Signature
from mlflow_project.domain.release import Manifest, ModelFile
from mlflow_project.errors import InvalidData, Refused, SealBroken
from mlflow_project.models.loading import load_model
from mlflow_project.models.rows import InputReader, Rows
from mlflow_project.rules.canonical import digest
from mlflow_project.training.candidates import estimator

SIGNATURE = Signature((Column("a", "double"), Column("b", "double")))
RANDOM = np.random.default_rng(7)
X = RANDOM.random((200, 2))
Y = (X[:, 0] > 0.5).astype(int)
SAFE = Loading()


def rows(count: int = 20) -> Rows:
    return InputReader(SIGNATURE, 1000).table(["a", "b"], X[:count].tolist())


def written(folder: Path, data: bytes, form: Format, flavor: str = "sklearn", **more: Any) -> Manifest:
    """A model folder with one data file, and its manifest."""
    (folder / "model.bin").write_bytes(data)
    (folder / "MLmodel").write_bytes(b"flavors: {}")
    files = tuple(
        ModelFile(name, digest((folder / name).read_bytes()), (folder / name).stat().st_size)
        for name in ("MLmodel", "model.bin")
    )
    description = ModelDescription(flavor, form, "model.bin", "predict", SIGNATURE, task="classifier", **more)
    return Manifest("model", "fraud", source="models:/m-1", files=files, model=description)


def logistic() -> LogisticRegression:
    import pandas

    return LogisticRegression().fit(pandas.DataFrame(X, columns=["a", "b"]), Y)


def test_skops_and_lightgbms_text_answer_as_the_model_that_was_saved(tmp_path: Path) -> None:
    fitted = logistic()
    loaded = load_model(tmp_path, written(tmp_path, skops.io.dumps(fitted), "skops"), SAFE)
    assert np.array_equal(loaded.predict(rows()), fitted.predict(rows().frame()))
    probabilities = loaded.probabilities(rows())
    assert probabilities is not None
    assert np.array_equal(probabilities, fitted.predict_proba(rows().frame()))
    booster = lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(X, Y), 5)
    text = booster.model_to_string().encode()
    loaded = load_model(tmp_path, written(tmp_path, text, "lightgbm-text", "lightgbm"), SAFE)
    assert np.array_equal(loaded.predict(rows()), booster.predict(X[:20]))
    assert list(loaded.labels(rows())) == list((booster.predict(X[:20]) >= 0.5).astype(int))


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("form", ["pickle", "cloudpickle"])
def test_pickle_is_refused_before_it_is_read_unless_the_seal_says_so(tmp_path: Path, form: Format) -> None:
    mark = tmp_path / "code-ran"
    manifest = written(tmp_path, pickle.dumps(Evil(mark)), form)
    with pytest.raises(Refused, match="runs code of its author"):
        load_model(tmp_path, manifest, SAFE)
    assert not mark.exists()
    fitted = logistic()
    manifest = written(tmp_path, pickle.dumps(fitted), form)
    loaded = load_model(tmp_path, manifest, Loading(formats=(form,)))
    assert np.array_equal(loaded.predict(rows()), fitted.predict(rows().frame()))


def test_a_class_that_nobody_trusts_is_refused(tmp_path: Path) -> None:
    hostile = FunctionTransformer(func=os.system)
    manifest = written(tmp_path, skops.io.dumps(hostile), "skops")
    with pytest.raises(InvalidData, match="cannot be loaded: Untrusted types"):
        load_model(tmp_path, manifest, SAFE)
    assert manifest.model is not None
    listed = replace(manifest, model=replace(manifest.model, trusted_types=("posix.system",)))
    with pytest.raises(Refused, match=r"contains the classes posix.system, which its policy does not trust"):
        load_model(tmp_path, listed, SAFE)


def test_a_changed_or_missing_file_is_never_loaded(tmp_path: Path) -> None:
    manifest = written(tmp_path, skops.io.dumps(logistic()), "skops")
    data = bytearray((tmp_path / "model.bin").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "model.bin").write_bytes(data)
    with pytest.raises(SealBroken, match=r"model.bin of fraud was changed"):
        load_model(tmp_path, manifest, SAFE)
    (tmp_path / "model.bin").unlink()
    with pytest.raises(SealBroken, match=r"model.bin of fraud is missing"):
        load_model(tmp_path, manifest, SAFE)


def test_a_model_that_is_too_large_packed_or_unpacked_is_refused(tmp_path: Path) -> None:
    manifest = written(tmp_path, skops.io.dumps(logistic()), "skops")
    with pytest.raises(InvalidData, match="is too large"):
        load_model(tmp_path, manifest, SAFE, most_bytes=100)
    with zipfile.ZipFile(tmp_path / "bomb", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("schema.json", bytes(50_000_000))
    manifest = written(tmp_path, (tmp_path / "bomb").read_bytes(), "skops")
    with pytest.raises(InvalidData, match=r"50.0 MB, and at most 10 MB"):
        load_model(tmp_path, manifest, SAFE, most_bytes=10_000_000)


@pytest.mark.parametrize(("form", "flavor"), [("skops", "sklearn"), ("lightgbm-text", "lightgbm")])
def test_data_that_is_no_model_is_one_sentence(tmp_path: Path, form: Format, flavor: str) -> None:
    with pytest.raises(InvalidData, match="The data of fraud cannot be loaded"):
        load_model(tmp_path, written(tmp_path, b"no model", form, flavor), SAFE)


def test_rows_that_the_model_refuses_are_one_sentence(tmp_path: Path) -> None:
    loaded = load_model(tmp_path, written(tmp_path, skops.io.dumps(logistic()), "skops"), SAFE)
    with pytest.raises(InvalidData, match="refuses these rows: Input X contains NaN"):
        loaded.predict(InputReader(SIGNATURE, 9).table(["a", "b"], [[None, 1.0]]))


@pytest.mark.parametrize("kind", ["linear", "support_vectors", "lightgbm"])
def test_what_training_makes_is_loaded_without_a_word_in_the_policy(tmp_path: Path, kind: Any) -> None:
    fitted = estimator(kind, "classifier", {}, 1, 1).fit(rows(200).frame(), Y)
    data = skops.io.dumps(fitted)
    manifest = written(tmp_path, data, "skops", trusted_types=tuple(skops.io.get_untrusted_types(data=data)))
    loaded = load_model(tmp_path, manifest, SAFE)
    assert np.array_equal(loaded.predict(rows()), fitted.predict(rows().frame()))


def test_trees_of_scikit_learn_need_a_word_in_the_policy(tmp_path: Path) -> None:
    data = skops.io.dumps(estimator("random_forest", "classifier", {"n_estimators": 5}, 1, 1).fit(rows(200).frame(), Y))
    trusted = tuple(skops.io.get_untrusted_types(data=data))
    manifest = written(tmp_path, data, "skops", trusted_types=trusted)
    with pytest.raises(Refused, match=r"contains the classes sklearn.tree._tree.Tree"):
        load_model(tmp_path, manifest, SAFE)
    load_model(tmp_path, manifest, Loading(trusted_types=("sklearn.tree._tree.Tree",)))
