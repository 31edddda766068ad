"""Asks each endpoint one word: whether it answers, how long that took, what it cost, and what is wrong if it did not.

In: the providers of this process and the names of endpoints. Out: one `EndpointCheck` each. An endpoint that fails is a
row of the result, and never an error.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import aiohttp

from mlflow_project.adapters.providers import Providers
from mlflow_project.adapters.providers.endpoint_file import DEFAULT
from mlflow_project.adapters.providers.endpoints import Endpoint
from mlflow_project.adapters.providers.protocol import ProviderRequest
from mlflow_project.answering.answer import cost
from mlflow_project.domain.release import Message, ProviderChoice
from mlflow_project.errors import ConfigError, InvalidData, ProviderError

QUESTION = ProviderRequest((Message("user", "Does this work? Answer with the one word: yes"),))
_STATUSES = {
    400: ("It refused the request", "Check the model's name, and that the address speaks this protocol."),
    401: ("It refused the key", "Check the key that the endpoint names."),
    402: ("It wants to be paid first", "Check the account's balance."),
    403: ("It refused the key", "Check what the key that the endpoint names may do."),
    404: ("It knows no such model or address", "Check the endpoint's `url` and the model's name."),
    429: ("Its limit of requests or its quota is used up", "Wait, or raise the limit there."),
}


@dataclass(frozen=True)
class EndpointCheck:
    """What one question to an endpoint showed. `cost_usd` is None where no price table names the model.

    `wrong` says what is wrong and `fix` what to do about it; both are empty when the endpoint answered.
    """

    endpoint: str
    protocol: str
    address: str
    model: str
    ok: bool = False
    milliseconds: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    wrong: str = ""
    fix: str = ""


async def check_endpoints(
    providers: Providers, names: Sequence[str], model: str | None, seconds: float
) -> list[EndpointCheck]:
    """Ask these endpoints, all at the same time. `model` takes the place of the models that they name.

    Raises:
        ConfigError: one of the names is unknown.
    """
    for name in names:
        if name != DEFAULT:
            providers.endpoints.entry(name)
    return list(await asyncio.gather(*(_check(providers, name, model, seconds) for name in names)))


async def _check(providers: Providers, name: str, model: str | None, seconds: float) -> EndpointCheck:
    try:
        endpoint = providers.endpoints.get(name)
    except ConfigError as error:
        entry = providers.endpoints.entry(name)
        return EndpointCheck(name, entry.protocol, entry.url, model or entry.model or "", wrong=str(error))
    row = _row(endpoint, model)
    if not row.model:
        fix = "Write `model:` into the endpoint, or add --model NAME."
        return replace(row, wrong="Nothing says which model to ask.", fix=fix)
    choice = ProviderChoice(row.protocol, row.model, {"tries": 1}, None if name == DEFAULT else name)
    began = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            completion = await providers.provider_for(choice).complete(QUESTION)
    except TimeoutError:
        return replace(row, wrong=f"It did not answer within {seconds:g} seconds.", fix="Try --seconds with more.")
    except ProviderError as error:
        wrong, fix = diagnosis(error)
        return replace(row, wrong=wrong, fix=fix)
    except (ConfigError, InvalidData) as error:
        return replace(row, wrong=str(error))
    milliseconds, usage = 1000 * (time.monotonic() - began), completion.usage
    price = cost(usage, endpoint.prices.get(row.model))
    row = replace(row, milliseconds=milliseconds, input_tokens=usage.input_tokens, cost_usd=price)
    row = replace(row, output_tokens=usage.output_tokens)
    if completion.text is None:
        reason = completion.finish_reason or "it gave no reason"
        return replace(row, wrong=f"It answered without a text ({reason}).", fix="Try another model.")
    return replace(row, ok=True)


def _row(endpoint: Endpoint, model: str | None) -> EndpointCheck:
    """Whom to ask for which model: the endpoint's own, the first of its prices, or the one in Gemini's address. The
    protocol of `default` shows in its address."""
    gemini = "enerateContent" in endpoint.url
    protocol = endpoint.protocol or ("gemini" if gemini else "anthropic" if "anthropic" in endpoint.url else "openai")
    named = endpoint.url.rpartition("/models/")[2].partition(":")[0] if gemini else ""
    asked = model or endpoint.model or next(iter(endpoint.prices), named)
    return EndpointCheck(endpoint.name, protocol, endpoint.url.partition("?")[0], asked)


def diagnosis(error: ProviderError) -> tuple[str, str]:
    """What is wrong, and what to do."""
    if error.kind == "http_error" and error.status is not None:
        what, fix = _STATUSES.get(error.status, ("It has trouble of its own", "Try again later."))
        return f"{what} ({error.status}): {error}", fix
    if error.kind == "transport":
        return _broken(error)
    if error.kind == "invalid_json":
        return str(error), "Check that the address speaks the endpoint's protocol."
    return str(error), "Try again later."


def _broken(error: ProviderError) -> tuple[str, str]:
    """Why there was no connection."""
    causes = list(_causes(error))
    if any(isinstance(cause, aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError) for cause in causes):
        return f"Its proxy cannot be used: {causes[-1]}.", "Check the endpoint's `proxy`, or HTTPS_PROXY and NO_PROXY."
    if any(isinstance(cause, aiohttp.ClientSSLError) for cause in causes):
        fix = "Check that it is https and the right host; SSL_CERT_FILE names a file of certificates to trust."
        return f"TLS failed: {causes[-1]}.", fix
    if any(isinstance(cause, aiohttp.ClientConnectorDNSError | socket.gaierror) for cause in causes):
        return "No host of this name is known.", "Check the endpoint's `url`."
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return "Nothing listens at its address.", "Start the server, or check the endpoint's `url`."
    return str(error), "Check the endpoint's `url`, and whether something on the way closes the connection."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What an error was raised from, down to the first; aiohttp keeps the operating system's error in a field."""
    cause: BaseException | None = error.__cause__
    while cause is not None:
        yield cause
        inner = getattr(cause, "os_error", None) or getattr(cause, "certificate_error", None)
        cause = inner if isinstance(inner, BaseException) else cause.__cause__
