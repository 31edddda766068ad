"""One training from its declaration to a registered version: `train_model(name, declared, data, settings)`.

In: `model.yaml`, and a Delta table at a version. Out: `Registered`. The same rows, declaration and code are trained
once: a second call finds the version of the first.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlflow_project.adapters.experiments import Experiments, Run
from mlflow_project.adapters.registry import Registry
from mlflow_project.errors import InvalidData, NotFound
from mlflow_project.registration.register import point_candidate
from mlflow_project.rules.canonical import digest, digest_of
from mlflow_project.settings import RegistrySettings
from mlflow_project.training.material import Material, in_memory
from mlflow_project.training.model_file import ModelFile
from mlflow_project.training.record import child_run, register, result

_DONE = {"switchyard.kind": "training"}
_DECIDES = ("scikit-learn", "lightgbm", "numpy", "optuna")


@dataclass(frozen=True)
class Registered:
    """A version that was trained now, or before from the same (`new` is false)."""

    name: str
    version: int
    run: str
    address: str
    new: bool
    chosen: str
    data: str
    test_set: str
    metrics: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return dict(vars(self))


def experiment_name(name: str) -> str:
    """The MLflow experiment of a model's trainings."""
    return f"train-{name}"


def train_model(
    name: str,
    declared: ModelFile,
    data: str | None,
    registry: RegistrySettings,
    *,
    user: str = "",
    again: bool = False,
    prepare: Callable[[ModelFile, str], Material] = in_memory,
) -> Registered:
    """Train, and register a version, which the alias `Candidate` then points at.

    `data` takes the place of the declared table. `again` trains although the same was trained before. `prepare` reads
    the table and decides where the training runs.

    Raises:
        InvalidData: no table is named, or its rows do not fit the declaration. NotFound: there is no such table.
        Unavailable: MLflow or the store does not answer.
    """
    address = data or declared.data
    if address is None:
        raise InvalidData(f"Which rows? Give --data s3a://bucket/table, or name `data` in the model.yaml of {name}.")
    material = prepare(declared, address)
    experiments = Experiments(registry)
    experiment = experiments.experiment(experiment_name(name))
    identity = _identity(name, declared, material)
    tags = {**_DONE, "switchyard.training": identity}
    if not again and (known := _known(experiments, Registry(registry), experiment, tags)) is not None:
        return known
    run = experiments.start(experiment, f"{name} on {str(material.data).rpartition('/')[2]}", _origin(user) | _DONE)
    with _failed_if_it_raises(experiments, run):
        made = _trained_and_registered(name, declared, material, experiments, run)
        point_candidate(Registry(registry), name, made.version)
    experiments.write(run, "registered.json", _json(made))
    experiments.log(run, tags=tags)
    experiments.finish(run)
    return made


@contextlib.contextmanager
def _failed_if_it_raises(experiments: Experiments, run: Run) -> Iterator[None]:
    """Mark the run as failed if the block raises."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):
            experiments.finish(run, status="FAILED")
        raise


def _trained_and_registered(
    name: str, declared: ModelFile, material: Material, experiments: Experiments, run: Run
) -> Registered:
    """Train, log the result to the run, and register the version."""
    trained = material.train(lambda one: child_run(experiments, run, one, declared))
    result(experiments, run, declared, material, trained)
    number = register(name, experiments.uri, run, declared, material, trained)
    return Registered(
        name,
        number,
        run.id,
        experiments.address(run),
        True,
        trained.best.name,
        str(material.data),
        str(material.test_set),
        dict(trained.metrics),
    )


def _identity(name: str, declared: ModelFile, material: Material) -> str:
    """Names everything that decides the result: rows, declaration, and the code that trains."""
    packages = {package: version(package) for package in (*_DECIDES, *material.packages)}
    digests = {"data": material.data.digest, "test": material.test_set.digest, "declaration": declared.digest}
    return digest_of({"name": name, **digests, "code": code_digest(), "packages": packages})


def code_digest() -> str:
    """Names the code of this package, in a repository or installed."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return digest(b"".join(path.name.encode() + b"\0" + path.read_bytes() + b"\0" for path in files))


def _known(experiments: Experiments, registry: Registry, experiment: str, tags: dict[str, str]) -> Registered | None:
    """The newest version that was trained from the same, if it is still registered."""
    for run in experiments.find(experiment, tags):
        found = Registered(**{**json.loads(experiments.read(run, "registered.json")), "new": False})
        with contextlib.suppress(NotFound):
            registry.version(found.name, found.version)
            return found
    return None


def _origin(user: str) -> dict[str, str]:
    """Who trains, by which code, and from which Git commit of this project if it is a repository."""
    tags = {"mlflow.source.name": "switchyard train", "mlflow.source.type": "LOCAL", "switchyard.code": code_digest()}
    tags |= {"mlflow.user": user} if user else {}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
        tags["mlflow.source.git.commit"] = found.stdout.strip()
    return tags


def _json(made: Registered) -> bytes:
    return json.dumps(made.to_dict(), sort_keys=True).encode()
