"""What the file MLmodel says, as a description; what cannot be released is refused with a sentence."""

import json
from typing import Any

import pytest
import yaml

from mlflow_project.domain.model import Column, Signature
from mlflow_project.domain.release import Manifest, ModelFile
from mlflow_project.errors import InvalidData
from mlflow_project.rules.canonical import manifest_digest
from mlflow_project.rules.content import manifest_of, model_tags
from mlflow_project.rules.mlmodel import describe
from tests.unit.test_content import Version

INPUTS = [{"type": "double", "name": "amount", "required": True}, {"type": "string", "name": "shop", "required": False}]


def mlmodel(**sklearn: Any) -> bytes:
    flavor = {"code": None, "pickled_model": "model.skops", "serialization_format": "skops", **sklearn}
    content = {
        "flavors": {"sklearn": flavor, "python_function": {"loader_module": "mlflow.sklearn", "predict_fn": "predict"}},
        "signature": {"inputs": json.dumps(INPUTS), "outputs": None, "params": None},
    }
    return yaml.safe_dump(content).encode()


def test_a_description_goes_to_the_tags_of_a_version_and_back() -> None:
    tags = {"switchyard.label": "is_fraud", "switchyard.task": "classifier", "switchyard.test_version": "3"}
    found = describe(mlmodel(skops_trusted_types=["a.B"]), tags, "fraud/1")
    assert (found.format, found.file, found.trusted_types) == ("skops", "model.skops", ("a.B",))
    assert found.signature.inputs == (Column("amount", "double"), Column("shop", "string", required=False))
    files = [ModelFile("MLmodel", "sha256:1", 5)]
    version = Version(None, model_tags(files, found), kind="model", name="fraud", source="models:/m-1")
    manifest = manifest_of(version)
    assert manifest.model == found
    assert Manifest.from_dict(manifest.to_dict()) == manifest


def test_another_label_or_test_set_is_another_release() -> None:
    files = [ModelFile("MLmodel", "sha256:1", 5)]

    def digest(**tags: str) -> str:
        described = describe(mlmodel(), {f"switchyard.{key}": value for key, value in tags.items()}, "fraud/1")
        return manifest_digest(manifest_of(Version(None, model_tags(files, described), kind="model", source="s")))

    assert len({digest(), digest(label="a"), digest(label="b"), digest(label="b", test_version="1")}) == 4


@pytest.mark.parametrize(
    ("data", "tags", "said"),
    [
        (b"[", {}, "cannot be read"),
        (b"- 1", {}, "is no mapping"),
        (b"flavors: 3", {}, "names no flavours"),
        (b"flavors: {pytorch: {}}", {}, "has the flavours pytorch"),
        (mlmodel(code="code"), {}, "brings code of its own"),
        (mlmodel(pickled_model="../../etc/passwd"), {}, "no data file inside its folder"),
        (mlmodel(pickled_model=None), {}, "no data file inside its folder"),
        (mlmodel(serialization_format="joblib"), {}, "'joblib'"),
        (mlmodel(skops_trusted_types="os.system"), {}, "as texts"),
        (mlmodel().replace(b"loader_module: mlflow.sklearn", b"loader_module: evil"), {}, "code of its own"),
        (mlmodel().replace(b"predict_fn: predict", b"predict_fn: __reduce__"), {}, "'__reduce__'"),
        (mlmodel().replace(b"signature", b"no_signature"), {}, "without a signature"),
        (mlmodel().replace(b'"type": "double"', b'"kind": "double"'), {}, "signature of fraud/1 cannot be read"),
        (mlmodel(), {"switchyard.task": "clustering"}, "classifier or regressor"),
        (mlmodel(), {"switchyard.test_version": "latest"}, "a version of a Delta table"),
    ],
)
def test_what_cannot_be_released_is_one_sentence(data: bytes, tags: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidData, match=said):
        describe(data, tags, "fraud/1")


def signature(**types: str) -> Signature:
    return Signature(tuple(Column(name, kind.rstrip("?"), not kind.endswith("?")) for name, kind in types.items()))


@pytest.mark.parametrize(
    ("candidate", "champion", "said"),
    [
        (signature(a="double"), signature(a="double"), []),
        (signature(a="double"), signature(a="long", b="string"), []),
        (signature(a="double", b="string?"), signature(a="double"), []),
        (signature(a="double", b="string"), signature(a="double"), ["'b', which callers do not send"]),
        (signature(a="long"), signature(a="double"), ["'a' is long, and callers send double"]),
        (signature(a="double"), signature(a="double?"), ["'a', which callers may leave out"]),
    ],
)
def test_a_signature_accepts_the_inputs_of_another_or_says_why_not(
    candidate: Signature, champion: Signature, said: list[str]
) -> None:
    reasons = candidate.refuses_inputs_of(champion)
    assert len(reasons) == len(said)
    assert all(part in reason for part, reason in zip(said, reasons, strict=True))
