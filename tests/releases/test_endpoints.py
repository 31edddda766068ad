"""A prompt that names endpoints: what registration writes to MLflow, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_project.adapters.providers.endpoints import Endpoints
from mlflow_project.domain.release import Prices, ProviderChoice
from mlflow_project.errors import InvalidData
from mlflow_project.registration.register import register
from mlflow_project.settings import ProviderSettings
from tests.releases.conftest import Yard

ENDPOINTS = """
endpoints:
  gemini-eu:
    preset: gemini
    key: {env: NOT_SET_ANYWHERE}
    prices: {g: {version: "2026-11", input_per_million: 0.3, output_per_million: 2.5}}
  claude: {preset: anthropic}
"""
TEMPLATE = """---
provider: {endpoint: %s, model: g}
fallbacks: [{endpoint: claude, model: c}, {name: extractive, model: extractive-1}]
---
# user
{{question}}
"""


def folder(tmp_path: Path, name: str, endpoint: str) -> Path:
    made = tmp_path / name
    made.mkdir()
    (made / "v1.md").write_text(TEMPLATE % endpoint)
    return made


def endpoints(tmp_path: Path) -> Endpoints:
    path = tmp_path / "providers.yaml"
    path.write_text(ENDPOINTS)
    return Endpoints(ProviderSettings(SWITCHYARD_PROVIDERS=path))


def test_a_version_pins_endpoint_protocol_model_and_price_and_needs_no_key_for_that(yard: Yard, tmp_path: Path) -> None:
    rows = register(
        folder(tmp_path, yard.name, "gemini-eu"),
        registry=yard.parts.registry,
        store=yard.parts.store,
        endpoints=endpoints(tmp_path),
    )
    release = yard.release(rows[0].version)
    assert release.digest == rows[0].digest
    assert release.manifest.provider == ProviderChoice("gemini", "g", {}, "gemini-eu")
    assert release.manifest.fallbacks is not None
    assert release.manifest.fallbacks[0] == ProviderChoice("anthropic", "c", {}, "claude")
    assert release.manifest.prices == Prices("2026-11", 0.3, 2.5)


def test_an_unknown_endpoint_is_refused_with_the_file_and_no_version_is_made(yard: Yard, tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match=r"v1\.md: The endpoint 'gemini-us' is unknown here.*gemini-eu, claude"):
        register(
            folder(tmp_path, yard.name, "gemini-us"),
            registry=yard.parts.registry,
            store=yard.parts.store,
            endpoints=endpoints(tmp_path),
        )
    assert yard.parts.registry.versions(yard.name) == []
