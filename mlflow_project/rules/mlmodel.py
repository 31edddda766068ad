"""Reads the file `MLmodel` of a logged model: `describe(data, tags) -> ModelDescription`. Pure.

Only flavours that can be loaded from their data file alone are described: scikit-learn in the formats skops, pickle and
cloudpickle, LightGBM as text or skops, and ONNX. Whatever needs code of its own to load (`python_function` with a
loader module or code paths of its author) is refused here, for every policy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, get_args

import yaml

from mlflow_project.domain.model import Column, Format, ModelDescription, Parameter, Signature, Task
from mlflow_project.errors import InvalidData
from mlflow_project.rules.plain_yaml import read_yaml

MLMODEL = "MLmodel"
LABEL, TASK = "switchyard.label", "switchyard.task"
TEST_TABLE, TEST_VERSION = "switchyard.test_table", "switchyard.test_version"

_LOADER_MODULES = {"sklearn": "mlflow.sklearn", "lightgbm": "mlflow.lightgbm", "onnx": "mlflow.onnx"}
_PREDICT_FUNCTIONS = frozenset({"predict", "predict_proba", "predict_log_proba"})


def describe(data: bytes, tags: Mapping[str, str], label: str) -> ModelDescription:
    """What the file and the version's tags say. `label` names the version in messages.

    Raises:
        InvalidData: the file cannot be read, has no signature, or is of a flavour or format that cannot be loaded.
    """
    content = _yaml(data, label)
    flavors = content.get("flavors")
    if not isinstance(flavors, dict):
        raise InvalidData(f"The file MLmodel of {label} names no flavours.")
    name = next((flavor for flavor in _LOADER_MODULES if isinstance(flavors.get(flavor), dict)), None)
    if name is None:
        raise InvalidData(
            f"{label} has the flavours {', '.join(map(str, flavors)) or 'none'}. Models of scikit-learn, LightGBM "
            "and ONNX can be released: log it by mlflow.sklearn, mlflow.lightgbm or mlflow.onnx."
        )
    flavor, function = flavors[name], flavors.get("python_function") or {}
    if flavor.get("code") or function.get("code") or function.get("loader_module") != _LOADER_MODULES[name]:
        raise InvalidData(f"{label} brings code of its own to load it. Such a model is never loaded: log it without.")
    form, file = _format(name, flavor, label)
    predict_fn = str(function.get("predict_fn") or "predict")
    if predict_fn not in _PREDICT_FUNCTIONS:
        raise InvalidData(f"{label} answers by its method {predict_fn!r}; known are predict and predict_proba.")
    trusted = flavor.get("skops_trusted_types") or ()
    if not isinstance(trusted, list | tuple) or not all(isinstance(item, str) for item in trusted):
        raise InvalidData(f"The file MLmodel of {label} must list its skops_trusted_types as texts.")
    return ModelDescription(
        flavor=name,
        format=form,
        file=file,
        predict_fn=predict_fn,
        signature=_signature(content.get("signature"), label),
        trusted_types=tuple(sorted(trusted)) if form == "skops" else (),
        task=_task(tags, label),
        label=tags.get(LABEL),
        test_table=tags.get(TEST_TABLE),
        test_version=_test_version(tags, label),
    )


def _yaml(data: bytes, label: str) -> dict[str, Any]:
    try:
        _, content = read_yaml(data.decode(), yaml.SafeLoader)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidData(f"The file MLmodel of {label} cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise InvalidData(f"The file MLmodel of {label} is no mapping.")
    return content


def _format(name: str, flavor: Mapping[str, Any], label: str) -> tuple[Format, str]:
    file = flavor.get("data") if name in ("lightgbm", "onnx") else flavor.get("pickled_model")
    if not isinstance(file, str) or not file or PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
        raise InvalidData(f"The file MLmodel of {label} names no data file inside its folder.")
    if name == "onnx":
        return "onnx", file
    if name == "lightgbm" and PurePosixPath(file).suffix == ".lgb":
        return "lightgbm-text", file
    form = flavor.get("serialization_format", "pickle" if name == "sklearn" else "cloudpickle")
    if form not in {"skops", "pickle", "cloudpickle"}:
        raise InvalidData(f"{label} is serialized as {form!r}; known are skops, pickle and cloudpickle.")
    return form, file


def _task(tags: Mapping[str, str], label: str) -> Task | None:
    task = tags.get(TASK)
    if task is not None and task not in get_args(Task):
        raise InvalidData(f"Tag {TASK} of {label} must be classifier or regressor, not {task!r}.")
    return task  # type: ignore[return-value]


def _test_version(tags: Mapping[str, str], label: str) -> int | None:
    text = tags.get(TEST_VERSION)
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 15:
        raise InvalidData(f"Tag {TEST_VERSION} of {label} must be a version of a Delta table, such as 3, not {text!r}.")
    return int(text)


def _signature(data: Any, label: str) -> Signature:
    if not isinstance(data, Mapping) or not data.get("inputs"):
        raise InvalidData(f"{label} was logged without a signature: log it with `signature=` or `input_example=`.")
    try:
        return Signature(
            tuple(_column(item) for item in json.loads(data["inputs"])),
            tuple(_column(item) for item in json.loads(data.get("outputs") or "[]")),
            tuple(_parameter(item) for item in json.loads(data.get("params") or "[]")),
        )
    except (TypeError, KeyError, ValueError, AttributeError, RecursionError) as error:
        raise InvalidData(f"The signature of {label} cannot be read: {error!r}.") from error


def _column(item: Mapping[str, Any]) -> Column:
    name = str(item.get("name") or "")
    if item["type"] == "tensor":
        spec = item["tensor-spec"]
        return Column(name, str(spec["dtype"]), shape=tuple(int(size) for size in spec["shape"]))
    return Column(name, str(item["type"]), bool(item.get("required", True)))


def _parameter(item: Mapping[str, Any]) -> Parameter:
    return Parameter(str(item["name"]), str(item.get("type") or item.get("dtype")), item.get("default"))
