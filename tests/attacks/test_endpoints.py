"""An author of templates tries to lead an endpoint's key astray.

The attacker writes a template: he chooses the endpoint's name, the model and the parameters. He wants the key to go to
an address, a path or a header of his own. He gets a refusal, or a request for an odd model at the endpoint's address.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr

from mlflow_project.adapters.providers import Providers
from mlflow_project.adapters.providers.protocol import ProviderRequest
from mlflow_project.domain.release import Message, ProviderChoice
from mlflow_project.errors import WorkspaceError
from mlflow_project.settings import ProviderSettings
from tests.provider.fixtures import Simulated, provider_server

__all__ = ["provider_server"]

KEY = "a-key-that-must-stay-secret-1234567890"
REQUEST = ProviderRequest((Message("user", "Hello"),))
FILE = "endpoints:\n  eu: {{protocol: gemini, url: '{base}/eu', key: {{env: ATTACKED_KEY}}}}\n"


async def asked(choice: ProviderChoice, settings: ProviderSettings) -> None:
    async with Providers(settings) as providers:
        await providers.provider_for(choice).complete(REQUEST)


def settings(folder: Path, base: str, monkeypatch: pytest.MonkeyPatch) -> ProviderSettings:
    monkeypatch.setenv("ATTACKED_KEY", KEY)
    path = folder / "providers.yaml"
    path.write_text(FILE.format(base=base))
    return ProviderSettings(
        llm_api_url=f"{base}/v1beta/models/m:generateContent", llm_api_key=SecretStr(KEY), SWITCHYARD_PROVIDERS=path
    )


@pytest.mark.parametrize(
    "model", ["../../steal", "m?key=1", "m#x", "m:delete", "m/../../steal", "m\r\nX: 1", "@evil.com/"]
)
@pytest.mark.parametrize("endpoint", ["eu", None])
def test_a_model_that_looks_like_a_path_stays_the_name_of_a_model(
    tmp_path: Path, provider_server: Simulated, monkeypatch: pytest.MonkeyPatch, model: str, endpoint: str | None
) -> None:
    own = settings(tmp_path, f"http://127.0.0.1:{provider_server.port}", monkeypatch)
    asyncio.run(asked(ProviderChoice("gemini", model, {"tries": 1}, endpoint), own))
    (request,) = provider_server.requests
    before = "/eu/models/" if endpoint else "/v1beta/models/"
    assert request.path.startswith(before)
    assert request.path.endswith(":generateContent")
    assert "/" not in request.path.removeprefix(before)
    assert request.query == ""


@pytest.mark.parametrize(
    "choice",
    [
        ProviderChoice("gemini", "m", {"url": "http://evil.example"}, "eu"),
        ProviderChoice("gemini", "m", {"headers": {"x": "y"}}, "eu"),
        ProviderChoice("gemini", "m", {"proxy": "http://evil.example"}, "eu"),
        ProviderChoice("openai", "m", {}, "eu"),
        ProviderChoice("gemini", "m", {}, "http://evil.example"),
        ProviderChoice("gemini", "m", {}, "../eu"),
        ProviderChoice("gemini", "m", {}, ""),
    ],
)
def test_no_template_says_where_a_key_goes(
    tmp_path: Path, provider_server: Simulated, monkeypatch: pytest.MonkeyPatch, choice: ProviderChoice
) -> None:
    own = settings(tmp_path, f"http://127.0.0.1:{provider_server.port}", monkeypatch)
    with pytest.raises(WorkspaceError) as caught:
        asyncio.run(asked(choice, own))
    assert KEY not in str(caught.value)
    assert provider_server.script.count == 0
