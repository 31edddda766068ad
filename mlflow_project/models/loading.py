"""Loads a model from its sealed files: `load_model(folder, manifest, loading) -> Model`.

Each file is checked against the manifest, and the model is made from the bytes that were checked. No code is run that
is not installed here: skops builds objects of trusted classes only, LightGBM reads its own text, and an ONNX graph
names operators of onnxruntime. Pickle and cloudpickle run code of the file's author; they are loaded only where
`loading`, which the seal holds, says so.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mlflow_project.adapters.model_folder import check_folder, read_checked
from mlflow_project.domain.model import Loading, ModelDescription
from mlflow_project.domain.release import Manifest
from mlflow_project.errors import InvalidData
from mlflow_project.models.onnx_graph import OnnxGraph
from mlflow_project.models.rows import Rows, check_supported

_NO_WEIGHTS = frozenset(
    {
        "MLmodel",
        "conda.yaml",
        "python_env.yaml",
        "requirements.txt",
        "input_example.json",
        "serving_input_example.json",
        "registered_model_meta",
    }
)
"""Files that MLflow writes beside a model's data."""
MOST_BYTES = 1024**3
"""A model's data may not be larger than this, packed or unpacked."""


class Model:
    """A loaded model. Its methods may be called from several threads."""

    def __init__(self, description: ModelDescription, estimator: Any) -> None:
        self.description = description
        self._estimator = estimator

    def predict(self, rows: Rows, parameters: dict[str, Any] | None = None) -> Any:
        """What MLflow's `pyfunc` answers for these rows: one prediction for each row.

        Raises:
            InvalidData: the model refuses the rows.
        """
        method = getattr(self._estimator, self.description.predict_fn)
        return self._answered(lambda: method(rows.frame(), **(parameters or {})), rows)

    def labels(self, rows: Rows) -> Any:
        """The predicted class of each row, or the predicted value of a regressor. Raises as `predict`."""
        method = getattr(self._estimator, "labels", self._estimator.predict)
        answered = self._answered(lambda: method(rows.frame()), rows)
        if self.description.flavor == "lightgbm" and self.description.task == "classifier" and self._is_booster:
            return answered.argmax(axis=1) if answered.ndim == 2 else (answered >= 0.5).astype(int)
        return answered

    def probabilities(self, rows: Rows) -> Any | None:
        """The probability of each class in each row; None for a model that gives none. Raises as `predict`."""
        if self._is_booster and self.description.task == "classifier":
            found = self._answered(lambda: self._estimator.predict(rows.frame()), rows)
            return found if found.ndim == 2 else np.column_stack([1 - found, found])
        if isinstance(self._estimator, OnnxGraph):
            return self._answered(lambda: self._estimator.probabilities(rows.frame()), rows)
        if not hasattr(self._estimator, "predict_proba"):
            return None
        return self._answered(lambda: self._estimator.predict_proba(rows.frame()), rows)

    @property
    def classes(self) -> list[Any] | None:
        """The classes in the order of `probabilities`; None where the file does not name them: then 0, 1, …"""
        found = getattr(self._estimator, "classes_", None)
        return None if found is None else list(found)

    @property
    def _is_booster(self) -> bool:
        return self.description.format == "lightgbm-text"

    def _answered(self, ask: Any, rows: Rows) -> Any:
        try:
            answer = ask()
        except MemoryError:
            raise
        except Exception as error:  # libraries raise errors of every class for rows that they cannot take
            raise InvalidData(f"The model refuses these rows: {_short(error)}") from error
        if answer is not None and len(answer) != rows.count:
            raise InvalidData(f"The model gives {len(answer)} predictions for {rows.count} rows.")
        return answer


def load_model(folder: Path, manifest: Manifest, loading: Loading, most_bytes: int = MOST_BYTES) -> Model:
    """The model of a release.

    Args:
        loading: what its seal, or the policy before there is a seal, allows beyond the safe formats.
        most_bytes: a larger model is refused before its data is read.

    Raises:
        SealBroken: a file is not the one that the manifest names.
        Refused: loading it needs more than is allowed.
        InvalidData: the model is too large, or its data cannot be read.
    """
    description = manifest.model
    if description is None:
        raise InvalidData(f"The manifest of {manifest.name} does not describe its model: register it as a new version.")
    loading.check(description, manifest.name)
    check_supported(description.signature, manifest.name)
    size = sum(file.bytes for file in manifest.files or ())
    if size > most_bytes:
        raise _too_large(manifest.name, size, most_bytes)
    check_folder(folder, manifest)
    data = read_checked(folder, manifest, description.file)
    try:
        if description.format == "onnx":
            return Model(description, OnnxGraph(data, _weights(folder, manifest, description.file)))
        return Model(description, _estimator(data, description, manifest.name, most_bytes))
    except InvalidData:
        raise
    except Exception as error:  # libraries raise errors of every class for damaged data
        raise InvalidData(f"The data of {manifest.name} cannot be loaded: {_short(error)}") from error


def _estimator(data: bytes, description: ModelDescription, name: str, most_bytes: int) -> Any:
    if description.format == "skops":
        import skops.io

        unpacked = sum(item.file_size for item in zipfile.ZipFile(io.BytesIO(data)).infolist())
        if unpacked > most_bytes:
            raise _too_large(name, unpacked, most_bytes)
        return skops.io.loads(data, trusted=list(description.trusted_types))
    if description.format == "lightgbm-text":
        import lightgbm

        return lightgbm.Booster(model_str=data.decode())
    return pickle.loads(data)  # `loading.check` has allowed it


def _weights(folder: Path, manifest: Manifest, graph: str) -> dict[str, bytes]:
    """The files beside an ONNX graph that may hold its weights, by name."""
    beside = PurePosixPath(graph).parent
    paths = [PurePosixPath(file.path) for file in manifest.files or ()]
    return {
        path.name: read_checked(folder, manifest, str(path))
        for path in paths
        if path.parent == beside and path.name not in _NO_WEIGHTS and str(path) != graph
    }


def _too_large(name: str, size: int, most: int) -> InvalidData:
    return InvalidData(f"{name} is too large: {size / 1e6:,.1f} MB, and at most {most / 1e6:,.0f} MB are loaded.")


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:300] if text.endswith((".", "…")) else f"{text[:300]}."
