"""Makes a prompt version that answers with a tuned model: everything else is as in the version that it starts from."""

from __future__ import annotations

from dataclasses import replace

from mlflow_project.adapters.registry import Registry
from mlflow_project.domain.release import ProviderChoice
from mlflow_project.errors import InvalidData
from mlflow_project.registration.register import Registered, register_manifest
from mlflow_project.rules.content import manifest_of


def adopt(registry: Registry, name: str, version: int, tuned_model: str, endpoint: str | None) -> Registered:
    """Register a version of the prompt whose provider is the tuned model; `Candidate` points at it.

    `endpoint` is where the model was tuned; None: the address that `LLM_API_URL` sets. Parameters are kept where the
    version was answered by OpenAI's protocol already. Its prices are left out, since the tuned model has others.

    Raises:
        NotFound: there is no such version. InvalidData: it is no prompt.
    """
    manifest = manifest_of(registry.version(name, version))
    if manifest.provider is None:
        raise InvalidData(f"{name}/{version} is a model. Only a prompt can be answered by a tuned model.")
    kept = manifest.provider.parameters if manifest.provider.name == "openai" else {}
    tuned = replace(manifest, provider=ProviderChoice("openai", tuned_model, kept, endpoint), prices=None)
    return register_manifest(registry, tuned, f"{name}/{version} with a tuned model")
