"""What a logged model says of itself: flavour, file format, signature, and how its versions are evaluated.

In and out: `ModelDescription.from_dict` reads, `Manifest.to_dict` writes (through `dataclasses.asdict`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlflow_project.errors import Refused

Task = Literal["classifier", "regressor"]
Format = Literal["skops", "lightgbm-text", "onnx", "pickle", "cloudpickle"]

PINNED_TYPES = frozenset(
    {
        "collections.OrderedDict",
        "collections.defaultdict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRegressor",
        "numpy.dtype",
        "sklearn.compose._column_transformer._RemainderColsList",
    }
)
"""Classes beyond skops' own list that any model may contain. Others need the model's policy."""

SAFE_FORMATS: frozenset[Format] = frozenset({"skops", "lightgbm-text", "onnx"})
"""Formats whose loading runs no code from the file."""


@dataclass(frozen=True)
class Column:
    """One column of a signature, or one tensor. `type` is MLflow's name of a column type (`double`, `long`, `string`),
    or NumPy's name of a tensor's type (`float64`). `shape` is set for tensors, with -1 for any length. A signature may
    leave columns unnamed: then `name` is "". `required` is false for columns that a caller may leave out."""

    name: str
    type: str
    required: bool = True
    shape: tuple[int, ...] | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Column:
        """Read a column; raises TypeError or KeyError for another form."""
        shape = data.get("shape")
        return cls(data["name"], data["type"], data.get("required", True), None if shape is None else tuple(shape))


@dataclass(frozen=True)
class Parameter:
    """A parameter of inference, with its default."""

    name: str
    type: str
    default: Any = None


@dataclass(frozen=True)
class Signature:
    """What a model takes and returns."""

    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...] = ()
    parameters: tuple[Parameter, ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Signature:
        """Read a signature; raises TypeError or KeyError for another form."""
        return cls(
            tuple(Column.from_dict(item) for item in data["inputs"]),
            tuple(Column.from_dict(item) for item in data["outputs"]),
            tuple(Parameter(**item) for item in data["parameters"]),
        )

    def refuses_inputs_of(self, other: Signature) -> list[str]:
        """Why this signature does not accept every input that the other accepts; empty if it does."""
        if _is_tensor(self) or _is_tensor(other):
            return [] if self.inputs == other.inputs else ["the two take tensors of different types or shapes"]
        theirs = {column.name: column for column in other.inputs}
        return [reason for column in self.inputs if (reason := _unmet(column, theirs.get(column.name)))]


def _is_tensor(signature: Signature) -> bool:
    return any(column.shape is not None or not column.name for column in signature.inputs)


_WIDER = {"integer": {"integer", "long", "float", "double"}, "long": {"long", "double"}, "float": {"float", "double"}}
"""For each column type the types that take all of its values."""


def _unmet(column: Column, given: Column | None) -> str:
    if given is None:
        return f"it requires the column {column.name!r}, which callers do not send" if column.required else ""
    if column.required and not given.required:
        return f"it requires the column {column.name!r}, which callers may leave out"
    if column.type not in _WIDER.get(given.type, {given.type}):
        return f"its column {column.name!r} is {column.type}, and callers send {given.type}"
    return ""


@dataclass(frozen=True)
class Loading:
    """What a model's policy allows its files to do when they are loaded: `formats` beyond the safe ones, and
    `trusted_types` beyond the pinned ones. The seal repeats it, so that a server needs no policy."""

    formats: tuple[str, ...] = ()
    trusted_types: tuple[str, ...] = ()

    def check(self, model: ModelDescription, label: str) -> None:
        """Raises:
        Refused: the model needs more to be loaded than is allowed.
        """
        if model.format not in SAFE_FORMATS and model.format not in self.formats:
            raise Refused(
                f"{label} is a {model.format} file, which runs code of its author when it is loaded. Log it in the "
                f"format skops, or allow it in the model's policy: `loading: {{formats: [{model.format}]}}`."
            )
        if more := sorted(set(model.trusted_types) - PINNED_TYPES - set(self.trusted_types)):
            raise Refused(
                f"{label} contains the classes {', '.join(more)}, which its policy does not trust. Allow them there: "
                "`loading: {trusted_types: [...]}`."
            )


@dataclass(frozen=True)
class ModelDescription:
    """What the file `MLmodel` says, and the version's tags.

    `file` is the path of the model's data inside its folder. `predict_fn` is the method that answers, as in MLflow.
    `trusted_types` are the classes beyond those of scikit-learn and NumPy that the skops file may contain.
    `label` is the target column of the test set, `test_table` and `test_version` are its Delta table and version; they
    are None where the version has no such tag.
    """

    flavor: str
    format: Format
    file: str
    predict_fn: str
    signature: Signature
    trusted_types: tuple[str, ...] = ()
    task: Task | None = None
    label: str | None = None
    test_table: str | None = None
    test_version: int | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelDescription:
        """Read a description; raises TypeError, KeyError or ValueError for another form."""
        rest = {key: value for key, value in data.items() if key not in {"signature", "trusted_types"}}
        return cls(**rest, signature=Signature.from_dict(data["signature"]), trusted_types=tuple(data["trusted_types"]))
