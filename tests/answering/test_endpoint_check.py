"""`switchyard providers check`: what it says of endpoints that answer, and of those that do not."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from mlflow_project.adapters.providers import Providers
from mlflow_project.answering.endpoint_check import EndpointCheck, check_endpoints
from mlflow_project.commands.main import build
from mlflow_project.errors import ConfigError
from mlflow_project.settings import ProviderSettings
from stack.ports import free_port
from tests.answering.conftest import Run
from tests.answering.releases import KEY
from tests.answering.test_over_the_wire import _certificate
from tests.provider.behaviour import Behaviour
from tests.provider.fixtures import Simulated

PRICE = '{version: "2026-11", input_per_million: 1000, output_per_million: 10000}'


def written(folder: Path, **entries: str) -> Path:
    path = folder / "providers.yaml"
    path.write_text("endpoints:\n" + "".join(f"  {name}: {entry}\n" for name, entry in entries.items()))
    return path


async def checked(path: Path, model: str | None = None, seconds: float = 10) -> dict[str, EndpointCheck]:
    async with Providers(ProviderSettings(SWITCHYARD_PROVIDERS=path)) as providers:
        rows = await check_endpoints(providers, providers.endpoints.names, model, seconds)
    return {row.endpoint: row for row in rows}


def test_an_endpoint_that_answers_shows_its_time_its_tokens_and_its_cost(
    run: Run[Any], tmp_path: Path, provider_server: Simulated
) -> None:
    base = f"http://127.0.0.1:{provider_server.port}"
    path = written(
        tmp_path,
        priced=f"{{protocol: openai, url: '{base}/v1', prices: {{m: {PRICE}}}}}",
        unpriced=f"{{protocol: anthropic, url: '{base}', model: other}}",
    )
    rows = run(checked(path))
    assert [row.ok for row in rows.values()] == [True, True]
    assert (rows["priced"].model, rows["unpriced"].model) == ("m", "other")
    assert (rows["priced"].input_tokens, rows["priced"].output_tokens) == (12, 5)
    assert rows["priced"].cost_usd == pytest.approx((12 * 1000 + 5 * 10_000) / 1e6)
    assert rows["unpriced"].cost_usd is None
    assert 0 < (rows["priced"].milliseconds or 0) < 10_000


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (Behaviour(status=401, message=f"No such key {KEY}"), "It refused the key (401): No such key [key]"),
        (Behaviour(status=404, message="No such model"), "It knows no such model or address (404): No such model"),
        (Behaviour(status=429, message="Slow down"), "Its limit of requests or its quota is used up (429): Slow down"),
        (Behaviour(status=503, message="Overloaded"), "It has trouble of its own (503): Overloaded"),
        (Behaviour(fault="wrong_type"), "something that is no JSON"),
        (Behaviour(fault="safety"), "It answered without a text (content_filter)."),
        (Behaviour(fault="drop"), "The connection to mine failed"),
        (Behaviour(fault="hang"), "It did not answer within 0.5 seconds."),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    run: Run[Any],
    tmp_path: Path,
    provider_server: Simulated,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: Behaviour,
    said: str,
) -> None:
    monkeypatch.setenv("CHECKED_KEY", KEY)
    entry = f"{{protocol: openai, url: '{provider_server.openai_url}', key: {{env: CHECKED_KEY}}, model: m}}"
    provider_server.will(always=behaviour)
    row = run(checked(written(tmp_path, mine=entry), seconds=0.5))["mine"]
    assert not row.ok
    assert said in row.wrong
    assert row.fix
    assert KEY not in str(row)
    assert provider_server.script.count == 1


def test_an_endpoint_that_cannot_be_reached_or_asked_says_which_part_is_wrong(run: Run[Any], tmp_path: Path) -> None:
    closed = free_port()
    path = written(
        tmp_path,
        closed=f"{{protocol: openai, url: 'http://127.0.0.1:{closed}/v1', model: m}}",
        nowhere="{protocol: openai, url: 'http://models.invalid/v1', model: m}",
        proxied=f"{{protocol: openai, url: 'http://models.invalid/v1', proxy: 'http://127.0.0.1:{closed}', model: m}}",
        keyless="{preset: anthropic, key: {env: NOT_SET_ANYWHERE}, model: m}",
        modelless="{preset: ollama}",
    )
    wrong = {name: row.wrong for name, row in run(checked(path)).items()}
    assert "Nothing listens" in wrong["closed"]
    assert "No host of this name" in wrong["nowhere"]
    assert "Its proxy cannot be used" in wrong["proxied"]
    assert "NOT_SET_ANYWHERE is not set" in wrong["keyless"]
    assert "which model to ask" in wrong["modelless"]


def test_a_certificate_that_nobody_signed_is_named_as_tls(run: Run[Any], tmp_path: Path) -> None:
    async def go() -> EndpointCheck:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (tmp_path / "server.pem").write_bytes(_certificate())
        context.load_cert_chain(tmp_path / "server.pem")
        async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            entry = f"{{protocol: openai, url: 'https://127.0.0.1:{port}/v1', model: m}}"
            return (await checked(written(tmp_path, mine=entry)))["mine"]

    row = run(go())
    assert row.wrong.startswith("TLS failed: ")
    assert "SSL_CERT_FILE" in row.fix


def test_a_name_that_no_endpoint_has_is_refused(run: Run[Any], tmp_path: Path) -> None:
    async def go() -> None:
        path = written(tmp_path, mine="{preset: ollama}")
        async with Providers(ProviderSettings(SWITCHYARD_PROVIDERS=path)) as providers:
            await check_endpoints(providers, ["mien"], None, 1)

    with pytest.raises(ConfigError, match="mine"):
        run(go())


def command(folder: Path, *options: str, **settings: str) -> Result:
    own = {"SWITCHYARD_STATE": str(folder), "SWITCHYARD_ENV_FILE": str(folder / "none")}
    absent = dict.fromkeys(("SWITCHYARD_PROVIDERS", "LLM_API_URL", "LLM_API_KEY"))
    return CliRunner().invoke(build("providers"), ["providers", "check", *options], env={**absent, **own, **settings})


def test_the_command_prints_one_document_and_ends_with_0_3_or_2(tmp_path: Path, provider_server: Simulated) -> None:
    well = f"{{protocol: openai, url: '{provider_server.openai_url}', model: m}}"
    ill = f"{{protocol: openai, url: 'http://127.0.0.1:{free_port()}/v1', model: m}}"
    path = str(written(tmp_path, well=well, ill=ill))
    good = command(tmp_path, "well", "--json", SWITCHYARD_PROVIDERS=path)
    assert (good.exit_code, [row["ok"] for row in json.loads(good.stdout)]) == (0, [True])
    both = command(tmp_path, SWITCHYARD_PROVIDERS=path)
    assert both.exit_code == 3
    assert "Nothing listens at its address." in " ".join(both.stdout.replace("│", " ").split())
    default = command(tmp_path, "--json", "--model", "m", LLM_API_URL=provider_server.openai_url, LLM_API_KEY=KEY)
    assert (default.exit_code, json.loads(default.stdout)[0]["endpoint"]) == (0, "default")
    assert KEY not in default.stdout + default.stderr
    none = command(tmp_path)
    assert (none.exit_code, none.stdout) == (2, "")
    assert "No endpoint is set up" in none.stderr
    wrong = command(tmp_path, SWITCHYARD_PROVIDERS=str(written(tmp_path, mine="{preset: olama}")))
    assert wrong.exit_code == 2
    assert "endpoint 'mine': preset: must be one of" in wrong.stderr
